"""Fluorescence and stacks: which channels, by which range, in which colours."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.slides import SlideCache, open_slide, parse_builder
from qupath_sam.slides.rendering import ChannelDisplay, Rendering, default_color, found_range, full_scale
from qupath_sam.types.regions import Region, Window
from tests.slides.test_builder import leaf

HEIGHT, WIDTH = 96, 128
SHOWN = Window(Region(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT)
NAMES = ["DAPI", "CD8, nuclear", "PanCK"]


def channels(count: int = 3) -> NDArray[np.uint16]:
    """12 bits: each channel a ramp of its own direction and strength."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramps = [x * 32, y * 20, (x + y) * 8]
    return np.stack([ramps[i % 3] for i in range(count)]).astype(np.uint16)


def write_ome(path: Path, pixels: NDArray[Any] | None = None, axes: str = "CYX", **options: Any) -> Path:
    metadata = {"axes": axes, "Channel": {"Name": NAMES, "Color": [65535, -16776961, 16711935]}}
    data = channels() if pixels is None else pixels
    tifffile.imwrite(path, data, photometric="minisblack", tile=(32, 32), metadata=metadata, **options)
    return path


@pytest.fixture
def fluorescence(tmp_path: Path) -> Path:
    return write_ome(tmp_path / "a.ome.tif")


def read(path: Path, rendering: Rendering | None = None, **plane: int) -> NDArray[np.uint8]:
    with closing(open_slide(path, rendering=rendering, **plane)) as reader:
        return reader.read(SHOWN)


def test_one_channel_is_grey(fluorescence: Path) -> None:
    shown = read(fluorescence, Rendering((ChannelDisplay("DAPI", 0, 4095),)))
    expected = np.repeat((channels()[0] / 4095 * 255)[:, :, None], 3, axis=2)
    assert np.abs(shown - expected).max() <= 1


def test_channels_by_number_colour_and_range(fluorescence: Path) -> None:
    wanted = Rendering((ChannelDisplay(2, 100, 1000, 0x00FF00), ChannelDisplay(0, 0, 2000, 0xFF0080)))
    shown = read(fluorescence, wanted).astype(float)
    first, second = channels()[0] / 2000 * 255, (channels()[2] - 100.0) / 900 * 255
    assert np.abs(shown[:, :, 0] - np.clip(first, 0, 255)).max() <= 1
    assert np.abs(shown[:, :, 1] - np.clip(second, 0, 255)).max() <= 1
    assert np.abs(shown[:, :, 2] - np.clip(first, 0, 255) * 128 / 255).max() <= 1.5


def test_without_a_word_all_channels_are_shown_and_that_is_told(fluorescence: Path) -> None:
    with closing(open_slide(fluorescence)) as reader:
        info = reader.info
        assert info.channels == tuple(NAMES)
        assert "DAPI" in info.reader
        assert "#0000ff" in info.reader  # OME's 65535 is opaque blue: 0x0000FFFF as RGBA
        assert "no display is given" in info.remarks[0]
        assert reader.read(SHOWN).reshape(-1, 3).max(axis=0).min() > 200


