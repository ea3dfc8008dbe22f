"""How a client gets into a server: whether the connection is encrypted, whom it trusts, and the token it sends."""

from __future__ import annotations

import codecs
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from qupath_sam.errors import InvalidRequest
from qupath_sam.protocol.bearer import authorization, check_token, is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """As the server asks for it; the default is a server of this machine, or the end of a tunnel.

    Attributes:
        tls: encrypt, and trust the public authorities that gRPC knows.
        ca: encrypt, and trust these certificates instead (PEM).
        certificate, key: what this client shows the server (PEM), where that wants to see one; both or neither.
        token: sent with every call; empty sends none.
    """

    tls: bool = False
    ca: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("a client's certificate and its key go together; give both")
        if self.token:
            check_token(self.token)

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or self.ca is not None or self.certificate is not None

    def exposes_token(self, address: str) -> bool:
        """Return whether others on the way to ``host:port`` could read the token."""
        return bool(self.token) and not self.is_encrypted and not is_loopback(address.rpartition(":")[0])

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what each call carries."""
        return authorization(self.token)

    def channel(self, address: str, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
        """Return a channel to ``host:port``; it connects with its first call."""
        if not self.is_encrypted:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(
            address, grpc.ssl_channel_credentials(self.ca, self.key, self.certificate), options=options
        )


def read_pem(path: Path, option: str) -> bytes:
    """Return a client's certificate or key.

    Raises:
        InvalidRequest: the file cannot be read, or is no PEM file.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path} ({error.strerror}); give {option} a PEM file") from error
    if b"-----BEGIN " not in pem:
        raise InvalidRequest(f"{path} is no PEM file; give {option} one that `qupath-sam certs create` wrote")
    return pem


def read_ca(path: Path) -> bytes:
    """Read certificates to trust, as PEM.

    Raises:
        InvalidRequest: the file cannot be read, or holds no certificate.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {path} ({error.strerror}); give a PEM file of the certificates to trust"
        ) from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=pem.removeprefix(codecs.BOM_UTF8).decode("ascii")
        )
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequest(
            f"{path} holds no certificate in PEM form; give the server's own certificate, or its authority's"
        ) from error
    return pem.removeprefix(codecs.BOM_UTF8)
