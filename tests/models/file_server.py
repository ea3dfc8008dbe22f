"""A real HTTP server for one file: ranges, ETags, and the ways in which downloads go wrong."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class ServedFile:
    """What the server answers; change it between requests.

    Attributes:
        break_after: close the connection after that many bytes of a body, as a lost network does.
        status: answer this instead.
        honours_ranges: else it always sends everything.
        etag: None takes one from the content; "" sends none.
        announces_length: else the body ends where the connection does.
        requests: header ``Range`` of every request so far, "" where there was none.
        hold_body: wait for it in the middle of the body, after setting ``body_reached``.
    """

    content: bytes
    break_after: int | None = None
    status: int = 200
    honours_ranges: bool = True
    etag: str | None = None
    last_modified: str = ""
    announces_length: bool = True
    redirect_to: str = ""
    requests: list[str] = field(default_factory=list)
    hold_body: threading.Event | None = None
    body_reached: threading.Event = field(default_factory=threading.Event)

    @property
    def current_etag(self) -> str:
        return self.etag if self.etag is not None else f'"{hashlib.md5(self.content).hexdigest()}"'


@contextmanager
def serving(file: ServedFile) -> Iterator[str]:
    """Serve ``file`` on a free loopback port; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            file.requests.append(self.headers.get("Range", ""))
            if file.redirect_to and self.path != file.redirect_to:
                self.send_response(302)
                self.send_header("Location", file.redirect_to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if file.status != 200:
                self.send_response(file.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send_file()

        def _send_file(self) -> None:
            start = self._start()
            if start is not None and start >= len(file.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(file.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = file.content[start or 0 :]
            self.send_response(200 if start is None else 206)
            if start is not None:
                self.send_header("Content-Range", f"bytes {start}-{len(file.content) - 1}/{len(file.content)}")
            if file.announces_length:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            if file.current_etag:
                self.send_header("ETag", file.current_etag)
            if file.last_modified:
                self.send_header("Last-Modified", file.last_modified)
            self.end_headers()
            if file.break_after is not None:
                self.wfile.write(body[: file.break_after])
                self.close_connection = True
                return
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            file.body_reached.set()
            if file.hold_body is not None:
                file.hold_body.wait(30)
            self.wfile.write(body[half:])

        def _start(self) -> int | None:
            """First byte asked for, unless everything is to be sent."""
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked is None or not file.honours_ranges:
                return None
            condition = self.headers.get("If-Range")
            if condition is not None and condition not in (file.current_etag, file.last_modified):
                return None
            return int(asked[1])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
        finally:
            server.shutdown()
            thread.join()
