"""``qupath-sam certs``: certificates for a laboratory that has no authority of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make certificates for a laboratory that has no authority of its own.")


@app.callback()
def _group() -> None:
    """Make certificates for a laboratory that has no authority of its own."""


@app.command()
def create(
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Names and addresses of the server, as clients write them.")
    ] = None,
    *,
    client: Annotated[
        list[str] | None, typer.Option(help="Name of a client that shows a certificate; may be repeated.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where they lie; an authority that is there is used again.")] = Path(
        "certificates"
    ),
    days: Annotated[int, typer.Option(help="How long the server's and the clients' are good for.")] = 730,
) -> None:
    """Write a server's certificate (server.pem, server.key) and clients', signed by an authority made for it (ca.pem).

    Run it again to renew: a running server reads the new files by itself.
    """
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.server.certificates import Authority

    if not hosts and not client:
        raise InvalidRequest("nothing to make; name the server's machine, or clients with --client")
    authority = Authority(folder)
    if hosts:
        pair = authority.server(hosts, days=days)
        typer.echo(f"server   --tls-certificate {pair.certificate} --tls-key {pair.key}")
    for name in client or []:
        pair = authority.client(name, days=days)
        typer.echo(f"{name}   QUPATH_SAM_CERTIFICATE={pair.certificate} QUPATH_SAM_KEY={pair.key}")
    if client:
        typer.echo(f"server   --tls-client-ca {authority.files.certificate}")
    typer.echo(f"everybody   --tls-ca {authority.files.certificate}")
    typer.echo(f"nobody   {authority.files.key}: who has it can pass for the server; keep it off the network")
