"""The options with which every command gets into a server; the variables are those of QuPath's client, too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qupath_sam.client import Access

#: Holds the token itself, where no file is named.
TOKEN_VARIABLE = "QUPATH_SAM_TOKEN"

TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        help=f"File with the token that the server asks for; else {TOKEN_VARIABLE} has the token.",
        rich_help_panel="Server",
    ),
]
TlsOption = Annotated[
    bool, typer.Option("--tls", envvar="QUPATH_SAM_TLS", help="The server speaks TLS.", rich_help_panel="Server")
]
TlsCaOption = Annotated[
    Path | None,
    typer.Option(
        envvar="QUPATH_SAM_CA",
        help="PEM file of the certificate to trust, the server's own or its authority's; implies --tls.",
        rich_help_panel="Server",
    ),
]

#: Where a client's own certificate and key lie, for a server that wants to see them.
CERTIFICATE_VARIABLE, KEY_VARIABLE = "QUPATH_SAM_CERTIFICATE", "QUPATH_SAM_KEY"


def read_access(token_file: Path | None, tls: bool, tls_ca: Path | None) -> Access:  # noqa: FBT001 - in the order above
    """Read what the options say, and the variables that name a client's certificate and key.

    Raises:
        InvalidRequest: a file cannot be read or is not what it should be.
    """
    from qupath_sam.client import Access
    from qupath_sam.client.access import read_ca, read_pem
    from qupath_sam.protocol.bearer import read_token

    token = read_token(token_file) if token_file is not None else _token_of_environment()
    shown, private = os.environ.get(CERTIFICATE_VARIABLE, ""), os.environ.get(KEY_VARIABLE, "")
    return Access(
        tls=tls,
        ca=read_ca(tls_ca) if tls_ca is not None else None,
        certificate=read_pem(Path(shown), CERTIFICATE_VARIABLE) if shown else None,
        key=read_pem(Path(private), KEY_VARIABLE) if private else None,
        token=token,
    )


def _token_of_environment() -> str:
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.protocol.bearer import check_token

    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        return check_token(token) if token else ""
    except InvalidRequest as error:
        raise InvalidRequest(f"{TOKEN_VARIABLE}: {error}") from error
