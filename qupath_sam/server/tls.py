"""The server's certificate and key, checked before gRPC has them: gRPC itself only says that it failed to bind."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from qupath_sam.errors import InvalidRequest

_REMEDY = (
    "make a pair with `openssl req -x509 -newkey rsa:3072 -nodes -days 730 -subj /CN=HOST "
    "-addext subjectAltName=DNS:HOST -keyout server.key -out server.pem`, or ask your IT for one of HOST"
)


def server_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """What gRPC needs to encrypt.

    Args:
        certificate: PEM file of the server's certificate, followed by those between it and its authority.
        key: PEM file of its private key, without a password.

    Raises:
        InvalidRequest: a file cannot be read, is no such file, or the two do not belong together.
    """
    chain = _read(certificate, "--tls-certificate")
    private = _read(key, "--tls-key")
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        raise InvalidRequest(f"{certificate} holds no certificate in PEM form; {_REMEDY}")
    if b"PRIVATE KEY-----" not in private:
        raise InvalidRequest(f"{key} holds no private key in PEM form; {_REMEDY}")
    _check_pair(certificate, key)
    return grpc.ssl_server_credentials([(private, chain)])


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {path} ({error.strerror}); give {option} a PEM file that this account may read"
        ) from error


def _check_pair(certificate: Path, key: Path) -> None:
    def password() -> str:
        # Without this, OpenSSL would ask the terminal.
        raise InvalidRequest(
            f"the key {key} has a password; write one without: `openssl pkey -in {key} -out server.key`, "
            "and let nobody else read that file"
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidRequest(
                f"the key {key} does not belong to the certificate {certificate}; give the two that were made together"
            ) from error
        reason = error.reason or error.strerror
        raise InvalidRequest(f"{certificate} and {key} cannot be used ({reason}); {_REMEDY}") from error