def test_colours_add_up_and_are_cut_off(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", np.full((3, HEIGHT, WIDTH), 200, np.uint16))
    displays = tuple(ChannelDisplay(i, 0, 255, 0xFF0000) for i in range(3))
    assert (read(path, Rendering(displays)) == (255, 0, 0)).all()


def test_the_fingerprint_depends_on_what_is_shown(fluorescence: Path) -> None:
    renderings = [None, *(Rendering((ChannelDisplay(i, 0, high),)) for i in (0, 1) for high in (100, 200))]
    found = set()
    for rendering in renderings:
        with closing(open_slide(fluorescence, rendering=rendering)) as reader:
            found.add(reader.info.fingerprint)
    assert len(found) == len(renderings)


def test_the_cache_tells_renderings_apart(fluorescence: Path) -> None:
    cache = SlideCache()
    low, high = (Rendering(low=0, high=end) for end in (100, 4000))
    with cache.open(fluorescence, rendering=low) as first, cache.open(fluorescence, rendering=high) as second:
        assert first is not second
        assert first.read(SHOWN).mean() > second.read(SHOWN).mean()
    cache.close_all()


@pytest.mark.parametrize(
    ("rendering", "words"),
    [
        (Rendering((ChannelDisplay(3),)), "no channel 4; it has 1 'DAPI'"),
        (Rendering((ChannelDisplay("GFP"),)), "no channel 'GFP'"),
        (Rendering((ChannelDisplay(0), ChannelDisplay("dapi"))), "twice"),
    ],
)
def test_channels_that_are_not_there(fluorescence: Path, rendering: Rendering, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        open_slide(fluorescence, rendering=rendering)


@pytest.mark.parametrize(("low", "high"), [(5, 5), (9, 1), (float("nan"), 1), (0, float("inf")), (None, 1)])
def test_ranges_that_are_none(low: Any, high: Any) -> None:
    with pytest.raises(InvalidRequest, match="range"):
        Rendering(low=low, high=high)
    with pytest.raises(InvalidRequest, match="range"):
        ChannelDisplay(0, low, high)


def test_planes_of_a_stack(tmp_path: Path) -> None:
    planes = np.stack([np.stack([channels() // (1 + z + 3 * t) for z in range(3)], axis=1) for t in range(2)])
    path = write_ome(tmp_path / "a.ome.tif", planes, axes="TCZYX")
    wanted = Rendering((ChannelDisplay("PanCK", 0, 1000),))
    for t in range(2):
        for z in range(3):
            expected = np.clip(planes[t, 2, z] / 1000 * 255, 0, 255)
            assert np.abs(read(path, wanted, z=z, t=t)[:, :, 0] - expected).max() <= 1
    with closing(open_slide(path, rendering=wanted, z=1)) as reader:
        assert (reader.info.depth, reader.info.times) == (3, 2)
        assert "plane z=1, t=0" in reader.info.remarks[0]
    with pytest.raises(SlideUnsupported, match="3 x 2"):
        open_slide(path, z=3)


def test_levels_of_a_pyramid_have_the_same_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"photometric": "minisblack", "tile": (32, 32)}
        writer.write(channels(), subifds=1, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}, **options)
        writer.write(channels()[:, ::2, ::2], subfiletype=1, **options)
    with closing(open_slide(path, rendering=Rendering((ChannelDisplay("PanCK", 0, 4095),)))) as reader:
        assert [level.downsample for level in reader.info.levels] == [1, 2]
        small = reader.read(Window(Region(0, 0, WIDTH, HEIGHT), WIDTH // 2, HEIGHT // 2))
        assert np.abs(small[:, :, 0] - channels()[2, ::2, ::2] / 4095 * 255).max() <= 1


def test_perkinelmers_names_and_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.qptiff"
    with tifffile.TiffWriter(path) as writer:
        for plane, name, color in zip(channels(), NAMES, ["0,0,255", "255,0,0", "0,255,0"], strict=True):
            root = "PerkinElmer-QPI-ImageDescription"
            description = f"<{root}><Name>{name}</Name><Color>{color}</Color></{root}>"
            writer.write(
                plane,
                photometric="minisblack",
                tile=(32, 32),
                software="PerkinElmer-QPI",
                description=description,
                metadata=None,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
            )
    with closing(open_slide(path, rendering=Rendering(low=0, high=4095))) as reader:
        assert reader.info.channels == tuple(NAMES)
        assert reader.info.mpp == pytest.approx(0.5)
        shown = reader.read(SHOWN).astype(float)
    for channel, part in zip(channels(), (2, 0, 1), strict=True):
        assert np.abs(shown[:, :, part] - channel / 4095 * 255).max() <= 1


def test_imagejs_channels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", channels(), imagej=True, metadata={"axes": "CYX", "Labels": NAMES})
    with closing(open_slide(tmp_path / "a.tif")) as reader:
        assert reader.info.channels == tuple(NAMES)


def test_interleaved_channels(tmp_path: Path) -> None:
    pixels = np.ascontiguousarray(channels(5).transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", metadata=None)
    shown = read(tmp_path / "a.tif", Rendering((ChannelDisplay(4, 0, 4095),)))
    assert np.abs(shown[:, :, 0] - pixels[:, :, 4] / 4095 * 255).max() <= 1


def test_an_image_of_qupath_is_not_shown_by_guessing(fluorescence: Path) -> None:
    """QuPath knows its own settings; a client that sends none pushes its pixels."""
    builder = {**leaf("BioFormatsServerBuilder", width=WIDTH, height=HEIGHT), "uri": fluorescence.as_uri()}
    with pytest.raises(SlideUnsupported, match="push the pixels as rendered"):
        open_slide(parse_builder(builder))
    builder["metadata"]["isRGB"] = False
    with pytest.raises(SlideUnsupported, match="push the pixels as rendered"):
        parse_builder(builder)
    with closing(open_slide(parse_builder(builder, rendered=True), rendering=Rendering(low=0, high=100))) as reader:
        assert reader.info.width == WIDTH


SETTINGS: dict[str, Any] = {
    "name": "mine",
    "gamma": 1.0,
    "invertBackground": False,
    "channels": [
        {
            "name": "DAPI (C1)",
            "minDisplay": 0.0,
            "maxDisplay": 4095.0,
            "color": {"red": 0, "green": 0, "blue": 255},
            "isShowing": True,
        },
        {"name": "CD8, nuclear (C2)", "minDisplay": 0.0, "maxDisplay": 9.0, "isShowing": False},
        {
            "name": "PanCK (C3)",
            "minDisplay": 10.0,
            "maxDisplay": 500.0,
            "color": {"red": 255, "green": 0, "blue": 0},
            "isShowing": True,
        },
    ],
}


def test_display_settings_of_qupath(fluorescence: Path) -> None:
    shown = read(fluorescence, Rendering.of_qupath(SETTINGS)).astype(float)
    assert np.abs(shown[:, :, 2] - channels()[0] / 4095 * 255).max() <= 1
    assert np.abs(shown[:, :, 0] - np.clip((channels()[2] - 10.0) / 490 * 255, 0, 255)).max() <= 1
    assert shown[:, :, 1].max() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gamma": 1.5}, "gamma"),
        ({"invertBackground": True}, "inverted"),
        ({"channels": []}, "no channel"),
        ({"channels": None}, "list no channels"),
    ],
)
def test_display_settings_that_cannot_be_reproduced(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Rendering.of_qupath({**SETTINGS, **change})


def test_default_colours_are_qupaths() -> None:
    assert [default_color(i) for i in range(6)] == [0xFF0000, 0x00FF00, 0x0000FF, 0xFFE000, 0x00E0E0, 0xFF00E0]
    assert default_color(6) == 0xFFCC00  # hue 6 * 128 % 360 = 48 degrees
    assert all(0 <= default_color(i) <= 0xFFFFFF for i in range(1000))


@pytest.mark.parametrize("values", [np.array([]), np.zeros(9), np.full(9, 7.0), np.full(9, np.nan)])
def test_a_range_is_found_in_anything(values: NDArray[Any]) -> None:
    low, high = found_range(values)
    assert low < high


def test_hot_pixels_do_not_set_the_range() -> None:
    values = np.concatenate([np.arange(10_000) % 1000, np.full(5, 60_000)]).astype(np.uint16)
    assert found_range(values)[1] < 1100


@pytest.mark.parametrize(
    ("dtype", "bits", "largest", "white"),
    [
        ("u2", 16, 4000, 4095),
        ("u2", 12, 100, 4095),
        ("u2", 16, 65_000, 65_535),
        ("u2", 16, 200, 255),
        ("i2", 16, 32_000, 32_767),
        ("i1", 8, 100, 127),
        ("f4", 32, 0.9, 1),
        ("f4", 32, 255, 255),
        ("?", 1, 1, 1),
    ],
)
def test_white_of_colours(dtype: str, bits: int, largest: float, white: float) -> None:
    values = np.array([0, largest]).astype(dtype)
    assert full_scale(values.dtype, bits, values) == white
