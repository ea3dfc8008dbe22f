"""Slides behind http: by ranges, from hosts that may be asked, whatever a name server or a redirection says."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from qupath_sam.errors import InvalidRequest, SlideError, SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides import Permissions, UrlRules, open_slide
from qupath_sam.slides.urls import is_public
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import coordinate_pixels
from tests.slides.written import write_tiff


class Served(ThreadingHTTPServer):
    content = b""
    requests: list[str]
    redirect = ""


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        if self.path == "/missing.tif":
            self.send_error(404)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        content = self.server.content
        if self.path == "/whole.tif" or found is None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        start, end = int(found[1]), min(int(found[2]), len(content) - 1)
        part = content[start : end + 1]
        if self.path == "/short.tif":
            part = part[: max(1, len(part) // 2)]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = write_tiff(tmp_path_factory.mktemp("web") / "a.tif", coordinate_pixels(), tile=(32, 32))
    server = Served(("127.0.0.1", 0), Handler)
    server.content, server.requests = path.read_bytes(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def origin(server: Served, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.server_address[1]}"


def allowing(*texts: str) -> Permissions:
    return Permissions(urls=UrlRules.parse(texts))


def test_a_slide_of_a_host_that_is_named_is_read(served: Served) -> None:
    with closing(open_slide(f"{origin(served)}/a.tif", permissions=allowing(origin(served)))) as reader:
        pixels = reader.read(Window(Region(0, 0, 208, 152), 208, 152))
    np.testing.assert_array_equal(pixels, coordinate_pixels())


def test_a_private_address_is_asked_by_name_only(served: Served) -> None:
    served.requests.clear()
    with pytest.raises(SlideNotFound, match="by name"):
        open_slide(f"{origin(served)}/a.tif", permissions=allowing("http"))
    assert not served.requests


def test_another_port_of_a_named_host_is_another_host(served: Served) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}/a.tif"
        with pytest.raises(SlideUnsupported, match="--allow-url"):
            open_slide(url, permissions=allowing(origin(served)))


def test_what_a_name_resolves_to_is_what_counts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the public network whose owner lets it point here."""
    asked = socket.getaddrinfo

    def resolve(host: str, *args: Any, **kwargs: Any) -> Any:
        return asked("127.0.0.1" if host == "rebind.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    served.requests.clear()
    with pytest.raises(SlideNotFound):
        open_slide(f"{origin(served, 'rebind.example')}/a.tif", permissions=allowing("http"))
    assert not served.requests


def test_a_private_and_an_absent_host_are_told_alike(served: Served) -> None:
    told = []
    for host in ("127.0.0.1", "nothing.invalid"):
        url = f"{origin(served, host)}/a.tif"
        with pytest.raises(SlideNotFound) as caught:
            open_slide(url, permissions=allowing("http"))
        told.append(str(caught.value).replace(url, "X"))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("http://127.0.0.2:{port}/a.tif", SlideUnsupported),
        ("ftp://127.0.0.1:{port}/a.tif", SlideUnsupported),
        ("file:///etc/passwd", SlideUnsupported),
        ("reference://a::file:///x", SlideUnsupported),
        ("/away", SlideNotFound),
        ("", SlideNotFound),
    ],
)
def test_a_redirection_leads_to_what_may_be_asked(served: Served, target: str, error: type[SlideError]) -> None:
    served.redirect = target.replace("{port}", str(served.server_address[1]))
    with pytest.raises(error):
        open_slide(f"{origin(served)}/away", permissions=allowing(origin(served)))


def test_a_redirection_to_a_private_address_is_not_followed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is named; the address that it redirects to is not."""
    port = served.server_address[1]
    served.redirect = f"http://127.0.0.2:{port}/a.tif"
    served.requests.clear()
    with pytest.raises(SlideNotFound):
        open_slide(f"{origin(served)}/away", permissions=allowing("http", origin(served)))
    assert served.requests == ["/away"]


def test_a_redirection_within_a_host_is_followed(served: Served) -> None:
    served.redirect = "/a.tif"
    open_slide(f"{origin(served)}/away", permissions=allowing(origin(served))).close()


@pytest.mark.parametrize(
    ("name", "error"),
    [("missing.tif", SlideNotFound), ("whole.tif", SlideUnsupported), ("short.tif", SlideUnreadable)],
)
def test_what_web_servers_do_wrong_is_told(served: Served, name: str, error: type[SlideError]) -> None:
    with pytest.raises(error, match=name):
        open_slide(f"{origin(served)}/{name}", permissions=allowing(origin(served)))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "198.18.0.1", "168.63.129.16", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "nonsense", "",
    ],
)  # fmt: skip
def test_private_addresses_are_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_public_addresses_are_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text", ["ftp", "reference", "file", "simplecache", "https://a/b", "ftp://a", "https://u@a", ""]
)
def test_what_cannot_be_allowed_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        UrlRules.parse([text])


def test_several_are_allowed_in_one_text() -> None:
    rules = UrlRules.parse(["https, s3", "http://Slides.Lab:8080"])
    assert rules.schemes == {"https", "s3"}
    assert rules.trusted_hosts == {("slides.lab", 8080)}
    rules.check("http://slides.lab:8080/a", given="x")
    with pytest.raises(SlideUnsupported):
        rules.check("http://slides.lab/a", given="x")
    with pytest.raises(SlideUnsupported, match="never opened"):
        rules.check("s3://a::file://b", given="x")
