"""A file behind ``http`` or ``https``, read by ranges. Only addresses that may be asked are ever connected to.

The address is looked at where the connection is made, after the name is resolved: another answer of the name server, or
a redirection, leads to another look.
"""

from __future__ import annotations

import io
import logging
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urljoin

import httpcore

from qupath_sam.errors import SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides.urls import Host, UrlRules, is_public

log = logging.getLogger(__name__)

MAX_REDIRECTIONS = 5
BUFFER_BYTES = 256 * 1024
TIMEOUT = {"connect": 15.0, "read": 60.0, "write": 15.0, "pool": 60.0}

_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
_TOTAL = re.compile(rb"bytes (?:\d+-\d+|\*)/(\d+)")


class _PublicNetwork(httpcore.NetworkBackend):
    """Connects to public addresses, and to the hosts that were named beforehand."""

    def __init__(self, trusted: frozenset[Host]) -> None:
        self._trusted = trusted
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"no such host: {host}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if (host.lower(), port) not in self._trusted and not all(map(is_public, addresses)):
            # As a host that is not there: the answer does not show which machines there are.
            log.warning("did not connect to %s: its address is private (allow it by name with --allow-url)", host)
            raise httpcore.ConnectError(f"no such host: {host}")
        # The address, not the name: resolved again, it could be another one.
        return self._network.connect_tcp(addresses[0], port, timeout, local_address, socket_options)


class WebFile(io.RawIOBase):
    """A file on a web server that answers ranges. Safe to use by one thread at a time, as any file.

    Attributes:
        url: where it was found in the end, after redirections.
        size: bytes.
        version: its ETag or modification date, "" where the server gives none.
    """

    def __init__(self, url: str, rules: UrlRules, *, given: str) -> None:
        """Ask for the file.

        Args:
            url: ``http://…`` or ``https://…``.
            rules: what may be asked.
            given: what the caller sent, for messages.

        Raises:
            SlideUnsupported: the URL, or one it redirects to, may not be asked; or its server gives no ranges.
            SlideNotFound: it is not there, nothing answers, or its address is private.
        """
        super().__init__()
        self._given = given
        self._rules = rules
        self._position = 0
        self._pool = httpcore.ConnectionPool(
            max_connections=2, network_backend=_PublicNetwork(rules.trusted_hosts), retries=0
        )
        try:
            self.url = url
            with self._answer(0, 1) as answer:
                self.size = _total(answer, given)
                names = {key.lower(): value.decode("latin-1") for key, value in answer.headers}
            self.version = names.get(b"etag") or names.get(b"last-modified") or ""
        except BaseException:
            self._pool.close()
            raise

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """See `io.RawIOBase.tell`."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the position on; raises `SlideUnreadable` where the server gives something else."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self.size - self._position)
        if wanted <= 0:
            return 0
        with self._answer(self._position, wanted) as answer:
            got = 0
            for part in answer.iter_stream():
                take = min(len(part), wanted - got)
                view[got : got + take] = part[:take]
                got += take
                if take < len(part):
                    break
        if got < wanted:
            raise SlideUnreadable(f"{self._given} ended {wanted - got} bytes early; try again or copy it")
        self._position += got
        return got

    def close(self) -> None:
        """Close the connections."""
        if not self.closed:
            self._pool.close()
        super().close()

    @contextmanager
    def _answer(self, start: int, count: int) -> Iterator[httpcore.Response]:
        """Open the server's answer to a range, its body not yet read; redirections are followed and kept."""
        headers = [("Range", f"bytes={start}-{start + count - 1}"), ("Accept-Encoding", "identity")]
        for _ in range(MAX_REDIRECTIONS + 1):
            self._rules.check(self.url, given=self._given)
            try:
                with self._pool.stream("GET", self.url, headers=headers, extensions={"timeout": TIMEOUT}) as answer:
                    if answer.status not in _REDIRECTIONS:
                        self._check(answer)
                        yield answer
                        return
                    self.url = urljoin(self.url, _header(answer, b"location"))
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise SlideNotFound(
                    f"{self._given} cannot be fetched ({type(error).__name__}); check the URL, allow its host by name "
                    "(--allow-url ORIGIN) where its address is private, or push the pixels"
                ) from error
        raise SlideNotFound(f"{self._given} redirects more than {MAX_REDIRECTIONS} times; give its final URL")

    def _check(self, answer: httpcore.Response) -> None:
        if answer.status == 200:
            raise SlideUnsupported(
                f"{self._given}: its web server sends whole files only, no ranges; copy the slide or push the pixels"
            )
        if answer.status not in (206, 416):
            raise SlideNotFound(f"{self._given} is answered with {answer.status}; check the URL, or push the pixels")


def open_web(url: str, rules: UrlRules, *, given: str) -> IO[bytes]:
    """Return the file behind a URL, buffered; errors as `WebFile`."""
    return io.BufferedReader(WebFile(url, rules, given=given), BUFFER_BYTES)


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


def _total(answer: httpcore.Response, given: str) -> int:
    found = _TOTAL.match(_header(answer, b"content-range").encode("latin-1"))
    if found is None:
        raise SlideUnsupported(f"{given}: its web server does not tell the file's size; copy the slide")
    return int(found[1])
