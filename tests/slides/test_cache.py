"""Open slides, kept and shared."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qupath_sam.errors import ServerUnavailable, SlideMismatch, SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides import PathMap, Permissions, SlideCache, UrlRules, parse_builder
from qupath_sam.slides import cache as cache_module
from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import coordinate_pixels
from tests.slides.test_builder import leaf
from tests.slides.written import write_tiff

WINDOW = Window(Region(0, 0, 50, 50), 50, 50)


class Watched:
    """A real reader that tells whether it is open."""

    def __init__(self, reader: SlideReader) -> None:
        self._reader = reader
        self.is_open = True

    @property
    def info(self) -> SlideInfo:
        return self._reader.info

    def read(self, window: Window) -> NDArray[np.uint8]:
        return self._reader.read(window)

    def close(self) -> None:
        self.is_open = False
        self._reader.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    """Every reader that a cache opens, in order."""
    readers: list[Watched] = []
    original = cache_module.open_located

    def watching(*args: Any, **kwargs: Any) -> Watched:
        readers.append(Watched(original(*args, **kwargs)))
        return readers[-1]

    monkeypatch.setattr(cache_module, "open_located", watching)
    return readers


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    return [write_tiff(tmp_path / f"{i}.tif", coordinate_pixels() // (i + 1)) for i in range(4)]


@pytest.fixture
def cache() -> Iterator[SlideCache]:
    cache = SlideCache(capacity=2)
    yield cache
    cache.close_all()


def test_a_slide_is_opened_once(cache: SlideCache, slides: list[Path], opened: list[Watched]) -> None:
    for _ in range(3):
        with cache.open(slides[0]) as reader:
            reader.read(WINDOW)
    with cache.open(slides[0].as_uri()) as first, cache.open(slides[0]) as second:
        assert first is second
    assert [reader.is_open for reader in opened] == [True]


def test_the_least_recently_used_goes(cache: SlideCache, slides: list[Path], opened: list[Watched]) -> None:
    for index in (0, 1, 0, 2):
        with cache.open(slides[index]):
            pass
    assert [reader.is_open for reader in opened] == [True, False, True]
    assert len(cache) == 2


def test_a_slide_in_use_is_not_closed(cache: SlideCache, slides: list[Path], opened: list[Watched]) -> None:
    with ExitStack() as stack:
        readers = [stack.enter_context(cache.open(slide)) for slide in slides]
        assert all(reader.is_open for reader in opened)
        for reader in readers:
            reader.read(WINDOW)
    assert sum(reader.is_open for reader in opened) == 2


def test_a_changed_file_is_opened_anew(cache: SlideCache, slides: list[Path], opened: list[Watched]) -> None:
    with cache.open(slides[0]) as before:
        fingerprint = before.info.fingerprint
        write_tiff(slides[0], coordinate_pixels()[::-1].copy())
        os.utime(slides[0], ns=(1, 1))  # whatever the file system's clock makes of two writes at one moment
        with cache.open(slides[0]) as after:
            assert after.info.fingerprint != fingerprint
            np.testing.assert_array_equal(after.read(WINDOW)[0], coordinate_pixels()[-1, :50])
        assert opened[0].is_open  # still borrowed
    assert [reader.is_open for reader in opened] == [False, True]


def test_a_deleted_file_is_told(cache: SlideCache, slides: list[Path]) -> None:
    with cache.open(slides[0]):
        pass
    slides[0].unlink()
    with pytest.raises(SlideNotFound), cache.open(slides[0]):
        pass


def test_failures_are_not_remembered(cache: SlideCache, slides: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "later.tif"
    path.write_bytes(b"not yet")
    with pytest.raises(SlideUnreadable), cache.open(path):
        pass
    assert len(cache) == 0
    path.write_bytes(slides[0].read_bytes())
    with cache.open(path) as reader:
        assert reader.info.width == 208


def test_each_recipe_has_its_own_reader(cache: SlideCache, slides: list[Path]) -> None:
    builder = {**leaf(width=208, height=152), "uri": slides[0].as_uri()}
    turned = {"builderType": "rotated", "rotation": "ROTATE_90", "builder": builder}
    with cache.open(parse_builder(builder)) as plain, cache.open(parse_builder(turned)) as rotated:
        assert (plain.info.width, rotated.info.width) == (208, 152)
    assert len(cache) == 2


def test_sizes_and_planes_are_checked_each_time(cache: SlideCache, slides: list[Path], opened: list[Watched]) -> None:
    with cache.open(slides[0], expected_size=(208, 152)):
        pass
    with pytest.raises(SlideMismatch), cache.open(slides[0], expected_size=(1, 1)):
        pass
    with pytest.raises(SlideUnsupported), cache.open(slides[0], z=1):
        pass
    assert len(opened) == 1
    assert opened[0].is_open


def test_the_path_map_is_applied(slides: list[Path]) -> None:
    cache = SlideCache(path_map=PathMap.parse([f"Z:\\s={slides[0].parent}"]))
    with cache.open(r"Z:\s\0.tif") as reader:
        assert reader.info.width == 208
    cache.close_all()


def test_a_url_is_asked_now_and_then(slides: list[Path], opened: list[Watched]) -> None:
    import fsspec

    now = [0.0]
    cache = SlideCache(clock=lambda: now[0], permissions=Permissions(urls=UrlRules(frozenset({"memory"}))))
    for content, later, readers in ((0, 0, 1), (1, 29, 1), (1, 2, 2)):
        now[0] += later
        with fsspec.open("memory://cached/a.tif", "wb") as file:
            file.write(slides[content].read_bytes())
        with cache.open("memory://cached/a.tif"):
            assert len(opened) == readers
    cache.close_all()


def test_many_threads_open_it_once(slides: list[Path], opened: list[Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    """All ask before the first has opened it."""
    cache = SlideCache()
    everybody = threading.Barrier(8)
    slow = cache_module.open_located
    asked = threading.Semaphore(0)

    def open_late(*args: Any, **kwargs: Any) -> SlideReader:
        for _ in range(7):  # the others are waiting for this one
            assert asked.acquire(timeout=60)
        return slow(*args, **kwargs)

    monkeypatch.setattr(cache_module, "open_located", open_late)
    original = cache._borrow

    def borrow(*args: Any) -> Any:
        entry = original(*args)
        asked.release()
        return entry

    monkeypatch.setattr(cache, "_borrow", borrow)

    def read(_: int) -> bytes:
        everybody.wait(timeout=60)
        with cache.open(slides[0]) as reader:
            return reader.read(WINDOW).tobytes()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(read, range(8)))) == 1
    assert len(opened) == 1
    cache.close_all()


def test_threads_fighting_over_a_small_cache(slides: list[Path], opened: list[Watched]) -> None:
    cache = SlideCache(capacity=1)
    expected = [(coordinate_pixels() // (i + 1))[:50, :50].tobytes() for i in range(4)]

    def read(i: int) -> bool:
        with cache.open(slides[i % 4]) as reader:
            return reader.read(WINDOW).tobytes() == expected[i % 4]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(200)))
    assert sum(reader.is_open for reader in opened) == len(cache) == 1
    cache.close_all()
    assert not any(reader.is_open for reader in opened)


def test_closing(slides: list[Path], opened: list[Watched]) -> None:
    cache = SlideCache()
    with cache.open(slides[0]) as reader:
        with cache.open(slides[1]):
            pass
        cache.close_all()
        assert [each.is_open for each in opened] == [True, False]
        reader.read(WINDOW)
    assert not opened[0].is_open
    with pytest.raises(ServerUnavailable), cache.open(slides[0]):
        pass
    cache.close_all()


def test_a_cache_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SlideCache(capacity=0)


def test_any_history_keeps_the_bound(slides: list[Path], opened: list[Watched]) -> None:
    """Borrow and give back in any order: what is borrowed is open, and what is kept is never too much."""

    @settings(max_examples=30)
    @given(st.integers(1, 3), st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=25))
    def check(capacity: int, history: list[tuple[bool, int]]) -> None:
        opened.clear()
        cache = SlideCache(capacity=capacity)
        borrowed: list[tuple[ExitStack, SlideReader]] = []
        for borrow, index in history:
            if borrow:
                stack = ExitStack()
                borrowed.append((stack, stack.enter_context(cache.open(slides[index]))))
            elif borrowed:
                borrowed.pop(index % len(borrowed))[0].close()
            in_use = {id(reader) for _, reader in borrowed}
            assert all(reader.is_open for reader in opened if id(reader) in in_use)
            assert sum(reader.is_open for reader in opened) == len(cache) <= max(capacity, len(in_use))
        for stack, _ in borrowed:
            stack.close()
        assert len(cache) <= capacity
        cache.close_all()
        assert not any(reader.is_open for reader in opened)

    check()
