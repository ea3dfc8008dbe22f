"""The scale of an image without a pixel size: a few tiles are looked at, and their objects say it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.automatic.objects import DenseObject, dense_objects
from qupath_sam.engine.automatic.scale import suited_downsample
from qupath_sam.engine.automatic.watershed import WATERSHEDS
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.engine.windows import DOWNSAMPLE_RANGE
from qupath_sam.models.dense import DenseMaps
from qupath_sam.slides.base import SlideInfo
from qupath_sam.types.region_requests import RegionRequest
from qupath_sam.types.regions import Region, Window

#: Tiles that are looked at along each side of the region, at most.
_PROBES_A_SIDE = 2
#: Scales are rounded to this many steps an octave, so that a region and its neighbour are read alike.
_STEPS_AN_OCTAVE = 4


def is_guessed(request: RegionRequest, info: SlideInfo) -> bool:
    """Return whether nothing says the scale of a request's tiles."""
    return info.mpp is None and request.downsample is None and request.mpp is None


def probed_downsample(
    model: RegionModel,
    maps: DenseMaps,
    info: SlideInfo,
    place: Polygon | MultiPolygon,
    *,
    tile_size: int,
    start: float,
    otherwise: tuple[str, ...],
) -> tuple[float, tuple[str, ...]]:
    """Return level-0 px per tile px at which objects suit a dense head, and what is to be said.

    Args:
        model: encodes the tiles.
        maps: the head.
        info: of the slide.
        place: the region, level-0 px.
        tile_size: side of a tile, tile px.
        start: downsample to look at first; the answer where no object says more.
        otherwise: what is to be said then.

    Raises:
        SlideUnreadable: the pixels cannot be read.
        OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy: the work could not be done.
    """

    def look(downsample: float) -> list[DenseObject]:
        found: list[DenseObject] = []
        for window in _probes(place, tile_size, downsample):
            pixels, embedding = model.read(window), model.embedding(window)
            found += dense_objects(model.run(lambda p=pixels, e=embedding: maps(p, e)), WATERSHEDS[maps.objects])  # type: ignore[misc]
        return found

    finest, coarsest = DOWNSAMPLE_RANGE
    min_x, min_y, max_x, max_y = place.bounds
    widest = maps.scale.beyond * max(max_x - min_x, max_y - min_y) / tile_size
    least = max(finest, info.finest_downsample / 4)
    limits = least, max(least, min(coarsest, widest))
    start = min(start, limits[1])
    seen = suited_downsample(look, start=start, limits=limits, wanted=maps.scale.diameter)
    if seen is None:
        return start, otherwise
    rounded = float(2 ** (np.round(np.log2(seen) * _STEPS_AN_OCTAVE) / _STEPS_AN_OCTAVE))
    downsample = min(max(rounded, limits[0]), limits[1])
    remark = (
        f"the image has no pixel size: its objects suggest a downsample of {downsample:.3g}, at which they have about "
        f"{maps.scale.diameter:.0f} px; state the pixel size or a downsample if objects are missed"
    )
    return downsample, (remark,)


def _probes(place: Polygon | MultiPolygon, tile_size: int, downsample: float) -> Iterator[Window]:
    """Yield windows spread over the bounding box of a region."""
    side = max(1, round(tile_size * downsample))
    min_x, min_y, max_x, max_y = place.bounds
    for y in _starts(min_y, max_y, side):
        for x in _starts(min_x, max_x, side):
            yield Window(Region(x, y, side, side), tile_size, tile_size)


def _starts(low: float, high: float, side: int) -> list[int]:
    """Return starts of windows in the middle of equal parts of a span, one where it holds no more than one."""
    count = min(_PROBES_A_SIDE, max(1, int((high - low) // side)))
    part = (high - low) / count
    return [round(low + (index + 0.5) * part - side / 2) for index in range(count)]
