"""Opening slides: by what, as what, and what is said when it cannot be."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qupath_sam.errors import (
    InvalidRequest,
    SlideError,
    SlideMismatch,
    SlideNotFound,
    SlideUnreadable,
    SlideUnsupported,
)
from qupath_sam.slides import PathMap, Permissions, UrlRules, open_slide, parse_builder
from qupath_sam.types.regions import Region, Window
from tests.contracts.readers import coordinate_pixels
from tests.slides.test_builder import leaf, wrapped
from tests.slides.written import SCN_SIZE, write_leica, write_tiff

IN_MEMORY = Permissions(urls=UrlRules(frozenset({"memory"})))


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "Prä parat.tif", coordinate_pixels(), tile=(32, 32))


def test_by_java_uri(slide: Path) -> None:
    with closing(open_slide(slide.as_uri(), expected_size=(208, 152))) as reader:
        assert reader.info.width == 208


def test_by_a_windows_path_through_the_map(slide: Path) -> None:
    path_map = PathMap.parse([f"D:\\slides={slide.parent}"])
    with closing(open_slide("file:/d:/slides/Pr%C3%A4%20parat.tif", path_map=path_map)) as reader:
        assert reader.info.width == 208


def test_to_a_url_through_the_map(slide: Path) -> None:
    import fsspec

    with fsspec.open("memory://mapped/a.tif", "wb") as file:
        file.write(slide.read_bytes())
    with closing(
        open_slide("/data/a.tif", path_map=PathMap.parse(["/data=memory://mapped"]), permissions=IN_MEMORY)
    ) as reader:
        assert reader.info.width == 208


def _missing(folder: Path) -> str:
    return str(folder / "nothing.svs")


def _folder(folder: Path) -> str:
    return str(folder)


def _empty(folder: Path) -> str:
    (folder / "empty.svs").touch()
    return str(folder / "empty.svs")


def _text(folder: Path) -> str:
    (folder / "text.svs").write_text("this is no slide " * 100)
    return str(folder / "text.svs")


def _only_magic(folder: Path) -> str:
    (folder / "magic.svs").write_bytes(b"II*\0")
    return str(folder / "magic.svs")


def _html(folder: Path) -> str:
    (folder / "page.tif").write_text("<html>404</html>")
    return str(folder / "page.tif")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (_missing, SlideNotFound, "not on this machine"),
        (_folder, SlideUnreadable, "is a folder"),
        (_empty, SlideUnreadable, "is empty"),
        (_text, SlideUnreadable, "no TIFF, PNG, JPEG or BMP"),
        (_html, SlideUnreadable, "no TIFF, PNG, JPEG or BMP"),
        (_only_magic, SlideUnreadable, "cannot be decoded"),
    ],
)
def test_what_is_no_slide(tmp_path: Path, make: Any, error: type[SlideError], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        open_slide(make(tmp_path))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may read anything")
def test_a_slide_that_may_not_be_read(slide: Path) -> None:
    slide.chmod(0)
    with pytest.raises(SlideNotFound, match="permissions"):
        open_slide(slide)


def test_permission_denied_is_told(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the one above, where the tests run as root."""

    def deny(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("qupath_sam.slides.source.open", deny, raising=False)
    with pytest.raises(SlideNotFound, match="permissions"):
        open_slide(slide)


@pytest.mark.skipif(os.name == "nt", reason="there it is at home")
@pytest.mark.parametrize(
    "path", [r"D:\slides\a.svs", "file:/D:/slides/a.svs", r"\\host\share\a.svs", "file:////h/s/a.svs"]
)
def test_a_windows_path_elsewhere_asks_for_a_map(path: str) -> None:
    with pytest.raises(SlideNotFound, match=r"Windows path.*map its folder"):
        open_slide(path)


def test_a_name_too_long_is_told() -> None:
    with pytest.raises(SlideNotFound, match="check the path"):
        open_slide("/" + "a" * 5000)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("memory://nowhere/a.tif", SlideNotFound),
        ("nonsense://a/b.tif", SlideUnsupported),
    ],
)
def test_urls_that_lead_nowhere(url: str, error: type[SlideError]) -> None:
    with pytest.raises(error):
        open_slide(url, permissions=IN_MEMORY)


def test_a_url_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SlideUnsupported, match="s3fs"):
        open_slide("s3://bucket/a.tif", permissions=Permissions(urls=UrlRules.parse(["s3"])))


