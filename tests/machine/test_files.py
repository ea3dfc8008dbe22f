"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from qupath_sam.machine.files import atomic_write


def test_the_new_contents_appear_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with atomic_write(path, durable=True) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "nowhere" / "a.json"):
        pass


def test_files_that_differ_in_their_suffix_or_not_at_all_are_written_at_once(tmp_path: Path) -> None:
    """Each writer has a file of its own: a.json and a.csv do not share one, nor do two writers of a.json."""
    with (
        atomic_write(tmp_path / "a.json") as json,
        atomic_write(tmp_path / "a.csv") as csv,
        atomic_write(tmp_path / "a.json") as other,
    ):
        for file, content in ((json, b"last"), (csv, b"csv"), (other, b"first")):
            file.write(content)
    assert (tmp_path / "a.csv").read_bytes() == b"csv"
    assert (tmp_path / "a.json").read_bytes() == b"last"
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.csv"}


def test_readers_see_whole_files_while_two_write(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [letter * 300_000 for letter in (b"a", b"b")]
    path.write_bytes(contents[0])

    def write(content: bytes) -> None:
        for _ in range(30):
            with atomic_write(path) as file:
                file.write(content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    for writer in writers:
        writer.join()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_the_permissions_are_those_asked_for_less_the_umask(tmp_path: Path, mode: int) -> None:
    umask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "a", mode=mode):
            pass
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode & ~0o022


@pytest.mark.skipif(not hasattr(os, "chown"), reason="Windows passes access on by the folder")
def test_a_file_that_a_service_reads_stays_readable_for_it(tmp_path: Path) -> None:
    """An administrator gives a file to a service's group once; what takes its place is the group's too."""
    path = tmp_path / "secret"
    with atomic_write(path, mode=0o600, keep_access=True) as file:
        file.write(b"first")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o646)
    with atomic_write(path, mode=0o600, keep_access=True) as file:
        file.write(b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # all others get what the caller says, which is nothing


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root gives files away")
def test_owner_and_group_stay_where_an_administrator_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    shutil.chown(path, 12345, 12346)
    with atomic_write(path, mode=0o600, keep_access=True):
        pass
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o600)


@pytest.mark.skipif(not hasattr(os, "chown"), reason="Windows passes access on by the folder")
def test_a_group_that_cannot_be_kept_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the permissions of one group would go to another."""

    def refuse(*_: object) -> None:
        raise PermissionError

    path = tmp_path / "secret"
    path.touch()
    path.chmod(0o660)
    monkeypatch.setattr(os, "chown", refuse)
    found = path.stat()
    other = os.stat_result((*found[:5], found.st_gid + 1, *found[6:]))
    monkeypatch.setattr(type(path), "stat", lambda self, **_: other if self == path else os.stat(self))
    with atomic_write(path, mode=0o600, keep_access=True):
        pass
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
