"""Files that name a slide and hold its pixels elsewhere: refused by name, before a decoder sees them."""

from __future__ import annotations

import os
from pathlib import Path

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides.location import Location

_ELSEWHERE = {
    ".vsi": (
        "is an Olympus container, whose pixels lie in the folder _NAME_ beside it (frame_t.ets); the picture inside is "
        "a thumbnail"
    ),
    ".ets": "is a part of an Olympus slide (.vsi) without its description",
    ".ndpis": "lists the NDPI files of a fluorescence slide, one for each colour",
    ".afi": "lists the SVS files of a fluorescence slide, one for each colour",
    ".companion.ome": "describes OME-TIFF files that lie beside it",
}


def check_not_elsewhere(location: Location) -> None:
    """Refuse a file whose pixels lie in other files, and a MIRAX slide that was copied without its folder.

    Raises:
        SlideUnsupported: such a container; the message says where its pixels are.
        SlideUnreadable: the folder of a MIRAX slide is missing.
    """
    name = location.name.lower()
    for suffix, why in _ELSEWHERE.items():
        if name.endswith(suffix):
            raise SlideUnsupported(
                f"{location.given} {why}: it cannot be read here; export it as OME-TIFF, or push the pixels from QuPath"
            )
    if name.endswith(".mrxs") and not location.is_url:
        folder = Path(os.path.splitext(os.path.realpath(location.path))[0])
        if not (folder / "Slidedat.ini").is_file():
            raise SlideUnreadable(
                f"{location.given} is the smaller part of a MIRAX slide: its folder {folder.name}/ with the pixels is "
                "missing beside it; copy both"
            )
