"""The server's certificate and key, checked before gRPC has them: gRPC itself only says that it failed to bind."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc

from qupath_sam.errors import InvalidRequest

log = logging.getLogger(__name__)

#: Seconds between two looks at the files' times: a handshake each would ask a network share too often.
LOOK_EVERY_S = 1.0

#: Days before a certificate's end from which on the log warns of it, once a day.
WARN_DAYS = 30
_DAY_S = 24 * 3600.0

_REMEDY = "make a pair with `qupath-sam certs create HOST`, or ask your IT for one of HOST"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the server's identity.

    Attributes:
        certificate: PEM file of the server's certificate, followed by those between it and its authority.
        key: PEM file of its private key, without a password.
        client_ca: PEM file of the authorities whose certificates let a client in; None asks clients for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Read the files for gRPC.

        Raises:
            InvalidRequest: a file cannot be read, is no such file, or the two do not belong together.
        """
        chain = _read(self.certificate, "--tls-certificate")
        private = _read(self.key, "--tls-key")
        if b"-----BEGIN CERTIFICATE-----" not in chain:
            raise InvalidRequest(f"{self.certificate} holds no certificate in PEM form; {_REMEDY}")
        if b"PRIVATE KEY-----" not in private:
            raise InvalidRequest(f"{self.key} holds no private key in PEM form; {_REMEDY}")
        _check_pair(self.certificate, self.key)
        return grpc.ssl_server_certificate_configuration([(private, chain)], self._authorities())

    def expires(self) -> datetime | None:
        """Return until when the certificates are good: that of the server, and those between it and its authority.

        None where that cannot be read: OpenSSL, which uses them, takes some that do not keep to the standard.

        Raises:
            InvalidRequest: the file cannot be read.
        """
        from cryptography import x509  # here, because a server without TLS does without it

        try:
            chain = x509.load_pem_x509_certificates(_read(self.certificate, "--tls-certificate"))
        except ValueError:
            return None
        return min(certificate.not_valid_after_utc for certificate in chain)

    def stamp(self) -> tuple[object, ...]:
        """Return what changes when one of the files does."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)

    def _authorities(self) -> bytes | None:
        if self.client_ca is None:
            return None
        pem = _read(self.client_ca, "--tls-client-ca")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise InvalidRequest(
                f"{self.client_ca} holds no certificate in PEM form; give the authority's that signs your clients'"
            ) from error
        return pem


class ReloadingTls:
    """A server's identity, which is read again when its files change. Connections that are open stay as they are.

    Args:
        files: where it lies.
        clock: seconds.
        today: the time of day, with its zone.

    Raises:
        InvalidRequest: as `TlsFiles.load`.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = files
        self._clock = clock
        self._today = today
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self._looked = clock()
        self._first = files.load()
        self._expires = files.expires()
        log.info("the certificate is good until %s", _day(self._expires))
        self._reminded = -float("inf")
        self.remind()

    @property
    def expires(self) -> datetime | None:
        """Until when the certificate in use is good; None where that cannot be read."""
        return self._expires

    def remind(self) -> None:
        """Warn, once a day, of a certificate that ends soon: from then on no client gets in."""
        now = self._clock()
        if self._expires is None or now - self._reminded < _DAY_S:
            return
        self._reminded = now
        days = (self._expires - self._today()).days
        if days < WARN_DAYS:
            log.warning(
                "the certificate %s %s; renew it as it was made (`qupath-sam certs create HOST` in the same folder): "
                "this server reads it again by itself, and no client gets in after its end",
                self._files.certificate,
                f"is good for {days} more days" if days >= 0 else f"has ended on {self._expires.date()}",
            )

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials with which gRPC encrypts."""
        return grpc.dynamic_ssl_server_credentials(
            self._first, self._changed, require_client_authentication=self._files.client_ca is not None
        )

    def look_again(self) -> None:
        """Have the next handshake look at the files, however soon."""
        with self._lock:
            self._looked = -float("inf")

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Answer gRPC before each handshake; None keeps what there is, and so does a file that cannot be used."""
        with self._lock:
            now = self._clock()
            if now - self._looked < LOOK_EVERY_S:
                return None
            self._looked = now
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            try:
                loaded, expires = self._files.load(), self._files.expires()
            except InvalidRequest as error:
                # Half of a pair may be there already: it is looked at again with the next handshake.
                log.error("the certificate stays as it was: %s", error)
                return None
            self._stamp, self._expires = stamp, expires
        log.info("the certificate was read again; it is good until %s", _day(expires))
        return loaded


def _day(moment: datetime | None) -> str:
    return "a day that cannot be read" if moment is None else str(moment.date())


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return type(error).__name__
    return status.st_mtime_ns, status.st_size, status.st_ino


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
