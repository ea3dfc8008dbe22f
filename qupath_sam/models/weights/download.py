"""Downloading one large file so that it is there whole and right, or not at all, and an interruption costs nothing.

Beside the target ``<file>`` lie, while it is incomplete, ``<file>.part`` (what has arrived) and ``<file>.part.json``
(of which URL and version). The next attempt goes on from there where the server still has that version.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock
from filelock import Timeout as LockHeld

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.weights.digests import file_sha256
from qupath_sam.models.weights.jsonfile import read_json, write_json

#: Called with the bytes that are there and the bytes in all (None where the server does not say).
Progress = Callable[[int, int | None], None]

CHUNK_BYTES = 1 << 18
TIMEOUT = httpx.Timeout(60, connect=15)
#: Room left on the disk beside the file.
SPARE_BYTES = 64 << 20

# Windows knows no quota errors.
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True, slots=True)
class Source:
    """A file to download.

    Attributes:
        size_bytes, sha256: None where the publisher does not name them.
    """

    url: str
    size_bytes: int | None = None
    sha256: str | None = None


def download(
    source: Source,
    target: Path,
    *,
    accept: Callable[[Path], None],
    progress: Progress | None = None,
    client: httpx.Client | None = None,
) -> str:
    """Download a file to ``target``, which appears in one step, checked; a file already there is replaced.

    Args:
        accept: raises where the content of the complete file is wrong.
        client: to use instead of a new one; it must follow redirects.

    Returns:
        Its hex SHA-256.

    Raises:
        WeightsMissing: it cannot be had now: no answer, an error status, interrupted, no room, or another process is
            at it. What has arrived is kept.
        WrongWeights: it has another size, digest or content. What has arrived is deleted.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock"), blocking=False):
            if client is not None:
                return _Download(source, target, progress, client).run(accept)
            with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as own:
                return _Download(source, target, progress, own).run(accept)
    except LockHeld as error:
        raise WeightsMissing(f"another process is downloading {target.name}; wait for it, then try again") from error
    except httpx.InvalidURL as error:
        raise WeightsMissing(f"{source.url} is no URL ({error}); correct it") from error
    except httpx.TimeoutException as error:
        raise WeightsMissing(f"{_host(source)} does not answer in time; try again to go on from here") from error
    except httpx.RequestError as error:
        raise WeightsMissing(
            f"the download of {target.name} from {_host(source)} broke off ({error}); try again to go on from here"
        ) from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _no_room(target.parent, source.size_bytes) from error
        raise WeightsMissing(
            f"cannot write to {target.parent} ({error.strerror or error}); "
            "make it writable, or set QUPATH_SAM_HOME to another folder"
        ) from error


class _Download:
    """One attempt."""

    def __init__(self, source: Source, target: Path, progress: Progress | None, client: httpx.Client) -> None:
        self._source = source
        self._target = target
        self._progress = progress or (lambda done, total: None)
        self._client = client
        self._part = target.with_name(f"{target.name}.part")
        self._state = target.with_name(f"{target.name}.part.json")

    def run(self, accept: Callable[[Path], None]) -> str:
        try:
            self._receive()
            digest = self._checked_digest()
            accept(self._part)
        except WrongWeights:
            self._discard()
            raise
        self._part.replace(self._target)
        self._state.unlink(missing_ok=True)
        return digest

    def _receive(self) -> None:
        """Bring the part file to its full length."""
        have, validator = self._resumable()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        with self._client.stream("GET", self._source.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                # Either complete already, which the digest will tell, or of another version.
                if _total(response) == have:
                    return
                self._discard()
                raise WeightsMissing(f"{_host(self._source)} has another version of the file now; try again")
            self._check_status(response)
            start = have if _continues(response, have) else 0
            total = self._check_size(response, start)
            write_json(self._state, {"url": self._source.url, "validator": _validator(response), "total": total})
            self._append(response, start, total)

    def _append(self, response: httpx.Response, start: int, total: int | None) -> None:
        # httpx raises where fewer bytes arrive than the server announced.
        done = start
        with self._part.open("ab" if start else "wb") as file:
            self._progress(done, total)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                self._progress(done, total)

    def _resumable(self) -> tuple[int, str]:
        """Return the bytes to go on from, and what names their version. 0 where going on could mix two versions."""
        if not self._part.is_file():
            return 0, ""
        try:
            state = read_json(self._state)
        except (OSError, ValueError):
            state = {}
        validator = str(state.get("validator") or "")
        same = state.get("url") == self._source.url and bool(validator or self._source.sha256)
        return (self._part.stat().st_size, validator) if same else (0, "")

    def _check_status(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        url = self._source.url
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise WeightsMissing(
                f"{url} does not exist any more ({response.status_code}); download the file by hand "
                "and register it with `qupath-sam models add`"
            )
        raise WeightsMissing(f"{_host(self._source)} answered {response.status_code} for {url}; try again later")

    def _check_size(self, response: httpx.Response, start: int) -> int | None:
        """Return the length of the whole file, which must be the expected one and must fit the disk."""
        total = _total(response)
        expected = self._source.size_bytes
        if total is not None and expected is not None and total != expected:
            raise self._wrong_size(total)
        needed = (total or expected or 0) - start
        if shutil.disk_usage(self._part.parent).free < needed + SPARE_BYTES:
            raise _no_room(self._part.parent, needed)
        return total if total is not None else expected

    def _wrong_size(self, size: int) -> WrongWeights:
        return WrongWeights(
            f"{self._source.url} has {size} bytes instead of {self._source.size_bytes}; it is not the file it was. "
            "Update qupath-sam, or register a copy with `qupath-sam models add`"
        )

    def _checked_digest(self) -> str:
        size = self._part.stat().st_size
        if self._source.size_bytes not in (None, size):
            raise self._wrong_size(size)
        digest, expected = file_sha256(self._part), self._source.sha256
        if expected is not None and digest != expected:
            raise WrongWeights(
                f"{self._source.url} gave a file with SHA-256 {digest[:12]}… instead of {expected[:12]}…; it was "
                "deleted. Try again; if it stays so, the file has changed: see the model's page"
            )
        return digest

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)


def _continues(response: httpx.Response, have: int) -> bool:
    """Return whether the server sends the rest, rather than everything."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        raise httpx.ReadError("the server sent another range than asked for")
    return True


def _total(response: httpx.Response) -> int | None:
    """Return the length of the whole file as the server states it."""
    found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    if found is not None:
        return int(found[1])
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and response.status_code == httpx.codes.OK else None


def _validator(response: httpx.Response) -> str:
    """Return what names this version in `If-Range`: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag = str(response.headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _host(source: Source) -> str:
    return httpx.URL(source.url).host


def _no_room(folder: Path, needed: int | None) -> WeightsMissing:
    size = "the file" if needed is None else f"{needed / 1e6:.0f} MB"
    return WeightsMissing(f"{folder} has no room for {size}; free some, or set QUPATH_SAM_HOME to another folder")
