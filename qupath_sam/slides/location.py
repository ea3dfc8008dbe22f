"""Where a slide lies: from a path or URI as a client sends it to what this machine can open.

Clients and server need not run the same system: QuPath on Windows writes ``file:/D:/slides/a%20b.svs`` while the
server sees ``/mnt/slides/a b.svs``. Windows paths are therefore taken apart by the rules of Windows wherever this runs.
"""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath
from urllib.parse import unquote_to_bytes

from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.slides.urls import NO_URLS, UrlRules, is_url

_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")
_FILE_URI = re.compile(r"^file:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Location:
    """A slide's place, as this machine spells it.

    Attributes:
        target: a path of this machine, or a URL.
        is_url: whether ``target`` is a URL. One is opened only where ``urls`` allow it.
        given: what the caller sent, for messages, which never repeat ``target``.
        urls: which URLs may be opened.
        real: the path without symbolic links, where it is resolved already; it is what is opened then.
    """

    target: str
    is_url: bool
    given: str
    urls: UrlRules = NO_URLS
    real: str = ""

    @property
    def path(self) -> str:
        """What is opened."""
        return self.real or self.target

    @property
    def is_foreign(self) -> bool:
        """Whether ``target`` is a Windows path and this machine is none."""
        return os.name != "nt" and not self.is_url and _is_windows(self.target)

    @property
    def name(self) -> str:
        """The last part of the path, with its extension."""
        return PureWindowsPath(self.target).name if not self.is_url else posixpath.basename(self.target.split("?")[0])


@dataclass(frozen=True, slots=True)
class PathMap:
    r"""Where the client's folders are on this machine: pairs of prefixes ``(client, server)``.

    A client prefix is a Windows path (``D:\slides``, ``\\host\share``; compared without regard to case, either
    slash) or a POSIX one. It matches whole folder names, and the longest match wins. A server prefix is a path of this
    machine or a URL.
    """

    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for client, server in self.pairs:
            if not client.strip() or not server.strip():
                raise InvalidRequest(
                    f"path map '{client}={server}' lacks a side; write for example 'D:\\slides=/mnt/slides'"
                )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> PathMap:
        """Parse texts ``CLIENT=SERVER``, as the command line takes them; the first ``=`` separates.

        Raises:
            InvalidRequest: a text without ``=`` or with an empty side.
        """
        split = (text.partition("=") for text in texts)
        return cls(tuple((client.strip(), server.strip()) for client, _, server in split))

    def translate(self, path: str) -> str:
        """Return ``path`` as this machine sees it; unchanged where no prefix matches."""
        length, rest, server = max(self._matches(path), key=lambda match: match[0], default=(0, (), path))
        if length == 0 or not rest:
            return server
        separator = "\\" if _is_windows(server) else "/"
        return separator.join([server.rstrip("\\/"), *rest])

    def _matches(self, path: str) -> Iterator[tuple[int, tuple[str, ...], str]]:
        """Yield the length of the prefix in folders, what follows it, and what replaces it."""
        for given, server in self.pairs:
            client = _plain_path(given)
            windows = _is_windows(client)
            prefix, parts = _folders(client, windows=windows), _folders(path, windows=windows)
            head = parts[: len(prefix)]
            same = [p.casefold() for p in head] == [p.casefold() for p in prefix] if windows else head == prefix
            if same:
                yield len(prefix), parts[len(prefix) :], server


def parse_location(
    given: str | os.PathLike[str], path_map: PathMap | None = None, *, urls: UrlRules = NO_URLS
) -> Location:
    """Read a path or URI as clients send it. Opens nothing and looks at no disk.

    Takes ``file:`` URIs in all spellings of Java and browsers (``file:/a``, ``file:///a``, ``file:/C:/a``,
    ``file:////host/share/a``, ``file://host/share/a``; percent-encoded UTF-8), POSIX, Windows and UNC paths, and the
    URLs that ``urls`` allow (``https://…``, ``s3://…``).

    Raises:
        InvalidRequest: empty, holding a NUL, or wrongly encoded.
        SlideUnsupported: a URL that is not allowed, or a ``file:`` URI with ``#…`` or ``?…``, by which old projects
            name a series.
    """
    text = os.fspath(given)
    if not text.strip() or "\0" in text:
        raise InvalidRequest(f"{text!r} is no path or URI of a slide; send the image's path or its URI")
    target = text
    if _FILE_URI.match(text) or not is_url(text):
        path = _plain_path(text)
        target = path_map.translate(path) if path_map is not None else path
    if is_url(target):
        urls.check(target, given=text)
    return Location(target, is_url=is_url(target), given=text, urls=urls)


def _plain_path(text: str) -> str:
    """Return a path without its ``file:`` scheme; any other text unchanged."""
    if not _FILE_URI.match(text):
        return text
    rest = text[len("file:") :]
    if "#" in rest or "?" in rest:
        raise SlideUnsupported(
            f"{text} names a part of a file (# or ?), which cannot be reproduced here; push the pixels instead "
            "(in a path these characters are written %23 and %3F)"
        )
    try:
        path = unquote_to_bytes(rest.replace("\\", "/")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{text} is not percent-encoded UTF-8; send the URI as java.net.URI writes it") from error
    if "\0" in path:
        raise InvalidRequest(f"{text} holds a NUL; send the URI as java.net.URI writes it")
    return _without_authority(path)


def _without_authority(path: str) -> str:
    """Map ``///a`` to ``/a``, ``/C:/a`` and ``//C:/a`` to ``C:/a``, ``//host/share`` and ``////host/share`` to UNC."""
    slashes = len(path) - len(path.lstrip("/"))
    rest = path[slashes:]
    if _DRIVE.match(rest) and slashes <= 3:
        return rest
    if slashes == 2 and rest.lower().startswith("localhost/"):
        return _without_authority(rest[len("localhost") :])
    if slashes in (2, 4, 5):
        return "\\\\" + rest.replace("/", "\\")
    return "/" + rest


def _is_windows(path: str) -> bool:
    return bool(_DRIVE.match(path)) or path.startswith("\\\\")


def _folders(path: str, *, windows: bool) -> tuple[str, ...]:
    r"""Return the folders of a path, ``..`` resolved, so that no path leaves a mapped folder by the back door.

    ``/a/b`` is ("", "a", "b"); ``\\host\share`` is ("", "", "host", "share").
    """
    normal = ntpath.normpath(path) if windows else posixpath.normpath(path)
    separator = "\\" if windows else "/"
    return tuple(normal.rstrip(separator).split(separator))
