"""Tokens by name: kept as digests in a file, each with its limits, given and taken back while the server runs.

A token is 256 random bits, so that a plain SHA-256 of it can be kept: there is nothing to guess, and no salt or slow
digest would make it harder. The file holds nothing that gives access.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write

log = logging.getLogger(__name__)

_SCHEMA = 1
_NAME = re.compile(r"[\w][\w .@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one client at a time; 0 is the server's own limit.

    Attributes:
        calls: calls under way, open streams included.
        streams: open Live streams.
        pushed_bytes: memory for pixels that it has pushed.
    """

    calls: int = 0
    streams: int = 0
    pushed_bytes: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidRequest(f"the limit {name} is {value!r}; give a whole number, or 0 for none of its own")


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A token's digest, with the name and limits of its client.

    Attributes:
        name: of the person or program.
        sha256: hex digest of the token.
        created: ISO 8601, UTC.
        limits: of all who come with it.
    """

    name: str
    sha256: str
    created: str = ""
    limits: Limits = field(default_factory=Limits)


def digest_of(token: str) -> str:
    """Return the digest of a token, which is all that is kept of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class TokenFile:
    """The file of a server's tokens; read and written whole.

    Args:
        path: made with the first token.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[NamedToken, ...]:
        """Read the tokens, oldest first; none where there is no file.

        Raises:
            InvalidRequest: the file cannot be read, or is none of ours.
        """
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return tuple(_token_of(entry) for entry in content["tokens"])
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise InvalidRequest(
                f"cannot read the tokens in {self.path} ({error.strerror}); let the account that asks for them read it"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{self.path} is no file of tokens ({type(error).__name__}); "
                f"make one with `qupath-sam token create NAME --tokens {self.path}`"
            ) from error

    def create(self, name: str, limits: Limits | None = None) -> str:
        """Add a token; it is returned and kept nowhere.

        Raises:
            InvalidRequest: the name is taken or is no name, or the file cannot be read or written.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} is no name; give up to 64 letters, digits, spaces and . @ _ -")
        known = self.read()
        if any(token.name == name for token in known):
            raise InvalidRequest(f"{name!r} has a token already; revoke it first, or choose another name")
        token = secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        self._write([*known, NamedToken(name, digest_of(token), created, limits or Limits())])
        return token

    def revoke(self, name: str) -> None:
        """Take a token away; a running server sees it within seconds.

        Raises:
            InvalidRequest: nobody of that name has one, or the file cannot be read or written.
        """
        known = self.read()
        left = [token for token in known if token.name != name]
        if len(left) == len(known):
            names = ", ".join(token.name for token in known) or "none"
            raise InvalidRequest(f"nobody called {name!r} has a token in {self.path}; known: {names}")
        self._write(left)

    def _write(self, tokens: Iterable[NamedToken]) -> None:
        document = {"schema": _SCHEMA, "tokens": [asdict(token) for token in tokens]}
        try:
            with atomic_write(self.path, mode=0o600, keep_access=True) as file:
                file.write(json.dumps(document, indent=1).encode())
        except OSError as error:
            raise InvalidRequest(f"cannot write {self.path} ({error.strerror}); choose another folder") from error


class TokenRegistry:
    """The tokens that a running server knows. Safe to use from several threads.

    Args:
        single: a token without a name, or "".
        file: of the named ones, or None.
    """

    SINGLE = "token"

    def __init__(self, single: str, file: TokenFile | None) -> None:
        self._single = NamedToken(self.SINGLE, digest_of(single)) if single else None
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[str, NamedToken] = {}
        self._stamp: object = None
        self._on_revoked: list[Callable[[str], None]] = []
        self.refresh(force=True)

    @property
    def is_open(self) -> bool:
        """Whether all callers are let in."""
        return self._single is None and self._file is None

    def on_revoked(self, callback: Callable[[str], None]) -> None:
        """Have ``callback`` called with the name of each token that is taken away."""
        self._on_revoked.append(callback)

    def replace_single(self, token: str) -> None:
        """Let in whom another token without a name lets in; who has come with the old one is sent away."""
        self._single = NamedToken(self.SINGLE, digest_of(token))
        self.refresh(force=True)

    def find(self, token: str) -> NamedToken | None:
        """Return whose token it is; None where it is not known."""
        # Looked up by its digest: how long that takes tells nothing of the tokens themselves.
        with self._lock:
            return self._known.get(digest_of(token))

    def refresh(self, *, force: bool = False) -> None:
        """Read the file again if it has changed. One that cannot be read lets in whom the last one let in.

        Raises:
            InvalidRequest: the first time, where the file cannot be read.
        """
        stamp = self._stamp_now()
        if stamp == self._stamp and not force:
            return
        try:
            tokens = self._file.read() if self._file is not None else ()
        except InvalidRequest as error:
            if self._stamp is None:
                raise
            log.error("the tokens stay as they were: %s", error)
            self._stamp = stamp
            return
        with self._lock:
            before = self._known
            self._known = {token.sha256: token for token in (*tokens, *filter(None, [self._single]))}
            gone = [token.name for digest, token in before.items() if digest not in self._known]
            first, self._stamp = self._stamp is None, stamp
        if not first:
            log.info("tokens read again: %d known, %d revoked", len(self._known), len(gone))
        for name in gone:
            for callback in self._on_revoked:
                callback(name)

    def _stamp_now(self) -> object:
        if self._file is None:
            return ()
        try:
            status = self._file.path.stat()
        except OSError as error:
            return type(error).__name__
        return status.st_mtime_ns, status.st_size, status.st_ino


def _token_of(entry: dict[str, Any]) -> NamedToken:
    limits = Limits(**entry.get("limits", {}))
    name, digest = str(entry["name"]), str(entry["sha256"])
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("a digest that is none")
    return NamedToken(name, digest, str(entry.get("created", "")), limits)
