"""``qupath-sam token``: who gets into a server, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Let people and programs into a server by name, and out again.")

TokensOption = Annotated[Path, typer.Option(help="The file that `qupath-sam serve --tokens` reads.")]
DEFAULT_FILE = Path("tokens.json")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Of the person or program.")],
    *,
    tokens: TokensOption = DEFAULT_FILE,
    calls: Annotated[int, typer.Option(help="Most calls at once; 0 for no limit of its own.")] = 0,
    streams: Annotated[int, typer.Option(help="Most open streams; 0 for no limit of its own.")] = 0,
    pushed_mib: Annotated[int, typer.Option(help="Most MiB of pushed pixels; 0 for no limit of its own.")] = 0,
) -> None:
    """Print a new token, once: the file keeps its digest only. A running server lets it in within seconds."""
    from qupath_sam.engine.settings import MIB
    from qupath_sam.server.tokens import Limits, TokenFile

    typer.echo(TokenFile(tokens).create(name, Limits(calls, streams, pushed_mib * MIB)))


@app.command("list")
def list_tokens(*, tokens: TokensOption = DEFAULT_FILE) -> None:
    """Say who has a token, since when, and with which limits."""
    from qupath_sam.engine.settings import MIB
    from qupath_sam.server.tokens import TokenFile

    for token in TokenFile(tokens).read():
        limits = token.limits
        words = [
            f"{limits.calls} calls" if limits.calls else "",
            f"{limits.streams} streams" if limits.streams else "",
            f"{limits.pushed_bytes // MIB} MiB pushed" if limits.pushed_bytes else "",
        ]
        typer.echo("\t".join([token.name, token.created, ", ".join(filter(None, words)) or "no limits of its own"]))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="As it was created.")], *, tokens: TokensOption = DEFAULT_FILE
) -> None:
    """Take a token away. A running server ends what its holder has under way within seconds."""
    from qupath_sam.server.tokens import TokenFile

    TokenFile(tokens).revoke(name)
    typer.echo(f"revoked {name}")
