"""What hostile clients make the server decode: bounded, all together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from qupath_sam.client import SamClient, Slide
from qupath_sam.engine.settings import MIB
from qupath_sam.errors import InvalidRequest, QupathSamError, ServerBusy, SlideUnsupported
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import SHARES, ServerSettings
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.memory import DecodeMemory
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region, Window

OBJECTS = [ObjectPrompts((Click.at(100, 100),))]
WINDOW = Window(Region(0, 0, 64, 64), 64, 64)


def pictures(folder: Path, count: int, side: int) -> list[Path]:
    """PNGs of a few KB that decode to 3 * side * side bytes each."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (side, side), (number, 0, 0)).save(path)
    return paths


def write_strip(path: Path, side: int) -> None:
    """A flat TIFF in one piece, some KB that decode to 3 * side * side bytes."""
    pixels = np.zeros((side, side, 3), np.uint8)
    tifffile.imwrite(path, pixels, rowsperstrip=side, compression="zlib", photometric="rgb")


def test_open_slides_hold_no_more_than_they_may(tmp_path: Path) -> None:
    one = 3 * 500 * 500
    cache = SlideCache(max_bytes=3 * one)
    for path in pictures(tmp_path, 12, 500):
        with cache.open(path) as reader:
            assert reader.info.held_bytes == one
        assert cache.held_bytes <= 3 * one
    assert len(cache) == 3
    cache.close_all()


def test_a_piece_that_decodes_to_much_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "strip.tif"
    tifffile.imwrite(
        path, np.zeros((2000, 2000, 3), np.uint8), rowsperstrip=2000, compression="zlib", photometric="rgb"
    )
    memory = DecodeMemory(40 * MIB)
    cache = SlideCache(memory=memory)
    with cache.open(path) as reader:
        assert reader.info.piece_bytes == 3 * 2000 * 2000
        reader.read(WINDOW)
    assert 2 * reader.info.piece_bytes < memory.peak_bytes <= 40 * MIB
    assert memory.taken_bytes == 0
    memory.resize(20 * MIB)
    with cache.open(path) as reader, pytest.raises(SlideUnsupported, match=r"needs 23 MiB to decode.*--memory"):
        reader.read(WINDOW)
    assert memory.taken_bytes == 0
    cache.close_all()


def test_slides_in_use_hold_no_more_than_they_may(tmp_path: Path) -> None:
    first, second, large = *pictures(tmp_path, 2, 500), tmp_path / "large.png"
    Image.new("RGB", (900, 900)).save(large)
    cache = SlideCache(max_bytes=3 * 500 * 500, patience_s=0.05)
    with cache.open(first):
        with pytest.raises(ServerBusy, match="try again"), cache.open(second):
            pass
        assert cache.held_bytes == 3 * 500 * 500
    with cache.open(second):  # the first is no longer in use, and gives way
        assert cache.held_bytes == 3 * 500 * 500
    with pytest.raises(SlideUnsupported, match=r"to hold.*--memory"), cache.open(large):
        pass
    assert cache.held_bytes <= 3 * 500 * 500
    cache.close_all()

    patient = SlideCache(max_bytes=3 * 500 * 500)
    opened = threading.Event()

    def later() -> None:
        with patient.open(second):
            opened.set()

    thread = threading.Thread(target=later)
    with patient.open(first):
        thread.start()
        assert not opened.wait(0.2)
    assert opened.wait(30)
    thread.join(30)
    patient.close_all()


def test_who_comes_later_waits_and_is_told_after_a_while() -> None:
    memory = DecodeMemory(100, patience_s=0.05)
    with memory.reserving(80):
        with memory.reserving(20):
            pass
        with pytest.raises(ServerBusy, match="try again"), memory.reserving(30):
            pass
    with pytest.raises(SlideUnsupported, match="--memory"), memory.reserving(10_000):
        pass
    assert memory.taken_bytes == 0
    entered = threading.Event()

    patient = DecodeMemory(100)

    def later() -> None:
        with patient.reserving(60):
            entered.set()

    thread = threading.Thread(target=later)
    with patient.reserving(60):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(30)
    thread.join(30)


def test_64_hostile_clients_stay_within_the_budget(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 16, 1500)
    strip = tmp_path / "strip.tif"
    tifffile.imwrite(
        strip, np.zeros((3000, 3000, 3), np.uint8), rowsperstrip=3000, compression="zlib", photometric="rgb"
    )
    settings = ServerSettings(
        port=0, model="fake", device="cpu", decode_bytes=80 * MIB, slide_bytes=30 * MIB, pushed_bytes=20 * MIB
    )
    with start_server(settings) as server, SamClient(server.address, timeout_s=120) as client:
        images, slides = server.images, server.images.slides
        assert slides is not None
        held: list[int] = []

        def attack(number: int) -> None:
            try:
                if number % 4 == 3:
                    client.push_pixels(
                        bytes([number]) * (3 * 1000 * 1000),
                        pixel_format="raw",
                        region=Region(0, 0, 1000, 1000),
                        image_size=(1000, 1000),
                        pixel_size=(1000, 1000),
                    )
                else:
                    client.predict(Slide(strip if number % 4 == 2 else paths[number % 16]), OBJECTS)
            except QupathSamError:
                pass
            held.append(images.pushed.size_bytes)

        with ThreadPoolExecutor(64) as pool:
            list(pool.map(attack, range(192)))
        assert images.memory.peak_bytes <= 80 * MIB
        assert images.memory.taken_bytes == 0
        assert max(held) <= 20 * MIB
        assert slides.held_bytes <= 30 * MIB
        assert client.predict(Slide(paths[0]), OBJECTS).results[0].outlines


def test_one_budget_is_shared_out() -> None:
    settings = ServerSettings().within(8 * 1024 * MIB)
    assert sum(getattr(settings, name) for name in SHARES) == 8 * 1024 * MIB
    assert settings.memory.startswith("8192 MiB (")
    with pytest.raises(InvalidRequest, match="--memory"):
        ServerSettings().within(100)
