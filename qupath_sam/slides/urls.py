"""Which URLs may be opened for a client, and which addresses of the network are never asked for a client.

A URL is opened only where its scheme, or the very host, was named beforehand. fsspec knows schemes that run code
(``reference://``), copy files (``simplecache::``) or reach into other files (``zip://a::b``): none is open by default.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from qupath_sam.errors import InvalidRequest, SlideUnsupported

#: Schemes that may be allowed by name: each reaches one kind of store over the network and nothing else.
OPENABLE = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+(://|::)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Public by number, but the cloud's own machine behind it.
_OF_THE_CLOUD = frozenset({ipaddress.ip_address("168.63.129.16")})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Host = tuple[str, int]
"""A host's name in lower case, and a port."""


def is_url(text: str) -> bool:
    """Return whether fsspec would take the text for a URL, or for several of them (``zip::https://…``)."""
    return bool(_URL.match(text))


@dataclass(frozen=True, slots=True)
class UrlRules:
    """What may be opened; nothing, unless it is named.

    Attributes:
        schemes: every public host may be asked by these.
        origins: ``(scheme, host, port)``; these hosts may be asked, on a private address too.
    """

    schemes: frozenset[str] = frozenset()
    origins: frozenset[tuple[str, str, int]] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> UrlRules:
        """Parse texts such as ``https,s3`` and ``https://slides.lab.example``.

        Raises:
            InvalidRequest: a scheme that is not in `OPENABLE`, or no origin.
        """
        schemes, origins = set(), set()
        for word in (word.strip() for text in texts for word in text.split(",")):
            if "://" in word:
                origins.add(_origin(word))
            elif word.lower() in OPENABLE:
                schemes.add(word.lower())
            else:
                raise InvalidRequest(
                    f"URLs of the scheme {word!r} cannot be opened; allow one of {', '.join(OPENABLE)}, "
                    "or an origin such as https://slides.lab.example"
                )
        return cls(frozenset(schemes), frozenset(origins))

    @property
    def trusted_hosts(self) -> frozenset[Host]:
        """Hosts that may have a private address."""
        return frozenset((host, port) for _, host, port in self.origins)

    def check(self, url: str, *, given: str) -> None:
        """Refuse a URL that may not be opened. Looks at the text alone.

        Args:
            url: what would be opened.
            given: what the caller sent, for the message.

        Raises:
            SlideUnsupported: it may not.
        """
        if "::" in url:
            raise SlideUnsupported(f"{given} chains several URLs (::), which is never opened; give one URL or a path")
        scheme = url.partition("://")[0].lower()
        if scheme in _DEFAULT_PORTS:
            parts = _split(url)
            if parts is not None and scheme in self.schemes:
                return
            if parts is not None and (scheme, *host_of(parts)) in self.origins:
                return
        elif scheme in self.schemes:
            return
        raise SlideUnsupported(
            f"{given} is a URL that may not be opened here; give a path, have the server allow it (serve "
            "--allow-url), or push the pixels"
        )


NO_URLS = UrlRules()


def host_of(parts: SplitResult) -> Host:
    """Return the host and port of an ``http`` or ``https`` URL."""
    return (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS[parts.scheme.lower()]


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public network, and so is every address that is written into it.

    An IPv6 address can stand for an IPv4 one (mapped, 6to4, Teredo, NAT64); both have to be public.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        known = [other for other in inner if other is not None]
        if known:
            return all(is_public(str(other)) for other in known)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip not in _OF_THE_CLOUD


def _split(url: str) -> SplitResult | None:
    """Return the parts of an ``http`` or ``https`` URL; None where it names no host, or a user."""
    try:
        parts = urlsplit(url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if parts.hostname and port_is_one and "@" not in parts.netloc else None


def _origin(text: str) -> tuple[str, str, int]:
    parts = _split(text)
    if parts is None or parts.scheme.lower() not in _DEFAULT_PORTS or parts.path.strip("/") or parts.query:
        raise InvalidRequest(f"{text!r} is no origin; write for example https://slides.lab.example:8443")
    return (parts.scheme.lower(), *host_of(parts))
