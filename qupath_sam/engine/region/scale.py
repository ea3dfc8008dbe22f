"""At which scale the tiles of a region are read."""

from __future__ import annotations

import shapely

from qupath_sam.engine.region.tiling import OVERLAP_SHARE
from qupath_sam.engine.windows import DOWNSAMPLE_RANGE, FINEST_DOWNSAMPLE
from qupath_sam.errors import InvalidRegion
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.slides.base import SlideInfo
from qupath_sam.types.choices import ObjectKind
from qupath_sam.types.prompts import Label
from qupath_sam.types.region_requests import RegionRequest

#: The overlap of two tiles is so many times as long as the largest example.
EXAMPLE_MARGIN = 1.25


def tile_downsample(request: RegionRequest, info: SlideInfo, tile_size: int) -> tuple[float, tuple[str, ...]]:
    """Return level-0 px per tile px, and what is to be said about it.

    Args:
        request: may state the scale, or have examples with outlines.
        info: of the slide.
        tile_size: side of a tile, tile px.

    Raises:
        InvalidRegion: um per px are asked of an image without a pixel size, or a scale that is of no use.
    """
    finest, coarsest = DOWNSAMPLE_RANGE
    if request.mpp is not None and info.mpp is None:
        raise InvalidRegion("the image has no pixel size: give a downsample instead of um per pixel")
    asked = request.downsample
    if request.mpp is not None and info.mpp is not None:
        asked = request.mpp / info.mpp
    if asked is not None:
        if not finest <= asked <= coarsest:
            raise InvalidRegion(f"a downsample of {asked:g} is of no use; ask for {finest:g} to {coarsest:g}")
        return asked, ()
    longest = _longest_example(request)
    least = FINEST_DOWNSAMPLE * info.finest_downsample
    if longest is not None:
        return max(least, longest * EXAMPLE_MARGIN / (OVERLAP_SHARE * tile_size)), ()
    mpp, mpp_of_nuclei = (DENSE_SCALES[each].mpp for each in (request.objects, ObjectKind.NUCLEI))
    if info.mpp is not None:
        return max(least, mpp / info.mpp), ()
    remark = (
        f"the image has no pixel size: tiles are read as if a pixel had {mpp_of_nuclei} um; "
        "state the pixel size or a downsample if objects are missed"
    )
    return max(1.0, info.finest_downsample) * mpp / mpp_of_nuclei, (remark,)


def _longest_example(request: RegionRequest) -> float | None:
    """Return the longer side of the largest positive example that has an outline, level-0 px."""
    sides = [
        max(bounds[2] - bounds[0], bounds[3] - bounds[1])
        for example in request.examples
        if example.label is Label.POSITIVE and isinstance(example.place, shapely.Geometry)
        for bounds in [example.place.bounds]
    ]
    return max(sides, default=None)
