"""Names of slides that a hostile client sends: none runs code, leaves the folders, or tells what is there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.protocol.status import ERROR_METADATA
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.v1 import error_pb2, image_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

SECRET = "Muster, Erika 1961"


@dataclass(frozen=True)
class Place:
    """A server, the folder that it opens, and what lies outside of it.

    Attributes:
        root: may be opened; holds slide.tif, sub/slide.tif, links that lead outside, and one that leads inside.
        outside: a real slide that may not be opened, beside the root.
        port: of a listener on this machine that nobody may connect to.
        connections: of that listener.
    """

    stub: pb_grpc.SegmentationServiceStub
    root: Path
    outside: Path
    port: int
    connections: list[object]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("attacks") / SECRET
    root = folder / "slides"
    (root / "sub").mkdir(parents=True)
    outside = folder / "slides2"  # begins as the root does
    outside.mkdir()
    for target in (root / "slide.tif", root / "sub" / "slide.tif", outside / "secret.tif"):
        shutil.copy(demo_slide_path(), target)
    (root / "text.svs").write_text("no slide")
    (root / "link.tif").symlink_to(outside / "secret.tif")
    (root / "folder-link").symlink_to(outside)
    (root / "absent-link.tif").symlink_to(outside / "nothing.tif")
    (root / "loop.tif").symlink_to(root / "loop.tif")
    (root / "good-link.tif").symlink_to(root / "slide.tif")
    evil = {"version": 1, "templates": {"x": "{{ 1/0 }}"}, "refs": {"a": ["{{x}}"]}}
    (root / "evil.json").write_text(json.dumps(evil))
    connections: list[object] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, connections), daemon=True).start()
        settings = ServerSettings(
            port=0,
            model="fake",
            device="cpu",
            slide_roots=(root,),
            path_map=(("D:\\lab", str(root)), ("\\\\nas\\lab", str(root))),
            allow_urls=("https,http",),
        )
        with start_server(settings) as server, grpc.insecure_channel(server.address) as channel:
            yield Place(pb_grpc.SegmentationServiceStub(channel), root, outside, port, connections)


def _accept(listener: socket.socket, connections: list[object]) -> None:
    while True:
        try:
            connections.append(listener.accept())
        except OSError:
            return


def answer(place: Place, **slide: str) -> tuple[grpc.StatusCode, str] | None:
    """Code and message with which an image is refused; None where it is opened."""
    request = pb.DescribeImageRequest(image=image_pb2.ImageRef(slide=image_pb2.SlideRef(**slide)))
    try:
        place.stub.DescribeImage(request, timeout=60)
    except grpc.RpcError as error:
        info = error_pb2.ErrorInfo.FromString(dict(error.trailing_metadata())[ERROR_METADATA])
        return error.code(), info.message
    return None


def test_what_may_be_opened_is_opened(place):
    root = place.root
    for path in (
        f"{root}/slide.tif",
        f"{root}/sub/../slide.tif",
        f"{root}/sub/slide.tif",
        f"{root}/good-link.tif",
        "D:\\lab\\slide.tif",
        "d:/LAB/sub/slide.tif",
        "\\\\NAS\\lab\\slide.tif",
    ):
        assert answer(place, path=path) is None, path
    assert answer(place, uri=(root / "slide.tif").as_uri()) is None


#: {root}, {outside} and {up} (from the root to the root of the file system) are filled in.
OUTSIDE = [
    "{outside}/secret.tif",
    "{outside}",
    "{root}/../slides2/secret.tif",
    "{root}/./sub/../../slides2/secret.tif",
    "{root}//..//slides2//secret.tif",
    "{root}/sub/../../../../../../../../../../etc/passwd",
    "{root}/{up}etc/passwd",
    "{root}/nothing/../../slides2/secret.tif",
    "{root}/link.tif",
    "{root}/folder-link/secret.tif",
    "{root}/folder-link/nothing.tif",
    "{root}/folder-link/../slides2/secret.tif",
    "{root}/absent-link.tif",
    "{root}2/secret.tif",
    "{root}/..",
    "{root}/../",
    "/etc/passwd",
    "/etc/nothing",
    "/etc/shadow",
    "/proc/self/environ",
    "/proc/self/root{outside}/secret.tif",
    "/proc/self/cwd/pyproject.toml",
    "/dev/zero",
    "/dev/stdin",
    "//etc/passwd",
    "///etc/passwd",
    "etc/passwd",
    "../../../../../../etc/passwd",
    "~/.ssh/id_rsa",
    "$HOME/.ssh/id_rsa",
    "pyproject.toml",
    "D:\\lab\\..\\secret.tif",
    "D:\\lab\\..\\slides2\\secret.tif",
    "D:\\lab\\folder-link\\secret.tif",
    "D:/lab/sub/../../slides2/secret.tif",
    "D:\\lab\\../slides2/secret.tif",
    "\\\\nas\\lab\\..\\slides2\\secret.tif",
    "\\\\nas\\lab/../../etc/passwd",
    "\\\\?\\UNC\\nas\\lab\\..\\slides2\\secret.tif",
    "\\\\evil\\share\\a.svs",
    "\\\\.\\PhysicalDrive0",
    "C:\\Windows\\win.ini",
    "{root}/nothing.tif",
]
URIS = [
    "file://{outside}/secret.tif",
    "file:{root}/..%2Fslides2%2Fsecret.tif",
    "file:{root}/%2e%2e/slides2/secret.tif",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "file://localhost/etc/passwd",
    "file://evil/share/a.svs",
    "file:////evil/share/a.svs",
    "file:/D:/lab/../slides2/secret.tif",
]


def filled(text: str, place: Place) -> str:
    up = "../" * len(place.root.parts)
    return text.replace("{root}", str(place.root)).replace("{outside}", str(place.outside)).replace("{up}", up)


def is_told_as_absent(place: Place, given: str, refusal: tuple[grpc.StatusCode, str] | None) -> None:
    assert refusal is not None, "it was opened"
    code, message = refusal
    absent = answer(place, path=f"{place.root}/nothing.tif")
    windows = given.startswith(("C:", "D:", "\\\\", "file:/D:", "file://evil", "file:////evil"))
    assert code is grpc.StatusCode.NOT_FOUND
    told = message.replace(given, "X")
    if not (windows and "Windows path" in told):
        assert told == absent[1].replace(f"{place.root}/nothing.tif", "X")
    if SECRET not in given:
        assert SECRET not in message, "the message tells where the mapped folder lies"


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
@pytest.mark.parametrize("text", OUTSIDE)
def test_a_path_outside_is_told_as_one_that_is_absent(place, text):
    given = filled(text, place)
    is_told_as_absent(place, given, answer(place, path=given))


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
@pytest.mark.parametrize("text", URIS)
def test_a_uri_outside_is_told_as_one_that_is_absent(place, text):
    given = filled(text, place)
    is_told_as_absent(place, given, answer(place, uri=given))


@pytest.mark.parametrize("text", ["/etc/passwd", "{root}/link.tif", "{root}/../slides2/secret.tif"])
def test_a_builder_leads_no_further_than_a_path(place, text):
    given = filled(text, place)
    builder = {"builderType": "uri", "providerClassName": "x.OpenslideServerBuilder", "uri": given, "args": []}
    cropped = {"builderType": "cropped", "builder": builder, "region": {"x": 0, "y": 0, "width": 9, "height": 9}}
    for sent in (builder, cropped, {"builder": builder}):
        is_told_as_absent(place, given, answer(place, server_builder_json=json.dumps(sent)))


#: {port} is that of a listener on this machine.
URLS = [
    "reference://a::file://{root}/evil.json",
    "reference://a",
    "simplecache::http://127.0.0.1:{port}/a.tif",
    "filecache::https://example.org/a.tif",
    "blockcache::http://127.0.0.1:{port}/a.tif",
    "zip://a.tif::file://{root}/slide.tif",
    "zip://etc/passwd",
    "tar://a::file:///etc/passwd",
    "libarchive://a::/etc/passwd",
    "dir::file:///etc",
    "file::/etc/passwd",
    "local:///etc/passwd",
    "memory://a.tif",
    "ftp://127.0.0.1:{port}/a.tif",
    "sftp://127.0.0.1:{port}/a.tif",
    "ssh://127.0.0.1:{port}/a.tif",
    "smb://127.0.0.1:{port}/share/a.tif",
    "hdfs://127.0.0.1:{port}/a.tif",
    "webhdfs://127.0.0.1:{port}/a.tif",
    "jupyter://127.0.0.1:{port}/a.tif",
    "github://user:repo@main/a.tif",
    "git://a.tif",
    "data:text/plain;base64,AAAA::x",
    "generic://a",
    "async_wrapper://a",
    "s3://bucket/a.tif",
    "gs://bucket/a.tif",
    "http://127.0.0.1:{port}/a.tif",
    "HTTP://127.0.0.1:{port}/a.tif",
    "http://localhost:{port}/a.tif",
    "http://LOCALHOST.:{port}/a.tif",
    "http://0.0.0.0:{port}/a.tif",
    "http://127.1:{port}/a.tif",
    "http://0x7f000001:{port}/a.tif",
    "http://2130706433:{port}/a.tif",
    "http://0177.0.0.1:{port}/a.tif",
    "http://[::1]:{port}/a.tif",
    "http://[0:0:0:0:0:0:0:1]:{port}/a.tif",
    "http://[0:0:0:0:0:ffff:7f00:1]:{port}/a.tif",
    "http://user:pass@127.0.0.1:{port}/a.tif",
    "http://example.org@127.0.0.1:{port}/a.tif",
    "http://127.0.0.1:{port}#@example.org/a.tif",
    "http://127.0.0.1:{port}\\@example.org/a.tif",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/a.tif",
    "https://",
    "https:///a.tif",
    "http://[bad/a.tif",
    "http://host:99999/a.tif",
    "http://host:port/a.tif",
]


@pytest.mark.parametrize("text", URLS)
def test_no_url_runs_copies_or_connects(place, text):
    given = text.replace("{port}", str(place.port)).replace("{root}", str(place.root))
    for field in ("path", "uri"):
        refusal = answer(place, **{field: given})
        assert refusal is not None
        assert refusal[0] in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND), refusal
    assert not place.connections


def test_the_list_is_as_long_as_it_should_be():
    assert len(OUTSIDE) + len(URIS) + len(URLS) >= 100


def test_a_path_map_to_a_url_opens_no_chain(tmp_path):
    settings = ServerSettings(
        port=0, model="fake", device="cpu", path_map=(("/lab", "https://slides.example"),), allow_urls=("https",)
    )
    with start_server(settings) as server, grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.SegmentationServiceStub(channel)
        request = pb.DescribeImageRequest(
            image=image_pb2.ImageRef(slide=image_pb2.SlideRef(path="/lab/x::file:///etc/passwd"))
        )
        with pytest.raises(grpc.RpcError) as caught:
            stub.DescribeImage(request, timeout=60)
    assert "never opened" in caught.value.details()
