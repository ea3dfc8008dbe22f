"""One port for those who operate a server: metrics for Prometheus, a page for the browser. It can only be read.

No client, no image and no path is named there, and nobody is asked for a token: keep the port inside a network that
is trusted.
"""

from __future__ import annotations

import html
import json
import logging
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from qupath_sam.protocol.plain import plain
from qupath_sam.server.port import cannot_listen
from qupath_sam.server.status_tables import Table, headline, tables
from qupath_sam.v1 import status_pb2 as pb

log = logging.getLogger(__name__)

#: Seconds that a browser may take to send its request.
_PATIENCE_S = 10.0
#: Requests that are answered at once, each on a thread; further connections are closed.
MOST_REQUESTS = 16
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .2rem 0; opacity: .75; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; opacity: .75; }
th, td { text-align: right; padding: .15rem .5rem;
  border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
"""


class WebPort:
    """Answers browsers and Prometheus on threads of its own.

    Args:
        host, port: where; port 0 takes a free one.
        status: says what the server does now.
        registry: of the metrics.

    Raises:
        ServerUnavailable: the address cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, status: Callable[[], pb.StatusResponse], registry: CollectorRegistry
    ) -> None:
        class Handler(_Handler):
            source = staticmethod(status)
            metrics = registry

        try:
            self._server = _Server((host.strip("[]"), port), Handler)
        except OSError as error:
            raise cannot_listen(f"{host}:{port}", error.strerror or str(error), option="--metrics-port") from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="qupath-sam-web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MOST_REQUESTS
    # Two servers on one port would share callers at random; on Windows this option would allow that.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own where a place is free; else close: who opens many connections takes no more."""
        if self._places.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:  # no more threads: nobody else would free the place
                self._places.release()
                raise
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log at DEBUG, where the base class prints a traceback: a browser that goes in the midst of an answer."""
        log.debug("a request of %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    source: Callable[[], pb.StatusResponse]
    metrics: CollectorRegistry
    timeout = _PATIENCE_S
    server_version = "qupath-sam"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of three addresses."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._send(encode(self.metrics), content_type)
        elif path == "/":
            self._send(page(self.source()).encode(), "text/html; charset=utf-8")
        elif path == "/status.json":
            self._send(json.dumps(plain(self.source()), indent=2).encode(), "application/json")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "there are /, /status.json and /metrics")

    do_HEAD = do_GET

    def _send(self, content: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log at DEBUG: Prometheus asks every few seconds, for ever."""
        log.debug(format, *args)


def page(status: pb.StatusResponse) -> str:
    """Return a status as a page, which loads itself again every five seconds."""
    content = "".join(map(_table, tables(status)))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        '<meta name="viewport" content="width=device-width"><title>qupath-sam</title>'
        f"<style>{_STYLE}</style></head><body><h1>qupath-sam</h1><p>{html.escape(headline(status))}</p>"
        f'{content}<p><a href="metrics">metrics</a> · <a href="status.json">JSON</a></p></body></html>'
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table>"
