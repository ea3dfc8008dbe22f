"""Whether a server can listen at an address, asked before anything is loaded."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

from qupath_sam.errors import InvalidRequest, ServerUnavailable

_TAKEN = (errno.EADDRINUSE, errno.EACCES)


def check_free(host: str, port: int) -> None:
    """See that nothing listens on a port; port 0 takes a free one later.

    Raises:
        InvalidRequest: there is no such port.
        ServerUnavailable: another program has it, or the address is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise InvalidRequest(f"port must lie in 0..65535, got {port}")
    if port == 0:
        return
    try:
        places = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(f"{host}:{port}", str(error)) from error
    failures = [failure for place in places if (failure := _failure(place)) is not None]
    taken = next((failure for failure in failures if failure.errno in _TAKEN), None)
    if taken is None and len(failures) == len(places):  # a machine may lack IPv6
        taken = failures[0]
    if taken is not None:
        raise cannot_listen(f"{host}:{port}", taken.strerror or str(taken)) from taken


def _failure(place: tuple[Any, ...]) -> OSError | None:
    """Return what prevents listening at one of an address's endpoints."""
    family, kind, protocol, _, address = place
    try:
        with socket.socket(family, kind, protocol) as probe:
            if sys.platform == "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:  # as gRPC does: connections that have just ended are in nobody's way
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def cannot_listen(address: str, reason: str = "", *, option: str = "--port") -> ServerUnavailable:
    """Return the error of a server that gets no address; ``option`` chooses another."""
    why = f" ({reason})" if reason else ""
    return ServerUnavailable(
        f"cannot listen on {address}{why}: another program has the port, or the address is not this machine's; "
        f"choose another with {option} (0 takes a free one)"
    )
