"""The cache on disk: bounded, shared, and never worse than having none."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qupath_sam.engine.embeddings.disk import DiskCache
from qupath_sam.engine.embeddings.file_format import to_bytes
from qupath_sam.models.base import Embedding

KEYS = [f"{number:064x}" for number in range(6)]
LARGE = 1 << 20


def embedding_of(size: int, value: int = 1) -> Embedding:
    return Embedding({"image": torch.full((size,), value, dtype=torch.uint8)}, (16, 16))


def same(one: Embedding | None, other: Embedding | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.window_size == other.window_size and torch.equal(one.tensors["image"], other.tensors["image"])


def file_of(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


class DiskCacheMachine(RuleBasedStateMachine):
    """Any sequence of calls, and of accidents, beside a model of what must be there."""

    BOUND = 2000
    keys = st.sampled_from(KEYS)

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.cache = DiskCache(self.folder, self.BOUND, clock=itertools.count(10**18).__next__)
        self.expected: OrderedDict[str, Embedding] = OrderedDict()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(key=keys, size=st.integers(0, 1800), value=st.integers(0, 255))
    def put(self, key: str, size: int, value: int) -> None:
        embedding = embedding_of(size, value)
        fits = len(to_bytes(key, embedding)) <= self.BOUND
        assert self.cache.put(key, embedding) is fits
        self.expected.pop(key, None)
        if fits:
            self.expected[key] = embedding
        while sum(len(to_bytes(*held)) for held in self.expected.items()) > self.BOUND:
            self.expected.popitem(last=False)

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert same(self.cache.get(key), self.expected.get(key))
        if key in self.expected:
            self.expected.move_to_end(key)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        assert self.cache.delete(key) is (self.expected.pop(key, None) is not None)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.expected.clear()

    @rule(key=keys, length=st.integers(0, 100))
    def truncate_behind_its_back(self, key: str, length: int) -> None:
        if key in self.expected:
            del self.expected[key]
            os.truncate(file_of(self.folder, key), length)
            assert self.cache.get(key) is None

    @rule(key=keys)
    def delete_behind_its_back(self, key: str) -> None:
        if self.expected.pop(key, None) is not None:
            file_of(self.folder, key).unlink()

    @invariant()
    def the_folder_holds_what_it_should_and_nothing_else(self) -> None:
        names = {path.name for path in self.folder.iterdir()}
        assert names == {file_of(self.folder, key).name for key in self.expected}
        total = sum(path.stat().st_size for path in self.folder.iterdir())
        stats = self.cache.stats()
        assert (stats.entries, stats.size_bytes) == (len(self.expected), total)
        assert total <= self.BOUND


TestDiskCache = DiskCacheMachine.TestCase
TestDiskCache.settings = settings(max_examples=40, stateful_step_count=20)


def test_nothing_is_made_before_the_first_embedding_and_any_path_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "Präparate von Jörg" / "embeddings"
    cache = DiskCache(folder, LARGE)
    assert cache.get(KEYS[0]) is None
    assert not cache.contains(KEYS[0])
    assert not cache.delete(KEYS[0])
    cache.clear()
    assert cache.stats().entries == 0
    assert not folder.exists()
    assert cache.put(KEYS[0], embedding_of(9))
    assert cache.contains(KEYS[0])
    assert same(DiskCache(folder, LARGE).get(KEYS[0]), embedding_of(9))


def test_the_least_recently_used_goes_first_even_after_a_restart(tmp_path: Path) -> None:
    bound, clock = 3 * len(to_bytes(KEYS[0], embedding_of(100))), itertools.count(10**18).__next__
    cache = DiskCache(tmp_path, bound, clock=clock)
    for key in KEYS[:3]:
        cache.put(key, embedding_of(100))
    cache.get(KEYS[0])
    cache.contains(KEYS[1])  # looking does not use
    restarted = DiskCache(tmp_path, bound, clock=clock)
    restarted.put(KEYS[3], embedding_of(100))
    assert [restarted.contains(key) for key in KEYS[:4]] == [True, False, True, True]
    assert restarted.stats().evictions == 1


def test_an_embedding_larger_than_the_bound_is_not_kept_nor_is_what_it_replaces(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    assert cache.put(KEYS[0], embedding_of(9))
    assert not cache.put(KEYS[0], embedding_of(1000))
    assert not cache.contains(KEYS[0])


def test_hits_and_misses_are_counted(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, LARGE)
    cache.put(KEYS[0], embedding_of(9))
    for key in (KEYS[0], KEYS[1], KEYS[0]):
        cache.get(key)
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"\xff" * 300, to_bytes(KEYS[1], embedding_of(9))])
def test_a_file_that_is_not_what_its_name_says_is_deleted(tmp_path: Path, content: bytes) -> None:
    file_of(tmp_path, KEYS[0]).write_bytes(content)
    cache = DiskCache(tmp_path, LARGE)
    assert cache.get(KEYS[0]) is None
    assert not file_of(tmp_path, KEYS[0]).exists()
    assert cache.put(KEYS[0], embedding_of(9))


def test_files_of_others_are_neither_counted_nor_touched(tmp_path: Path) -> None:
    foreign = [tmp_path / "notes.txt", tmp_path / "model.safetensors", tmp_path / ("g" * 64 + ".safetensors")]
    for path in foreign:
        path.write_bytes(b"x" * 5000)
    cache = DiskCache(tmp_path, 1000)
    for key in KEYS:
        cache.put(key, embedding_of(200))
    cache.clear()
    assert cache.stats().size_bytes == 0
    assert all(path.stat().st_size == 5000 for path in foreign)


def test_temporary_files_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead, living = (tmp_path / f".{KEYS[0]}.{ending}.tmp" for ending in ("safetensors.0123abcd", "b" * 32))
    dead.touch()
    living.touch()
    os.utime(dead, (0, 0))
    DiskCache(tmp_path, LARGE).put(KEYS[1], embedding_of(9))
    assert not dead.exists()
    assert living.exists()


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "a" * 65])
def test_only_digests_become_file_names(tmp_path: Path, key: str) -> None:
    cache = DiskCache(tmp_path, LARGE)
    for call in (cache.get, cache.delete, cache.contains, lambda key: cache.put(key, embedding_of(1))):
        with pytest.raises(ValueError, match="hex SHA-256"):
            call(key)


def test_a_folder_that_cannot_be_written_costs_only_the_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    assert not DiskCache(in_the_way, LARGE).put(KEYS[0], embedding_of(9))
    assert "could not keep an embedding" in caplog.text


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "another process reads it", str(target))

    monkeypatch.setattr(os, "replace", refuse)
    assert not DiskCache(tmp_path, LARGE).put(KEYS[0], embedding_of(9))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_windows_holds_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(to_bytes(KEYS[0], embedding_of(100)))
    cache = DiskCache(tmp_path, 2 * size, clock=itertools.count(10**18).__next__)
    cache.put(KEYS[0], embedding_of(100))
    cache.put(KEYS[1], embedding_of(100))
    held, unlink = file_of(tmp_path, KEYS[0]), Path.unlink

    def unlink_unless_held(path: Path, missing_ok: bool = False) -> None:
        if path == held:
            raise PermissionError(13, "another process reads it", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_unless_held)
    assert cache.put(KEYS[2], embedding_of(100))
    assert [cache.contains(key) for key in KEYS[:3]] == [True, False, True]
    held.write_bytes(b"damaged")
    assert cache.get(KEYS[0]) is None


def test_two_caches_share_a_folder_under_load(tmp_path: Path) -> None:
    size, gate, wrong = len(to_bytes(KEYS[0], embedding_of(300))), threading.Barrier(4), list[str]()

    def client(number: int) -> None:
        cache = DiskCache(tmp_path, 3 * size)
        gate.wait()
        for step in range(60):
            key = KEYS[(step * (number + 1)) % len(KEYS)]
            found = cache.get(key)
            if found is None:
                cache.put(key, embedding_of(300, KEYS.index(key)))
            elif not same(found, embedding_of(300, KEYS.index(key))):
                wrong.append(key)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    cache = DiskCache(tmp_path, 3 * size)
    cache.put(KEYS[0], embedding_of(300))
    assert cache.stats().size_bytes <= 3 * size
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_come_back_on_the_models_device(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, LARGE, device="cuda")
    image = torch.arange(6, device="cuda", dtype=torch.bfloat16)
    cache.put(KEYS[0], Embedding({"image": image}, (1, 6)))
    found = cache.get(KEYS[0])
    assert found is not None
    assert found.tensors["image"].device.type == "cuda"
    assert torch.equal(found.tensors["image"], image)


def test_a_negative_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negative"):
        DiskCache(tmp_path, -1)


def test_many_files_are_not_looked_at_for_each_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 of them take half a second."""
    monkeypatch.setattr("qupath_sam.engine.embeddings.disk._FEW", 3)
    size, clock = len(to_bytes(KEYS[0], embedding_of(100))), itertools.count(10**18).__next__
    cache = DiskCache(tmp_path, 10 * size, clock=clock)
    looked: list[Path] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    keys = [f"{number:064x}" for number in range(100)]
    for key in keys:
        assert cache.put(key, embedding_of(100))
    assert len(looked) <= 6
    monkeypatch.undo()
    assert {key for key in keys if cache.contains(key)} == set(keys[-10:])


def test_what_others_read_is_not_dropped_as_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qupath_sam.engine.embeddings.disk._FEW", 0)
    size, clock = len(to_bytes(KEYS[0], embedding_of(100))), itertools.count(10**18).__next__
    one, other = (DiskCache(tmp_path, 3 * size, clock=clock) for _ in range(2))
    for key in KEYS[:3]:
        one.put(key, embedding_of(100))
    other.get(KEYS[0])
    one.put(KEYS[3], embedding_of(100))
    assert [one.contains(key) for key in KEYS[:4]] == [True, False, True, True]


def test_nobody_who_reads_waits_for_who_writes(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, LARGE)
    cache.put(KEYS[0], embedding_of(9))
    with cache._room:
        thread = threading.Thread(target=cache.get, args=(KEYS[0],), daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
