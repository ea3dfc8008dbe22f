"""Where slides may lie, by the text of paths of every system."""

from __future__ import annotations

import ntpath
import posixpath
from pathlib import Path

import pytest

from qupath_sam.errors import InvalidRequest, SlideNotFound
from qupath_sam.slides import Permissions, open_slide
from qupath_sam.slides.permissions import lies_in
from tests.contracts.readers import coordinate_pixels
from tests.slides.written import write_tiff


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [
        ("/mnt/slides/a.svs", "/mnt/slides", True),
        ("/mnt/slides", "/mnt/slides/", True),
        ("/mnt/slides2/a.svs", "/mnt/slides", False),
        ("/mnt/slides/../a.svs", "/mnt/slides", False),
        ("/mnt/slides/x/../a.svs", "/mnt/slides", True),
        ("/mnt/Slides/a.svs", "/mnt/slides", False),
        ("/anything", "/", True),
    ],
)
def test_posix(path: str, root: str, inside: bool) -> None:
    assert lies_in(path, root, system=posixpath) is inside


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [
        (r"D:\slides\a.svs", r"D:\slides", True),
        (r"d:/SLIDES/a.svs", r"D:\slides", True),
        (r"E:\slides\a.svs", r"D:\slides", False),
        (r"D:\slides2\a.svs", r"D:\slides", False),
        (r"D:\slides\..\a.svs", r"D:\slides", False),
        (r"\\?\D:\slides\a.svs", r"D:\slides", True),
        (r"\\?\D:\slides\..\a.svs", r"D:\slides", False),
        (r"\\?\UNC\nas\share\a.svs", r"\\nas\share", True),
        (r"\\nas\share\a.svs", r"\\nas\share", True),
        (r"\\nas\share2\a.svs", r"\\nas\share", False),
        (r"\\evil\share\a.svs", r"\\nas\share", False),
        (r"\\.\PhysicalDrive0", r"D:\slides", False),
        (r"C:\anything", "C:\\", True),
        (r"D:\anything", "C:\\", False),
    ],
)
def test_windows(path: str, root: str, inside: bool) -> None:
    assert lies_in(path, root, system=ntpath) is inside


def test_a_root_may_be_given_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write_tiff(tmp_path / "real" / "a.tif", coordinate_pixels(), tile=(32, 32))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    for root, path in (
        ("link", link / "a.tif"),
        ("link", tmp_path / "real" / "a.tif"),
        ("real", tmp_path / "real/a.tif"),
    ):
        open_slide(path, permissions=Permissions.of([tmp_path / root])).close()
    # A link from elsewhere is another name, which nobody has opened.
    with pytest.raises(SlideNotFound, match="may be opened"):
        open_slide(link / "a.tif", permissions=Permissions.of([tmp_path / "real"]))


def test_a_link_keeps_the_name_by_which_its_reader_is_chosen(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "0123abcd", coordinate_pixels(), tile=(32, 32))
    (tmp_path / "a.tif").symlink_to(slide)
    open_slide(tmp_path / "a.tif", permissions=Permissions.of([tmp_path])).close()


def test_a_root_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="--slides"):
        Permissions.of([tmp_path / "nothing"])


def test_the_root_of_everything_is_known_as_such(tmp_path: Path) -> None:
    assert Permissions().opens_everything
    assert Permissions.of([Path(tmp_path.anchor)]).opens_everything
    assert not Permissions.of([tmp_path]).opens_everything
