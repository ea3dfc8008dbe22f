"""Some thousand files nobody asked for: right pixels, or an error of ours that says what to do; never a traceback."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from qupath_sam.errors import QupathSamError
from qupath_sam.slides import open_slide
from qupath_sam.types.regions import Region, Window
from tests.contracts.layouts import LAYOUTS, picture

SIDE = 96
COMPRESSIONS = [None, "lzw", "deflate", "packbits", "zstd", "jpeg", "jpeg2000", "webp", "png", "jpegxl", "jpegxr"]
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8", "c8", "?"]
SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "grey": ((SIDE, SIDE), {"photometric": "minisblack"}),
    "inverted": ((SIDE, SIDE), {"photometric": "miniswhite"}),
    "rgb": ((SIDE, SIDE, 3), {"photometric": "rgb"}),
    "rgba": ((SIDE, SIDE, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "rgb in planes": ((3, SIDE, SIDE), {"photometric": "rgb", "planarconfig": "separate"}),
    "ycbcr": ((SIDE, SIDE, 3), {"photometric": "ycbcr"}),
    "cmyk": ((SIDE, SIDE, 4), {"photometric": "separated"}),
    "lab": ((SIDE, SIDE, 3), {"photometric": "cielab"}),
    "grey and alpha": ((SIDE, SIDE, 2), {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [2]}),
    "pages": ((4, SIDE, SIDE), {"photometric": "minisblack"}),
    "pages of rgb": ((2, SIDE, SIDE, 3), {"photometric": "rgb"}),
    "interleaved channels": ((SIDE, SIDE, 6), {"photometric": "minisblack", "planarconfig": "contig"}),
    "volume": ((2, 3, SIDE, SIDE), {"photometric": "minisblack", "volumetric": True}),
    "tiny": ((1, 1), {"photometric": "minisblack"}),
    "one row": ((1, SIDE, 3), {"photometric": "rgb"}),
}


def _values(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    smooth = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    smooth /= max(1.0, smooth.max())
    kind = np.dtype(dtype).kind
    if kind == "b":
        return smooth > 0.5
    top = {"u": 200.0, "i": 100.0}.get(kind, 1.0) * (1 if np.dtype(dtype).itemsize == 1 or kind in "fc" else 20)
    return (smooth * top).astype(dtype)


def _written(path: Path, shape: str, dtype: str, compression: str | None, **options: Any) -> bool:
    """Whether tifffile can write this combination at all."""
    size, how = SHAPES[shape]
    try:
        tifffile.imwrite(path, _values(size, dtype), compression=compression, metadata=None, **how, **options)
    except Exception:
        return False
    return True


def _shown(path: Path) -> NDArray[np.uint8] | QupathSamError:
    """What is read of a file, whole and coarser; anything but an error of ours ends the test."""
    try:
        reader = open_slide(path)
    except QupathSamError as error:
        return error
    with closing(reader):
        width, height = (min(side, 2000) for side in (reader.info.width, reader.info.height))
        try:
            reader.read(Window.of(Region(0, 0, width, height), 3))
            return reader.read(Window(Region(0, 0, width, height), width, height))
        except QupathSamError as error:
            return error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compression", COMPRESSIONS, ids=str)
def test_every_combination_of_tags(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    written = shown = 0
    for index, (shape, dtype) in enumerate(itertools.product(SHAPES, TYPES)):
        path.unlink(missing_ok=True)
        tile = (32, 32) if index % 2 else None
        options = {"tile": tile if shape != "volume" else tile and (1, *tile)}
        if not _written(path, shape, dtype, compression, **options):
            continue
        written += 1
        read = _shown(path)
        if isinstance(read, QupathSamError):
            assert dtype == "c8" or shape in ("cmyk", "lab", "volume", "ycbcr"), f"{shape} {dtype} {tile}: {read}"
            continue
        shown += 1
        size, _ = SHAPES[shape]
        if dtype == "u1" and shape in ("grey", "rgb"):
            with tifffile.TiffFile(path) as tiff:
                own = tiff.asarray()
            expected = np.repeat(own[:, :, None], 3, axis=2) if shape == "grey" else own
            np.testing.assert_array_equal(read, expected, err_msg=f"{size} {compression} {tile}")
    assert written >= 5
    assert shown >= 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [{"bigtiff": True}, {"byteorder": ">"}, {"ome": True}, {"imagej": True}], ids=str)
def test_every_kind_of_file(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = tmp_path / ("a.ome.tif" if "ome" in kind else "a.tif")
    shown = 0
    for shape, dtype in itertools.product(SHAPES, TYPES):
        path.unlink(missing_ok=True)
        size, how = SHAPES[shape]
        try:
            tifffile.imwrite(path, _values(size, dtype), **how, **kind)
        except Exception:
            continue
        shown += not isinstance(_shown(path), QupathSamError)
    assert shown >= 5


def _damages(whole: bytes, random: np.random.Generator, count: int) -> Iterator[bytes]:
    """A file cut short, and with bytes changed: most of them in its directories."""
    for kept in (0.02, 0.3, 0.7, 0.99):
        yield whole[: int(len(whole) * kept)]
    for index in range(count):
        damaged = bytearray(whole)
        ends = (400, len(whole), 400, len(whole))
        for place in random.integers(0, min(len(whole), ends[index % 4]), size=6):
            damaged[place if index % 4 < 2 else len(whole) - 1 - place] = random.integers(256)
        yield bytes(damaged)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", [one for one in LAYOUTS if "Zarr" not in one.name], ids=lambda one: one.name)
def test_damaged_files_of_every_layout(layout: Any, tmp_path: Path) -> None:
    path = layout.write(tmp_path)
    random = np.random.default_rng(11)
    for damaged in _damages(path.read_bytes(), random, 24):
        path.write_bytes(damaged)
        _shown(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "suffix", [".tif", ".svs", ".ndpi", ".scn", ".qptiff", ".ome.tif", ".png", ".dcm", ".czi", ".zvi", ".vms"]
)
def test_wrong_endings(suffix: str, tmp_path: Path) -> None:
    """The right content under any name is read, or refused in words."""
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", tile=(64, 64))
    for content in ((tmp_path / "a.tif").read_bytes(), b"\x89PNG\r\n\x1a\n" + bytes(99), b"DICM" * 99, b"\0" * 999):
        (tmp_path / f"b{suffix}").write_bytes(content)
        _shown(tmp_path / f"b{suffix}")
