"""``qupath-sam status``: what a server does now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from qupath_sam.cli.access import TlsCaOption, TlsOption, TokenFileOption, read_access

if TYPE_CHECKING:
    from qupath_sam.server.status_tables import Table


def status(
    server: Annotated[str, typer.Argument(metavar="[HOST:PORT]", help="Of the server.")] = "127.0.0.1:50051",
    *,
    token_file: TokenFileOption = None,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a server does now: its queue, caches, model and last requests. Exit code 3 while it is not ready."""
    from qupath_sam.client import SamClient
    from qupath_sam.server.status_tables import headline, is_serving, read_status, tables

    with SamClient(server, timeout_s=10.0, access=read_access(token_file, tls, tls_ca)) as client:
        fields = client.status()
    found = read_status(fields)
    if as_json:
        typer.echo(json.dumps({"schema": "qupath-sam/status/1", **fields}, indent=2))
    else:
        typer.echo(headline(found))
        for table in tables(found):
            _print(table)
    if not is_serving(found):
        raise typer.Exit(3)


def _print(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    shown = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False)
    for column, name in enumerate(table.header):
        shown.add_column(name, justify="right" if column else "left")
    for row in table.rows:
        shown.add_row(*row)
    Console().print()
    Console().print(shown)
