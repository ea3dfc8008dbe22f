"""From a request's examples to a proposer: their outlines, the scale, where candidates come from, the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.automatic.objects import DenseObject, dense_objects
from qupath_sam.engine.automatic.proposer import LEAST_SCORE, AutomaticProposer
from qupath_sam.engine.automatic.watershed import WATERSHEDS
from qupath_sam.engine.like.examples import ExampleWindow, OutlinedExample, example_windows, mask_over, views_of
from qupath_sam.engine.like.proposer import LikeProposer, Sizes
from qupath_sam.engine.like.prototype import Prototype, View
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.engine.region.probe import is_guessed
from qupath_sam.engine.region.proposals import Proposer
from qupath_sam.engine.region.scale import tile_downsample
from qupath_sam.engine.windows import DOWNSAMPLE_RANGE, FINEST_DOWNSAMPLE
from qupath_sam.errors import InvalidPrompt
from qupath_sam.models.base import Embedding
from qupath_sam.models.dense import DenseMaps
from qupath_sam.models.dense_scales import DenseScale
from qupath_sam.models.load import LoadedModel
from qupath_sam.networks.dense_head import DENSE_SIZE
from qupath_sam.slides.base import SlideInfo
from qupath_sam.types.choices import ObjectKind
from qupath_sam.types.region_requests import Example, RegionRequest
from qupath_sam.types.regions import Region

#: Gives the outline of the object under each click (level-0 px), None where there is none.
OutlineClicks = Callable[[Sequence[tuple[float, float]]], Sequence[Polygon | MultiPolygon | None]]

#: Diameters of what a head for nuclei may know, tile px at its own scale.
_NUCLEI_DIAMETERS = 8.0, 72.0
#: The head knows the examples where at least this share of them has an object with this IoU.
_KNOWN_SHARE, _KNOWN_IOU = 0.5, 0.5
#: Without a pixel size some examples are looked at so many times closer; a nucleus has at most so many objects in it,
#: of which this share lies inside (11 glands: 1 to 5, median 4; 9 nuclei: 0 to 4, median 1).
_LOOKED_AT, _CLOSER, _MOST_PARTS, _INSIDE = 4, 3.0, 2.5, 0.6


@dataclass(frozen=True, slots=True)
class LikePlan:
    """How what is like the examples is found.

    Attributes:
        proposer: of each tile.
        downsample: level-0 px per tile px.
        remarks: what is to be said about it.
    """

    proposer: LikeProposer
    downsample: float
    remarks: tuple[str, ...]


def plan_like(
    request: RegionRequest,
    info: SlideInfo,
    loaded: LoadedModel,
    model: RegionModel,
    *,
    tile_size: int,
    outline_clicks: OutlineClicks,
) -> LikePlan:
    """Return how what is like the request's examples is found.

    Args:
        request: with at least one positive example.
        info: of the slide.
        loaded: the model.
        model: reads and encodes the examples' windows.
        tile_size: side of a tile, tile px.
        outline_clicks: outlines the examples that are clicks.

    Raises:
        InvalidPrompt: an example lies outside the image, or a click shows no object.
        InvalidRegion: um per px are asked of an image without a pixel size, or a scale that is of no use.
        SlideUnreadable: the pixels cannot be read.
        OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy: the work could not be done.
    """
    examples = outlined(request.examples, info.extent, outline_clicks)
    areas = sorted(each.outline.area for each in examples if each.is_positive)
    sight = _of_heads(request, info, loaded, model, examples, areas, tile_size) or _of_areas(
        request, info, model, examples, tile_size
    )
    prototype, downsample = Prototype(sight.views), sight.downsample
    threshold = prototype.threshold if request.like_threshold is None else request.like_threshold
    square = downsample**2
    proposer = LikeProposer(
        prototype,
        Sizes(areas[0] / square, float(np.median(areas)) / square, areas[-1] / square),
        threshold=threshold,
        candidates=sight.candidates,
        capabilities=loaded.segmenter.capabilities,
        effort=request.effort,
    )
    remark = f"the examples suggest a likeness of at least {prototype.threshold:.2f}"
    if request.like_threshold is not None:
        remark += f"; {threshold:.2f} was asked for"
    return LikePlan(proposer, downsample, (*sight.remarks, remark))


def outlined(examples: Sequence[Example], extent: Region, outline_clicks: OutlineClicks) -> list[OutlinedExample]:
    """Return the examples with an outline each, in their order.

    Args:
        examples: outlines and clicks.
        extent: where the image has pixels, level-0 px.
        outline_clicks: see `OutlineClicks`.

    Raises:
        InvalidPrompt: an example lies outside the image, or a click shows no object.
    """
    for each in examples:
        x, y = each.place if isinstance(each.place, tuple) else each.place.representative_point().coords[0]
        if not extent.contains(x, y):
            raise InvalidPrompt(
                f"an example lies at {x:.0f}, {y:.0f}, outside the image's pixels {extent.bounds}; give one inside"
            )
    clicks = [each.place for each in examples if isinstance(each.place, tuple)]
    answers = iter(outline_clicks(clicks) if clicks else ())
    found = []
    for each in examples:
        outline = next(answers) if isinstance(each.place, tuple) else each.place
        if outline is None:
            raise InvalidPrompt(f"no object is seen under the example's click at {each.place}; give its outline")
        found.append(OutlinedExample(outline, each.label))
    return found


@dataclass(frozen=True, slots=True)
class _Sight:
    """The examples at a scale, and what proposes candidates at it; None for the areas that are like them."""

    views: list[View]
    downsample: float
    candidates: Proposer | None
    remarks: tuple[str, ...]


def _of_heads(
    request: RegionRequest,
    info: SlideInfo,
    loaded: LoadedModel,
    model: RegionModel,
    examples: Sequence[OutlinedExample],
    areas: Sequence[float],
    tile_size: int,
) -> _Sight | None:
    """Return the examples at the scale of the first dense head that knows such objects; None where there is none."""
    diameter = 2 * math.sqrt(float(np.median(areas)) / math.pi)
    asked = _asked_downsample(request, info)
    for objects, maps in loaded.dense.items():
        if objects is ObjectKind.NUCLEI:
            downsample = _nuclei_downsample(asked, info, diameter, maps.scale)
        else:
            # Glands differ in size more than nuclei do: the examples say it.
            least = max(DOWNSAMPLE_RANGE[0], FINEST_DOWNSAMPLE * info.finest_downsample)
            widest = maps.scale.beyond * max(info.extent.width, info.extent.height) / tile_size
            downsample = asked or max(least, min(diameter / maps.scale.diameter, widest))
        if downsample is not None and (
            sight := _of_head(request, info, loaded, maps, model, examples, downsample, tile_size)
        ):
            return sight
    return None


def _of_head(
    request: RegionRequest,
    info: SlideInfo,
    loaded: LoadedModel,
    maps: DenseMaps,
    model: RegionModel,
    examples: Sequence[OutlinedExample],
    downsample: float,
    tile_size: int,
) -> _Sight | None:
    """Return the examples at the scale of a dense head; None where it does not know such objects."""
    known = _Known(maps, model)
    windows = example_windows(examples, downsample=downsample, tile_size=tile_size)
    views = views_of(windows, model, info.extent, look=known)
    if not known.is_enough:
        return None
    is_of_nuclei = maps.objects is ObjectKind.NUCLEI
    if (
        is_of_nuclei
        and is_guessed(request, info)
        and _are_made_of_objects(examples, maps, model, downsample, tile_size)
    ):
        return None
    score = request.filter.min_score
    candidates = AutomaticProposer(
        maps,
        loaded.segmenter.capabilities,
        effort=request.effort,
        min_score=LEAST_SCORE if score is None else score,
    )
    return _Sight(views, downsample, candidates, (f"candidates are proposed by the dense head {maps.sha256[:12]}",))


def _of_areas(
    request: RegionRequest, info: SlideInfo, model: RegionModel, examples: Sequence[OutlinedExample], tile_size: int
) -> _Sight:
    """Return the examples at the scale that suits the largest of them."""
    with_outlines = replace(request, examples=tuple(Example(each.outline, each.label) for each in examples))
    downsample, remarks = tile_downsample(with_outlines, info, tile_size)
    windows = example_windows(examples, downsample=downsample, tile_size=tile_size)
    return _Sight(views_of(windows, model, info.extent), downsample, None, remarks)


def _asked_downsample(request: RegionRequest, info: SlideInfo) -> float | None:
    if request.downsample is None and request.mpp is not None and info.mpp is not None:
        return request.mpp / info.mpp
    return request.downsample


def _nuclei_downsample(asked: float | None, info: SlideInfo, diameter: float, scale: DenseScale) -> float | None:
    """Return the scale at which a head for nuclei would look; None where the examples are no nuclei there."""
    if asked is not None:
        downsample = asked
    elif info.mpp is not None:
        downsample = max(FINEST_DOWNSAMPLE * info.finest_downsample, scale.mpp / info.mpp)
    else:
        downsample = max(DOWNSAMPLE_RANGE[0], info.finest_downsample / 4, diameter / scale.diameter)
    least, most = _NUCLEI_DIAMETERS
    return downsample if least <= diameter / downsample <= most else None


def _are_made_of_objects(
    examples: Sequence[OutlinedExample], maps: DenseMaps, model: RegionModel, downsample: float, tile_size: int
) -> bool:
    """Return whether a closer look shows several objects in the examples: a small gland looks like a large nucleus."""
    positives = [each for each in examples if each.is_positive][:_LOOKED_AT]
    counts = []
    for window in example_windows(positives, downsample=downsample / _CLOSER, tile_size=tile_size):
        pixels, embedding = model.read(window.window), model.embedding(window.window)
        found = dense_objects(model.run(lambda p=pixels, e=embedding: maps(p, e)), WATERSHEDS[maps.objects])  # type: ignore[misc]
        found = [each for each in found if each.score >= LEAST_SCORE]
        for example in window.examples:
            mask = mask_over(example.outline, window.window, DENSE_SIZE)
            counts.append(sum(_share_in(mask, each) > _INSIDE for each in found))
    return float(np.median(counts)) > _MOST_PARTS


class _Known:
    """Counts the positive examples that a dense head proposes, window by window."""

    def __init__(self, maps: DenseMaps, model: RegionModel) -> None:
        self._maps = maps
        self._model = model
        self._seen = self._known = 0

    def __call__(self, window: ExampleWindow, pixels: NDArray[np.uint8], embedding: Embedding) -> None:
        """Count those of one window."""
        found = dense_objects(self._model.run(lambda: self._maps(pixels, embedding)), WATERSHEDS[self._maps.objects])
        for example in window.examples:
            if example.is_positive:
                self._seen += 1
                mask = mask_over(example.outline, window.window, DENSE_SIZE)
                self._known += any(_iou(mask, each) >= _KNOWN_IOU for each in found)

    @property
    def is_enough(self) -> bool:
        """Whether the head knows such objects."""
        return self._known >= _KNOWN_SHARE * self._seen > 0


def _share_in(mask: NDArray[np.bool_], found: DenseObject) -> float:
    left, top = found.at
    height, width = found.mask.shape
    return int(np.count_nonzero(mask[top : top + height, left : left + width] & found.mask)) / found.area


def _iou(mask: NDArray[np.bool_], found: DenseObject) -> float:
    left, top = found.at
    height, width = found.mask.shape
    both = int(np.count_nonzero(mask[top : top + height, left : left + width] & found.mask))
    return both / max(int(np.count_nonzero(mask)) + found.area - both, 1)
