"""``qupath-sam install-qupath``: put the client jar and the scripts where QuPath finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def install_qupath(
    *,
    user_dir: Annotated[
        Path | None, typer.Option(help="QuPath's user directory (Edit > Preferences > Extensions); else looked for.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where to write when QuPath has no user directory yet.")] = Path(
        "qupath-sam-for-qupath"
    ),
) -> None:
    """Install the client jar and the scripts into QuPath, and say what to do next."""
    from qupath_sam.qupath.install import install, user_directories

    targets = [user_dir] if user_dir is not None else [found.path for found in user_directories()]
    if not targets:
        written = install(folder, jar_folder="")
        typer.echo(f"QuPath has no user directory yet. Wrote {written.jar} and {len(written.scripts)} scripts.")
        typer.echo(f"Next: drag this jar onto QuPath's window: {written.jar.resolve()}")
        typer.echo(f"      then drag {written.scripts[0].parent.resolve() / 'live_click.groovy'} onto it and run it.")
        return
    for target in targets:
        written = install(target)
        typer.echo(f"Wrote {written.jar} and {len(written.scripts)} scripts into {written.scripts[0].parent}.")
    typer.echo("Next: restart QuPath, start `qupath-sam serve`, and run Automate > User scripts > live_click;")
    typer.echo("      as startup script (Edit > Preferences) it keeps Extensions > SAM in the menu.")
