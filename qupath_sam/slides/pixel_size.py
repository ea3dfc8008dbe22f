"""The pixel size that a file states, in um: vendors' texts, OME-XML and TIFF's resolution tags. Opens nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from qupath_sam.slides.pyramid import PLAUSIBLE_MPP

CONTRADICTION = 0.01
"""Two statements of one pixel size that differ by more than this share contradict each other."""

_UM_PER_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0, 4: 1_000.0, 5: 1.0}
_UM_PER_UNIT = {
    "m": 1e6,
    "dm": 1e5,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "nm": 1e-3,
    "å": 1e-4,
    "pm": 1e-6,
    "fm": 1e-9,
    "in": 25_400.0,
    "inch": 25_400.0,
    "inches": 25_400.0,
    "ft": 304_800.0,
    "yd": 914_400.0,
    "li": 25_400.0 / 12,
    "thou": 25.4,
    "pt": 25_400.0 / 72,
    "meter": 1e6,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "angstrom": 1e-4,
}


@dataclass(frozen=True, slots=True)
class PixelSize:
    """What a file says of its level-0 px, um; None where it says nothing. ``remark``: what contradicts it, or ""."""

    across: float | None = None
    down: float | None = None
    remark: str = ""

    @property
    def known(self) -> bool:
        """Whether both sides are stated."""
        return self.across is not None and self.down is not None


NO_PIXEL_SIZE = PixelSize()


def number(value: object) -> float | None:
    """Return a finite number as vendors write it, with a decimal point or comma; None for other texts."""
    text = str(value).strip().strip('"')
    if "," in text and "." not in text:
        text = text.replace(",", ".", 1)
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def micrometres(value: object, unit: str) -> float | None:
    """Return a length in um; None where it is not positive or the unit is no length ("pixel", "reference frame")."""
    length = number(value)
    scale = um_per(unit)
    return None if length is None or length <= 0 or scale is None else length * scale


def um_per(unit: str) -> float | None:
    """Return the um per ``unit``, written as OME, ImageJ or OME-Zarr do; None where it is no length."""
    # ImageJ escapes the micro sign; others write the Greek mu, which is what casefold makes of both.
    plain = unit.strip().casefold().replace("\\u00b5", "\u03bc").replace("\u03bc", "\u00b5")
    return _UM_PER_UNIT.get(plain)


def of_resolution_tags(page: Any) -> PixelSize:
    """Read a page of tifffile, by ``XResolution``, ``YResolution`` and ``ResolutionUnit``."""
    unit = page.tags.valueof("ResolutionUnit", 2)  # TIFF 6.0: inches, unless it says otherwise
    scale = _UM_PER_RESOLUTION_UNIT.get(unit) if isinstance(unit, int) else None
    if scale is None:
        return NO_PIXEL_SIZE
    return _of_resolutions(page, scale)


def _of_resolutions(page: Any, scale: float) -> PixelSize:
    across, down = (_per_pixel(page.tags.valueof(name), scale) for name in ("XResolution", "YResolution"))
    return PixelSize(across, down)


def _per_pixel(resolution: Any, scale: float) -> float | None:
    """Return um per px from px per unit, a pair ``(numerator, denominator)``."""
    try:
        numerator, denominator = resolution
        return scale * denominator / numerator if numerator > 0 and denominator > 0 else None
    except (TypeError, ValueError):
        return None


def of_aperio(description: str) -> PixelSize:
    """Read "MPP = 0.25" or "MPP = 0,25" in an Aperio description."""
    for part in description.split("|")[1:]:
        name, _, value = part.partition("=")
        if name.strip() == "MPP":
            return _square(number(value))
    return NO_PIXEL_SIZE


def of_philips(xml: str) -> PixelSize:
    """Read the DICOM_PIXEL_SPACING (mm, rows before columns) of the scanned image, else the first one there is."""
    root = _parsed(xml)
    if root is None:
        return NO_PIXEL_SIZE
    scans = [item for item in root.iter("DataObject") if _is_whole_slide(item)]
    for holder in (*scans, root):
        direct = holder.findall("./Attribute[@Name='DICOM_PIXEL_SPACING']")
        for spacing in (*direct, *holder.iterfind(".//Attribute[@Name='DICOM_PIXEL_SPACING']")):
            sides = [number(side) for side in (spacing.text or "").split()]
            if len(sides) == 2 and all(side is not None and side > 0 for side in sides):
                down, across = (1000 * side for side in sides if side is not None)
                return PixelSize(across, down)
    return NO_PIXEL_SIZE


def _is_whole_slide(item: ElementTree.Element) -> bool:
    kinds = item.findall("./Attribute[@Name='PIM_DP_IMAGE_TYPE']")
    return any((kind.text or "").strip() == "WSI" for kind in kinds)


def of_ome(pixels: ElementTree.Element | None) -> PixelSize:
    """Read PhysicalSizeX and PhysicalSizeY of an OME ``Pixels`` element, in any of OME's units (um by default)."""
    if pixels is None:
        return NO_PIXEL_SIZE
    across, down = (
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"
    )
    return PixelSize(across, down)


def of_imagej(page: Any, metadata: dict[str, Any]) -> PixelSize:
    """Read the resolution tags, in the unit that ImageJ's description names."""
    scale = um_per(str(metadata.get("unit", "")))
    if scale is None:
        return NO_PIXEL_SIZE
    return _of_resolutions(page, scale)


def preferred(stated: PixelSize, tags: PixelSize, *, by: str) -> PixelSize:
    """Return what a text states, or the tags where it states nothing; with a remark where the two contradict.

    Args:
        by: what the text is ("the OME-XML").
    """
    if not stated.known:
        return tags
    assert stated.across is not None
    # 72 dpi and the like are what writers put who know no pixel size: they contradict nothing.
    plausible = tags.across is not None and PLAUSIBLE_MPP[0] <= tags.across <= PLAUSIBLE_MPP[1]
    if plausible and tags.across is not None and abs(tags.across / stated.across - 1) > CONTRADICTION:
        return PixelSize(
            stated.across,
            stated.down,
            f"{by} says {stated.across:.4g} um per px and the TIFF tag {tags.across:.4g} um: {by} is believed, as in "
            "QuPath; set the pixel size in QuPath if it is wrong",
        )
    return stated


def _square(side: float | None) -> PixelSize:
    return PixelSize(side, side) if side is not None and side > 0 else NO_PIXEL_SIZE


def _parsed(xml: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return None
