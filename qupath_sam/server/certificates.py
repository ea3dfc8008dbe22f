"""Certificates for a laboratory without an authority: one of its own, a server's and its clients'."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write

CA_NAME = "qupath-sam laboratory authority"
#: Clocks of a laboratory's machines differ.
_EARLIER = timedelta(hours=1)
_CLIENT = re.compile(r"[\w][\w .@-]{0,63}")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of a certificate and its key, both PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; made with the first one, and used again afterwards.

    Args:
        folder: holds ``ca.pem`` and ``ca.key``, and gets what is signed.
        days: how long a new authority's certificate is good for.

    Raises:
        InvalidRequest: what is there cannot be used, or the folder cannot be written.
    """

    def __init__(self, folder: Path, *, days: int = 3650) -> None:
        self.folder = folder
        self.files = Pair(folder / "ca.pem", folder / "ca.key")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"cannot make {folder} ({error.strerror}); choose another folder") from error
        if self.files.certificate.exists() != self.files.key.exists():
            raise InvalidRequest(
                f"{folder} holds one of ca.pem and ca.key only; put the other one back, or use a new one"
            )
        if self.files.key.exists():
            self._load()
        else:
            self._make(days)

    def server(self, hosts: Sequence[str], *, days: int) -> Pair:
        """Issue a server's certificate, good for these names and addresses; it replaces an older one.

        Raises:
            InvalidRequest: no host, or one that is none.
        """
        if not hosts:
            raise InvalidRequest("a server's certificate names the machine; give its name, as clients write it")
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._sign("server", hosts[0], days, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, name: str, *, days: int) -> Pair:
        """Issue a client's certificate, by which a server knows its name.

        Raises:
            InvalidRequest: it is no name, or one that has a file already.
        """
        if not _CLIENT.fullmatch(name):
            raise InvalidRequest(f"{name!r} is no name; give up to 64 letters, digits, spaces and . @ _ -")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
        if stem.lower() in ("ca", "server"):
            raise InvalidRequest(f"{name!r} is the name of another file in {self.folder}; choose another")
        return self._sign(stem, name, days, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _make(self, days: int) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name(CA_NAME)
        self._certificate = (
            _builder(name, name, self._key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write(self.files, self._key, self._certificate)

    def _load(self) -> None:
        try:
            self._certificate = x509.load_pem_x509_certificate(self.files.certificate.read_bytes())
            key = serialization.load_pem_private_key(self.files.key.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"the authority in {self.folder} cannot be read ({error}); use a new folder"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidRequest(f"the authority in {self.folder} is none of ours; use a new folder")
        self._key = key

    def _sign(
        self, stem: str, common_name: str, days: int, use: x509.ObjectIdentifier, names: x509.ExtensionType | None
    ) -> Pair:
        if days < 1:
            raise InvalidRequest(f"a certificate for {days} days is good for nothing; give at least 1")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(common_name), self._certificate.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        _write(pair, key, builder.sign(self._key, hashes.SHA256()))
        return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise InvalidRequest(f"{host!r} is no name or address of a machine; write it as clients do") from None
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write(pair: Pair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Write the key first: a server that looks in between finds a pair that does not fit, and looks again."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    try:
        for path, content, mode in ((pair.key, private, 0o600), (pair.certificate, public, 0o644)):
            with atomic_write(path, mode=mode, keep_access=True) as file:
                file.write(content)
    except OSError as error:
        raise InvalidRequest(f"cannot write {pair.key} ({error.strerror}); choose another folder") from error
