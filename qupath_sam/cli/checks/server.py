"""Whether a server answers, and whether it is of this version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qupath_sam import __version__
from qupath_sam.cli.checks.findings import Finding, State
from qupath_sam.errors import QupathSamError

if TYPE_CHECKING:
    from qupath_sam.client import Access

USUAL_ADDRESS = "127.0.0.1:50051"
_PATIENCE_S = 5.0


def server(address: str | None, access: Access | None = None) -> Iterator[Finding]:
    """Ask a server what it is.

    Args:
        address: ``host:port`` that must answer; None asks the usual one.
        access: encryption and token, as that server asks for them.
    """
    from qupath_sam.client import SamClient

    asked = address or USUAL_ADDRESS
    with SamClient(asked, timeout_s=_PATIENCE_S, access=access) as client:
        if address is None and not client.is_serving(timeout_s=1.0):
            yield Finding("server", State.OK, f"none at {asked}; `qupath-sam serve` starts one")
            return
        try:
            found = client.capabilities()
        except QupathSamError as error:
            message, _, remedy = str(error).rpartition("; ")
            yield Finding("server", State.PROBLEM, message or str(error), f"{remedy}{_proxy_hint()}")
            return
    said = f"{asked}: version {found.server_version}, {found.default_model} on {found.device}"
    if found.server_version != __version__:
        remedy = "install the same version of qupath-sam on both sides"
        yield Finding("server", State.WARNING, f"{said}; this is {__version__}", remedy)
    else:
        yield Finding("server", State.OK, said)


def _proxy_hint() -> str:
    """Return a hint at the proxies of the environment: gRPC uses them even to a machine of the same network."""
    names = [name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)]
    return f"; or name the host in no_proxy: {', '.join(names)} is set" if names else ""