@pytest.mark.parametrize(("z", "t"), [(1, 0), (0, 1)])
def test_other_planes_are_refused(slide: Path, z: int, t: int) -> None:
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        open_slide(slide, z=z, t=t)


@pytest.mark.parametrize(
    ("expected", "hint"),
    [
        ((152, 208), "rotated"),
        ((100, 100), "a part of it"),
        ((208, 153), "another file"),
        ((9999, 9999), "another file"),
    ],
)
def test_another_size_is_refused(slide: Path, expected: tuple[int, int], hint: str) -> None:
    with pytest.raises(SlideMismatch, match=rf"208 x 152.*{expected[0]} x {expected[1]}.*{hint}"):
        open_slide(slide, expected_size=expected)


def test_a_refused_slide_is_closed(slide: Path) -> None:
    with pytest.raises(SlideMismatch):
        open_slide(slide, expected_size=(1, 1))
    slide.unlink()  # Windows would not let go of an open file; elsewhere ResourceWarning is an error in these tests


def builder_of(path: Path, **metadata: Any) -> dict[str, Any]:
    return {**leaf(width=208, height=152, **metadata), "uri": path.as_uri()}


def test_a_builder_with_wrappers(slide: Path) -> None:
    inner = wrapped("cropped", builder_of(slide), region={"x": 10, "y": 20, "width": 100, "height": 60}, size=(100, 60))
    recipe = parse_builder(wrapped("rotated", inner, rotation="ROTATE_90", size=(60, 100)))
    with closing(open_slide(recipe, expected_size=(60, 100))) as reader:
        expected = np.rot90(coordinate_pixels()[20:80, 10:110], -1)
        np.testing.assert_array_equal(reader.read(Window(Region(0, 0, 60, 100), 60, 100)), expected)


def test_a_builders_pixel_size_is_believed(slide: Path) -> None:
    with closing(open_slide(slide)) as reader:
        assert reader.info.mpp is None
    with closing(open_slide(parse_builder(wrapped("pyramidize", builder_of(slide))))) as reader:
        assert reader.info.mpp == 0.5
    length = {"value": 0.3, "unit": "µm"}
    recipe = parse_builder(builder_of(slide, pixelCalibration={"pixelWidth": length, "pixelHeight": length}))
    with closing(open_slide(recipe)) as reader:
        assert reader.info.mpp == pytest.approx(0.3)


@pytest.mark.parametrize("size", [(60, 99), (100, 60)])
def test_a_builder_of_another_size_is_refused(slide: Path, size: tuple[int, int]) -> None:
    inner = wrapped("cropped", builder_of(slide), region={"x": 10, "y": 20, "width": 100, "height": 60})
    recipe = parse_builder(wrapped("rotated", inner, rotation="ROTATE_90", size=size))
    with pytest.raises(SlideMismatch):
        open_slide(recipe)


def test_a_builder_of_another_file_is_refused(slide: Path) -> None:
    recipe = parse_builder({**leaf(width=9, height=9), "uri": slide.as_uri()})
    with pytest.raises(SlideMismatch, match="9 x 9"):
        open_slide(recipe)


@pytest.mark.parametrize(
    ("provider", "args", "size"),
    [
        ("OpenslideServerBuilder", (), (276, 184)),
        ("OpenslideServerBuilder", ("--no-crop",), SCN_SIZE),
    ],
)
def test_bounds_are_applied_as_qupaths_reader_does(
    tmp_path: Path, provider: str, args: Any, size: tuple[int, int]
) -> None:
    path = write_leica(tmp_path / "a.scn", coordinate_pixels(*SCN_SIZE))
    builder = {**leaf(provider, args, width=size[0], height=size[1]), "uri": path.as_uri()}
    with closing(open_slide(parse_builder(builder))) as reader:
        assert (reader.info.width, reader.info.height) == size


def test_scanned_areas_by_another_reader_are_refused(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "a.scn", coordinate_pixels(*SCN_SIZE))
    builder = {**leaf("BioFormatsServerBuilder", width=400, height=300), "uri": path.as_uri()}
    with pytest.raises(SlideUnsupported, match="one by one"):
        open_slide(parse_builder(builder))


def test_a_plain_path_has_qupaths_default_frame(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "a.scn", coordinate_pixels(*SCN_SIZE))
    with closing(open_slide(path, expected_size=(276, 184))) as reader:
        assert reader.info.extent == Region(0, 0, 276, 184)


def test_a_bad_uri_is_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest):
        open_slide("file:/%ff")
