"""OME-Zarr in its versions, as folders and by URL."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import SlideError, SlideNotFound, SlideUnreadable, SlideUnsupported
from qupath_sam.slides import open_slide
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.permissions import Permissions
from qupath_sam.slides.rendering import ChannelDisplay, Rendering
from qupath_sam.slides.urls import UrlRules
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import HEIGHT, WIDTH, ReaderContract, coordinate_pixels

SHOWN = Window(Region(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT)


def write_zarr(
    path: Path,
    levels: list[NDArray[Any]],
    *,
    axes: str = "cyx",
    unit: str = "micrometer",
    scale: float = 0.25,
    omero: dict[str, Any] | None = None,
    version: str = "0.4",
) -> Path:
    """Write a multiscale image; ``scale`` is of level 0, in ``unit``."""
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for index, level in enumerate(levels):
        chunks = tuple(1 if axis in "tcz" else 32 for axis in axes)
        group.create_array(str(index), data=level, chunks=chunks)
        ratio = levels[0].shape[-1] / level.shape[-1]
        steps = [scale * ratio if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": steps}]})
    kinds = {"c": "channel", "t": "time"}
    named = [
        {"name": axis, "type": kinds.get(axis, "space"), **({"unit": unit} if axis in "zyx" else {})} for axis in axes
    ]
    attributes: dict[str, Any] = {"multiscales": [{"version": version, "axes": named, "datasets": datasets}]}
    if omero is not None:
        attributes["omero"] = omero
    group.attrs.update({"ome": attributes} if version == "0.5" else attributes)
    return path


def rgb_levels(pixels: NDArray[np.uint8], downsamples: tuple[int, ...] = (2, 4)) -> list[NDArray[np.uint8]]:
    levels = [pixels, *(np.array(Image.fromarray(pixels).reduce(d)) for d in downsamples)]
    return [level.transpose(2, 0, 1) for level in levels]


class TestVersion4(ReaderContract):
    version: ClassVar[str] = "0.4"

    @classmethod
    def write(cls, pixels: NDArray[np.uint8], folder: Path) -> Path:
        return write_zarr(folder / "ä b.zarr", rgb_levels(pixels), version=cls.version)

    @classmethod
    def open(cls, written: Path) -> SlideReader:
        return open_slide(written)


class TestVersion5(TestVersion4):
    version: ClassVar[str] = "0.5"


@pytest.mark.parametrize(("unit", "scale"), [("micrometer", 0.25), ("nanometer", 250.0), ("millimeter", 0.00025)])
def test_pixel_sizes(tmp_path: Path, unit: str, scale: float) -> None:
    path = write_zarr(tmp_path / "a.zarr", rgb_levels(coordinate_pixels()), unit=unit, scale=scale)
    with closing(open_slide(path)) as reader:
        assert reader.info.mpp == pytest.approx(0.25)
        assert reader.info.all_remarks == ()


def test_by_url(tmp_path: Path) -> None:
    import fsspec

    path = write_zarr(tmp_path / "a.zarr", rgb_levels(coordinate_pixels()))
    for file in path.rglob("*"):
        if file.is_file():
            with fsspec.open(f"memory://zarrs/a.zarr/{file.relative_to(path).as_posix()}", "wb") as target:
                target.write(file.read_bytes())
    allowed = Permissions(urls=UrlRules(frozenset({"memory"})))
    with closing(open_slide("memory://zarrs/a.zarr", permissions=allowed)) as reader:
        np.testing.assert_array_equal(reader.read(SHOWN), coordinate_pixels())
    with pytest.raises(SlideNotFound):
        open_slide("memory://zarrs/b.zarr", permissions=allowed)


def fluorescence() -> NDArray[np.uint16]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([np.stack([x * 16, y * 16, x + y]) // (1 + z) for z in range(2)], axis=1)[None].astype(np.uint16)


OMERO = {
    "channels": [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 0, "end": 3000, "min": 0, "max": 65535}},
        {"label": "CD8", "color": "00FF00", "window": {"start": 100, "end": 2000}, "active": False},
        {"label": "PanCK", "color": "FF0000", "window": {"start": 0, "end": 300}, "active": True},
    ]
}


def test_the_files_own_settings_are_shown_and_told(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", [fluorescence()], axes="tczyx", omero=OMERO)
    with closing(open_slide(path)) as reader:
        assert reader.info.channels == ("DAPI", "CD8", "PanCK")
        assert (reader.info.depth, reader.info.times) == (2, 1)
        assert "DAPI 0 to 3000 in #0000ff + PanCK 0 to 300 in #ff0000" in reader.info.reader
        assert any("own settings" in remark for remark in reader.info.remarks)
        shown = reader.read(SHOWN).astype(float)
    assert np.abs(shown[:, :, 2] - np.clip(fluorescence()[0, 0, 0] / 3000 * 255, 0, 255)).max() <= 1
    assert shown[:, :, 1].max() == 0


def test_channels_and_planes_are_chosen(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", [fluorescence()], axes="tczyx", omero=OMERO)
    with closing(open_slide(path, rendering=Rendering((ChannelDisplay("CD8", 0, 1000),)), z=1)) as reader:
        expected = np.clip(fluorescence()[0, 1, 1] / 1000 * 255, 0, 255)
        assert np.abs(reader.read(SHOWN)[:, :, 0] - expected).max() <= 1
    with pytest.raises(SlideUnsupported, match="2 x 1"):
        open_slide(path, z=2)


def test_several_images_of_bioformats2raw(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    small = coordinate_pixels(40, 30)
    write_zarr(tmp_path / "a.zarr" / "0", rgb_levels(small, ()))
    write_zarr(tmp_path / "a.zarr" / "1", rgb_levels(coordinate_pixels()))
    with closing(open_slide(tmp_path / "a.zarr")) as reader:
        np.testing.assert_array_equal(reader.read(SHOWN), coordinate_pixels())
        assert "number 2, the largest" in reader.info.remarks[0]


def test_a_plate_is_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).attrs["plate"] = {"wells": []}
    with pytest.raises(SlideUnsupported, match="plate"):
        open_slide(tmp_path / "a.zarr")


def test_a_zarr_that_is_no_image(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).attrs["mine"] = 1
    with pytest.raises(SlideUnreadable, match="no multiscales"):
        open_slide(tmp_path / "a.zarr")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_leads_out_leads_nowhere(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", rgb_levels(coordinate_pixels(), ()))
    chunk = path / "0" / "0.0.0"
    if not chunk.exists():
        chunk = next(p for p in (path / "0").rglob("*") if p.is_file() and not p.name.startswith("."))
    chunk.rename(tmp_path / "outside")
    chunk.symlink_to(tmp_path / "outside")
    with closing(open_slide(path)) as reader:
        assert (reader.read(Window(Region(0, 0, 16, 16), 16, 16))[:, :, 0] == 0).all()


def test_damaged_metadata_and_chunks_are_told(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", rgb_levels(coordinate_pixels(), ()))
    random = np.random.default_rng(5)
    files = [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        whole = file.read_bytes()
        for damage in (b"", whole[: len(whole) // 2], bytes(random.integers(0, 256, len(whole), np.uint8))):
            file.write_bytes(damage)
            with suppress(SlideError), closing(open_slide(path)) as reader:
                reader.read(SHOWN)
        file.write_bytes(whole)


def test_an_image_that_lacks_what_the_metadata_say(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", rgb_levels(coordinate_pixels(), ()))
    attributes = json.loads((path / ".zattrs").read_text())
    for change in (
        {"datasets": []},
        {"datasets": [{"path": "9"}]},
        {"axes": [{"name": "y"}]},
        {"axes": ["q", "y", "x"]},
    ):
        broken = {"multiscales": [{**attributes["multiscales"][0], **change}]}
        (path / ".zattrs").write_text(json.dumps(broken))
        with suppress(SlideError), closing(open_slide(path)) as reader:
            reader.read(SHOWN)
