"""A server on this machine that answers as a Hugging Face hub does for the files of one repository."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class HubRepository:
    """What the hub has; change it between requests.

    Attributes:
        name: of the repository.
        files: contents by commit and name; the last commit is the newest.
        gated: answer 403 to a request without a token.
        break_after: close the connection after that many bytes of a body, and answer 503 to the requests that follow.
        wrong_digest: announce another SHA-256 than the content has.
        asked: method and path of every request so far.
        ranges: header ``Range`` of every body that was asked for, "" where there was none.
    """

    name: str
    files: dict[str, dict[str, bytes]]
    gated: bool = False
    break_after: int | None = None
    wrong_digest: bool = False
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    has_broken: bool = False


@contextmanager
def serving_hub(repository: HubRepository) -> Iterator[str]:
    """Serve a repository on a free loopback port; gives the endpoint."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            repository.asked.append(f"{self.command} {self.path}")
            found = re.fullmatch(rf"/{re.escape(repository.name)}/resolve/([^/]+)/([^/]+)", self.path)
            if found is None:
                return self._refuse(404, "RepoNotFound")
            if repository.has_broken:
                return self._refuse(503, "Unavailable")
            if repository.gated and not self.headers.get("Authorization"):
                return self._refuse(403, "GatedRepo")
            commit = list(repository.files)[-1] if found[1] == "main" else found[1]
            if commit not in repository.files:
                return self._refuse(404, "RevisionNotFound")
            content = repository.files[commit].get(found[2])
            if content is None:
                return self._refuse(404, "EntryNotFound")
            self._send(commit, content, body=body)

        def _send(self, commit: str, content: bytes, *, body: bool) -> None:
            digest = hashlib.sha256(b"other" if repository.wrong_digest else content).hexdigest()
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            if body:
                repository.ranges.append(self.headers.get("Range", ""))
            self.send_response(206 if asked else 200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{digest}"')
            self.send_header("Content-Length", str(len(content) - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if not body:
                return
            if repository.break_after is not None and repository.break_after < len(content):
                repository.has_broken = True
                self.wfile.write(content[start : start + repository.break_after])
                self.close_connection = True
                return
            self.wfile.write(content[start:])

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
