"""Downloads from a real server on this machine: whole and right, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.weights.download import Source, download
from qupath_sam.models.weights.jsonfile import read_json, write_json
from tests.models.file_server import ServedFile, serving

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(
    url: str, target: Path, *, size_bytes: int | None = len(CONTENT), sha256: str | None = SHA256
) -> list[tuple[int, int | None]]:
    """Download and give what the progress bar was told."""
    told: list[tuple[int, int | None]] = []
    digest = download(
        Source(url, size_bytes, sha256),
        target,
        accept=lambda path: None,
        progress=lambda done, total: told.append((done, total)),
    )
    assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
    return told


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "Ordner mit Umläuten" / "weights.pth"


def leftovers(target: Path) -> set[str]:
    """What lies beside the target; the lock stays on purpose."""
    return {path.name for path in target.parent.iterdir()} - {target.name, f"{target.name}.lock"}


def test_a_file_arrives_whole(target: Path) -> None:
    file = ServedFile(CONTENT)
    with serving(file) as url:
        told = fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == set()
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert file.requests == [""]


def test_redirects_are_followed(target: Path) -> None:
    with serving(ServedFile(CONTENT, redirect_to="/elsewhere")) as url:
        fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_length_need_not_be_announced(target: Path) -> None:
    with serving(ServedFile(CONTENT, announces_length=False)) as url:
        assert fetch(url, target, size_bytes=None)[-1] == (len(CONTENT), None)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("validator", ["etag", "last_modified", "digest_only"])
def test_an_interrupted_download_goes_on_where_it_stopped(target: Path, validator: str) -> None:
    file = ServedFile(CONTENT, break_after=1_000_000)
    if validator != "etag":
        file.etag = ""
    if validator == "last_modified":
        file.last_modified = "Wed, 21 Oct 2015 07:28:00 GMT"
    with serving(file) as url:
        with pytest.raises(WeightsMissing, match="try again to go on from here"):
            fetch(url, target)
        assert not target.exists()
        kept = (target.parent / "weights.pth.part").stat().st_size
        assert 0 < kept <= 1_000_000
        file.break_after = None
        told = fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == set()
    assert told[0] == (kept, len(CONTENT))
    assert file.requests == ["", f"bytes={kept}-"]


def test_several_interruptions(target: Path) -> None:
    file = ServedFile(CONTENT, break_after=700_000)
    with serving(file) as url:
        for _ in range(3):
            with pytest.raises(WeightsMissing):
                fetch(url, target)
        file.break_after = None
        fetch(url, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("known_digest", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew(target: Path, known_digest: bool) -> None:
    file = ServedFile(os.urandom(len(CONTENT)), break_after=1_000_000)
    sha256 = SHA256 if known_digest else None
    with serving(file) as url:
        with pytest.raises(WeightsMissing):
            fetch(url, target, sha256=sha256)
        file.content, file.break_after = CONTENT, None
        told = fetch(url, target, sha256=sha256)
    assert told[0][0] == 0
    assert target.read_bytes() == CONTENT


def test_without_anything_to_tell_versions_apart_it_starts_over(target: Path) -> None:
    file = ServedFile(CONTENT, break_after=1_000_000, etag='W/"weak"')
    with serving(file) as url:
        with pytest.raises(WeightsMissing):
            fetch(url, target, sha256=None)
        file.break_after = None
        fetch(url, target, sha256=None)
    assert file.requests == ["", ""]


def test_a_server_without_ranges_sends_everything_again(target: Path) -> None:
    file = ServedFile(CONTENT, break_after=1_000_000, honours_ranges=False)
    with serving(file) as url:
        with pytest.raises(WeightsMissing):
            fetch(url, target)
        file.break_after = None
        assert fetch(url, target)[0][0] == 0
    assert target.read_bytes() == CONTENT


def test_what_was_begun_from_another_url_is_not_continued(target: Path) -> None:
    with serving(ServedFile(CONTENT)) as url:
        target.parent.mkdir(parents=True)
        (target.parent / "weights.pth.part").write_bytes(b"something else")
        write_json(target.parent / "weights.pth.part.json", {"url": "https://elsewhere", "validator": '"a"'})
        fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_already_is_taken(target: Path) -> None:
    """As after a crash between the last byte and the renaming."""
    file = ServedFile(CONTENT)
    with serving(file) as url:
        target.parent.mkdir(parents=True)
        (target.parent / "weights.pth.part").write_bytes(CONTENT)
        write_json(target.parent / "weights.pth.part.json", {"url": url, "validator": file.current_etag})
        fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == set()


def test_a_part_longer_than_the_file_is_dropped(target: Path) -> None:
    file = ServedFile(CONTENT)
    with serving(file) as url:
        target.parent.mkdir(parents=True)
        (target.parent / "weights.pth.part").write_bytes(CONTENT + b"more")
        write_json(target.parent / "weights.pth.part.json", {"url": url, "validator": file.current_etag})
        with pytest.raises(WeightsMissing, match="try again"):
            fetch(url, target)
        fetch(url, target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_digest_leaves_nothing(target: Path) -> None:
    with (
        serving(ServedFile(os.urandom(len(CONTENT)))) as url,
        pytest.raises(WrongWeights, match=f"instead of {SHA256[:12]}"),
    ):
        fetch(url, target)
    assert not target.exists()
    assert leftovers(target) == set()


@pytest.mark.parametrize("announces_length", [True, False])
def test_a_wrong_size_leaves_nothing(target: Path, announces_length: bool) -> None:
    file = ServedFile(CONTENT[:-1], announces_length=announces_length)
    with serving(file) as url, pytest.raises(WrongWeights, match=f"has {len(CONTENT) - 1} bytes"):
        fetch(url, target, sha256=None)
    assert not target.exists()
    assert leftovers(target) == set()


def test_wrong_content_leaves_nothing_and_the_old_file_alone(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")

    def refuse(path: Path) -> None:
        assert path.read_bytes() == CONTENT
        raise WrongWeights("not this")

    with serving(ServedFile(CONTENT)) as url, pytest.raises(WrongWeights, match="not this"):
        download(Source(url), target, accept=refuse)
    assert target.read_bytes() == b"old"
    assert leftovers(target) == set()


@pytest.mark.parametrize(("status", "message"), [(404, "does not exist any more"), (410, "add"), (503, "try again")])
def test_error_statuses_say_what_to_do(target: Path, status: int, message: str) -> None:
    with serving(ServedFile(CONTENT, status=status)) as url, pytest.raises(WeightsMissing, match=message):
        fetch(url, target)
    assert not target.exists()


def test_a_server_that_hangs_times_out(target: Path) -> None:
    release = Event()
    file = ServedFile(CONTENT, hold_body=release)
    with serving(file) as url, httpx.Client(timeout=0.2) as impatient:
        with pytest.raises(WeightsMissing, match="does not answer in time"):
            download(Source(url), target, accept=lambda path: None, client=impatient)
        release.set()
    assert leftovers(target) == {"weights.pth.part", "weights.pth.part.json"}


def test_no_server(target: Path) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(WeightsMissing, match="try again"):
            fetch(f"http://127.0.0.1:{bound.getsockname()[1]}/a", target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "http://[", "nonsense"])
def test_only_http(target: Path, url: str) -> None:
    with pytest.raises(WeightsMissing):
        fetch(url, target)


def test_a_full_disk_is_told_before_it_is_full(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1_000_000))
    with serving(ServedFile(CONTENT)) as url, pytest.raises(WeightsMissing, match="no room for 3 MB"):
        fetch(url, target)
    assert leftovers(target) == set()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with serving(ServedFile(CONTENT)) as url, pytest.raises(WeightsMissing, match="cannot write"):
        fetch(url, tmp_path / "file" / "weights.pth")


def test_two_at_once_do_not_write_one_file(target: Path) -> None:
    """The second is told so; the first is not disturbed."""
    release = Event()
    file = ServedFile(CONTENT, hold_body=release)
    with serving(file) as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(fetch, url, target)
        try:
            assert file.body_reached.wait(30)
            with pytest.raises(WeightsMissing, match="another process is downloading"):
                fetch(url, target)
        finally:
            release.set()
        first.result(30)
    assert target.read_bytes() == CONTENT
    assert len(file.requests) == 1


def test_state_names_url_and_version(target: Path) -> None:
    file = ServedFile(CONTENT, break_after=1_000_000)
    with serving(file) as url:
        with pytest.raises(WeightsMissing):
            fetch(url, target)
        assert read_json(target.parent / "weights.pth.part.json") == {
            "url": url,
            "validator": file.current_etag,
            "total": len(CONTENT),
        }
