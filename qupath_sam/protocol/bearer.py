"""The token that lets a client in: what one may look like, how it travels, and where it may be sent unencrypted.

It travels as OAuth's bearer tokens do (RFC 6750, sec. 2.1), in the metadata of each call, so that proxies and
other gRPC clients know it too. There is one for a server, and no accounts.
"""

from __future__ import annotations

import codecs
import ipaddress
import re
from pathlib import Path

from qupath_sam.errors import InvalidRequest

#: Metadata key that carries the token.
AUTHORIZATION = "authorization"

#: Shorter tokens could be guessed.
LEAST_CHARACTERS = 16
#: Longer ones are another file, given by mistake; gRPC lets 8 KiB of metadata through.
MOST_CHARACTERS = 1024

_SCHEME = "Bearer"
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_REMEDY = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'


def check_token(token: str) -> str:
    """Return the token, where it is one.

    Raises:
        InvalidRequest: too short, or with characters that no bearer token has. The message does not repeat it.
    """
    if not _TOKEN68.fullmatch(token):
        raise InvalidRequest(f"a token is one word of letters, digits and . _ ~ + / -, which this is not; {_REMEDY}")
    if len(token) > MOST_CHARACTERS:
        raise InvalidRequest(f"a token has at most {MOST_CHARACTERS} characters; {_REMEDY}")
    if len(token) < LEAST_CHARACTERS:
        raise InvalidRequest(f"a token of {len(token)} characters can be guessed; {_REMEDY}")
    return token


def read_token(path: Path) -> str:
    """Return the token in a file; white space round it is no part of it.

    Raises:
        InvalidRequest: the file cannot be read, or holds no token.
    """
    try:
        with path.open("rb") as file:
            content = file.read(2 * MOST_CHARACTERS + 16)
    except OSError as error:
        raise InvalidRequest(
            f"cannot read the token in {path} ({error.strerror}); give a file that this account may read"
        ) from error
    # PowerShell's > writes UTF-16.
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return check_token(content.decode(encoding, "replace").strip())
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from error


def authorization(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with a token; none where it is empty."""
    return ((AUTHORIZATION, f"{_SCHEME} {token}"),) if token else ()


def token_of(authorization: str) -> str:
    """Return the token in a value of that metadata; empty where it holds none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == _SCHEME.lower() else ""


def is_loopback(host: str) -> bool:
    """Return whether what is sent to a host (name or address, IPv6 with or without brackets) stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
