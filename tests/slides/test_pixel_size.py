"""Pixel sizes as vendors write them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import tifffile

from qupath_sam.slides import open_slide
from qupath_sam.slides.pixel_size import PixelSize, number, of_aperio, of_philips, um_per
from tests.contracts.readers import coordinate_pixels
from tests.slides.written import write_tiff


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.25", 0.25), ("0,2520", 0.252), ('"0.25"', 0.25), (" 1e-3 ", 1e-3), ("inf", None), ("", None), ("1,2,3", None)],
)
def test_numbers(text: str, expected: float | None) -> None:
    assert number(text) == expected


def test_a_decimal_comma_of_aperio() -> None:
    assert of_aperio("Aperio Image Library v1\n9x9|AppMag = 40|MPP = 0,2520|ICC = x") == PixelSize(0.252, 0.252)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        *[("µm", 1.0), ("\u03bcm", 1.0), ("um", 1.0), ("micron", 1.0), ("\\u00B5m", 1.0)],
        *[("nm", 1e-3), ("mm", 1e3), ("cm", 1e4), ("m", 1e6), ("Å", 1e-4), ("in", 25400.0)],
        *[("pixel", None), ("reference frame", None)],
    ],
)
def test_units(unit: str, um: float | None) -> None:
    assert um_per(unit) == um


def test_philips_takes_the_scan_and_not_the_label() -> None:
    def image(kind: str, spacing: str) -> str:
        return (
            f'<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">{kind}</Attribute>'
            f'<Attribute Name="DICOM_PIXEL_SPACING">{spacing}</Attribute></DataObject>'
        )

    images = image("LABELIMAGE", "&quot;1&quot; &quot;1&quot;") + image("WSI", "&quot;0.0005&quot; &quot;0.00025&quot;")
    assert of_philips(f"<DataObject><Array>{images}</Array></DataObject>") == PixelSize(0.25, 0.5)


@pytest.mark.parametrize(("unit", "value"), [("µm", 0.25), ("nm", 250), ("mm", 0.00025), ("cm", 0.000025)])
def test_ome_in_all_units(tmp_path: Path, unit: str, value: float) -> None:
    path = tmp_path / "a.ome.tif"
    sizes = {"PhysicalSizeX": value, "PhysicalSizeXUnit": unit, "PhysicalSizeY": value, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, coordinate_pixels(), photometric="rgb", tile=(32, 32), metadata={"axes": "YXS", **sizes})
    with closing(open_slide(path)) as reader:
        assert reader.info.mpp == pytest.approx(0.25)
        assert reader.info.all_remarks == ()


def test_a_tag_that_contradicts_the_ome_xml_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        coordinate_pixels(),
        photometric="rgb",
        metadata={"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25},
        resolution=(10_000, 10_000),
        resolutionunit="CENTIMETER",
    )
    with closing(open_slide(path)) as reader:
        assert reader.info.mpp == 0.25
        assert "the TIFF tag 1 um" in reader.info.remarks[0]


def test_a_tag_that_nobody_believes_contradicts_nothing(tmp_path: Path) -> None:
    """72 dpi: what writers put who know no pixel size."""
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        coordinate_pixels(),
        photometric="rgb",
        metadata={"axes": "YXS", **sizes},
        resolution=(72, 72),
        resolutionunit="INCH",
    )
    with closing(open_slide(path)) as reader:
        assert (reader.info.mpp, reader.info.all_remarks) == (0.25, ())


def test_imagej_in_its_own_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, coordinate_pixels()[:, :, 0], imagej=True, resolution=(4.0, 4.0), metadata={"unit": "micron"}
    )
    with closing(open_slide(path)) as reader:
        assert reader.info.mpp == pytest.approx(0.25)


@pytest.mark.parametrize(("unit", "resolution"), [("CENTIMETER", 40_000), ("INCH", 101_600), ("MICROMETER", 4)])
def test_resolution_tags(tmp_path: Path, unit: str, resolution: float) -> None:
    path = write_tiff(tmp_path / "a.tif", coordinate_pixels(), resolution=(resolution, resolution), resolutionunit=unit)
    with closing(open_slide(path)) as reader:
        assert reader.info.mpp == pytest.approx(0.25)
