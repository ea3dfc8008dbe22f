"""What a configuration of Ray Serve imports: ``import_path: qupath_sam.cli.serve_ray:application``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from ray import serve


def application(args: dict[str, Any]) -> serve.Application:
    """Return the service for Ray Serve.

    Args:
        args: options of ``qupath-sam serve`` by name, such as ``slides``; ``config`` names a file of more.

    Raises:
        InvalidRequest: an option that there is none of, or that cannot be used here.
        MissingPackage: ray is not installed.
    """
    from qupath_sam.cli.app import app
    from qupath_sam.cli.config import options_from
    from qupath_sam.cli.serve_settings import server_settings
    from qupath_sam.server.ray_serve.application import application as of_settings

    command: TyperCommand = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return of_settings(server_settings(options_from(command, "serve", args)))
