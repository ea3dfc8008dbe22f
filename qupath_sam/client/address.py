"""The address of a server, as people write it."""

from __future__ import annotations

import re

from qupath_sam.errors import InvalidRequest

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:/{1,3})", re.ASCII)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/\\@?#,;\[\]]+):(?P<port>[0-9]+)", re.ASCII)


def checked_address(text: str) -> str:
    """Return ``HOST:PORT`` without the space round it; an IPv6 address stands in brackets.

    gRPC takes much more, and makes something else of it: a port above 65535 wraps round, a missing one is 443.

    Raises:
        InvalidRequest: it is no such address; the message says what is wrong with it.
    """
    address = text.strip()
    found = _ADDRESS.fullmatch(address)
    if found is not None and 1 <= int(found["port"][:6]) <= 65535:
        return f"{found['host']}:{int(found['port'])}"
    raise InvalidRequest(
        f"{text!r} is no address of a server: {_fault(address)}; write HOST:PORT, with a port from 1 to 65535, such as "
        "127.0.0.1:50051"
    )


def _fault(address: str) -> str:
    if not address:
        return "it is empty"
    if scheme := _SCHEME.match(address):
        return f"leave {scheme[1]!r} out"
    if _ADDRESS.fullmatch(address):
        return "there is no such port"
    if address.count(":") > 1 and not address.startswith("["):
        return "an IPv6 address stands in brackets, as in [::1]:50051"
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return "the port is missing"
    if not host:
        return "the host is missing"
    if not port:
        return "the port is missing"
    if not (port.isascii() and port.isdigit()):
        return f"{port!r} is no port"
    return f"{host!r} is no name of a host"
