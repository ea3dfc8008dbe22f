"""All commands under one name."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qupath_sam import __version__
from qupath_sam.cli import bench, certs, models, project, token
from qupath_sam.cli.demo import demo
from qupath_sam.cli.doctor import doctor
from qupath_sam.cli.embed import embed
from qupath_sam.cli.evaluate import evaluate
from qupath_sam.cli.install_qupath import install_qupath
from qupath_sam.cli.segment import segment
from qupath_sam.cli.serve import serve
from qupath_sam.cli.status import status
from qupath_sam.cli.train import train


class _Commands(TyperGroup):
    """All commands. Their list is plain text: to draw it, rich would take more time than all that is imported here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list; each command's own help is drawn as ever."""
        drawn, self.rich_markup_mode = self.rich_markup_mode, None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.rich_markup_mode = drawn


app = typer.Typer(
    name="qupath-sam",
    cls=_Commands,
    help="Click-to-annotation for whole-slide pathology: Segment Anything models for QuPath.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(doctor)
app.command(context_settings={"auto_envvar_prefix": "QUPATH_SAM_SERVE"})(serve)
app.command()(status)
app.command()(segment)
app.command()(embed)
app.command("install-qupath")(install_qupath)
app.add_typer(project.app, name="project")
app.add_typer(models.app, name="models")
app.command()(evaluate)
app.command()(train)
app.add_typer(bench.app, name="bench")
app.add_typer(token.app, name="token")
app.add_typer(certs.app, name="certs")


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it so
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Click-to-annotation for whole-slide pathology: Segment Anything models for QuPath."""
