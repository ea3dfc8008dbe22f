"""What a first click may have meant: the masks of all looks of its step, told apart and put in order.

A click on a nucleus may mean the nucleus, its gland or the tumour. SAM answers such a prompt with three masks of one
window (Kirillov et al. 2023, sec. 3, "Resolving ambiguity"). Here every window that the step looked at brings masks, of
each decoder one or more: a coarse one shows the region, a fine one the part. No pixels, no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from qupath_sam.engine.doubts import LOW_SCORE, is_large
from qupath_sam.engine.logits import carry_logits
from qupath_sam.engine.step import Candidate, State
from qupath_sam.engine.step_bounds import longer_side, mask_bounds, touches_edge
from qupath_sam.engine.windows import DOWNSAMPLE_RANGE, VIEW_WINDOW_PX, Scales
from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import MaskChoice, WindowRequest

#: Most masks to choose from: part, object and region.
MOST_CANDIDATES = 3
#: Beside the best mask one with a lower score is none to choose: the model itself expects it to have nothing to do with
#: the object, and some are the clicked px alone.
LEAST_SCORE = 0.1
#: Of two masks with a larger IoU a person would see one outline.
SAME_IOU = 0.85
#: A person clicks on what is neither tiny nor far larger than what they look at: its longer side fills this share of
#: 512 screen px, or of the window that they ask for. On training groups, where objects fill 1/24 to 1.8 of it, the
#: first mask loses in no kind by it; tighter limits gain more where they fit, and lose nuclei or regions where they do
#: not (docs/science/experiments.md, "What a first click may mean").
SMALLEST_SHARE, LARGEST_SHARE = 1 / 32, 4.0


def distinct(first: Sequence[Candidate], others: Iterable[Candidate], *, extent: Region) -> tuple[Candidate, ...]:
    """Return the masks that a person can choose from: ``first`` in its order, then the others by falling score.

    Of the others those are left out that are empty, cut off at an edge of their window, below `LEAST_SCORE`, or nearly
    the same as one before them.

    Args:
        first: that stay in any case; of two that are nearly the same, the one that comes first.
        others: of any windows.
        extent: where the image has pixels, level-0 px.
    """
    offered = [
        each
        for each in others
        if each.score >= LEAST_SCORE and each.mask.any() and not touches_edge(each.mask, each.window, extent)
    ]
    # Of a window that was decoded twice the refined mask comes first.
    offered.sort(key=lambda each: (-each.score, not each.refined))
    kept: list[Candidate] = []
    shown: list[Candidate] = []
    for each in (*first, *offered):
        inside = _inside(each, extent)
        if not any(are_same(inside, other) for other in shown):
            kept.append(each)
            shown.append(inside)
    return tuple(kept)


def _inside(candidate: Candidate, extent: Region) -> Candidate:
    """Return a mask without what lies beyond the image, which is white there: nobody is shown that part."""
    region = candidate.window.region
    if extent.encloses(region):
        return candidate
    height, width = candidate.mask.shape
    rows, columns = (
        (low <= start + (np.arange(px) + 0.5) * side / px) & (start + (np.arange(px) + 0.5) * side / px < high)
        for low, high, start, side, px in (
            (extent.y, extent.bottom, region.y, region.height, height),
            (extent.x, extent.right, region.x, region.width, width),
        )
    )
    at_rows, at_columns = (np.arange(LOW_RES_SIZE) * px // LOW_RES_SIZE for px in (height, width))
    there = rows[at_rows][:, None] & columns[at_columns]
    logits = np.where(there, candidate.logits, -1).astype(np.float32)
    return replace(candidate, mask=candidate.mask & rows[:, None] & columns, logits=logits)


def are_same(one: Candidate, other: Candidate) -> bool:
    """Return whether the IoU of two masks, whichever windows they lie in, is above `SAME_IOU`."""
    smaller, larger = sorted((area_of(one), area_of(other)))
    if smaller <= SAME_IOU * larger:
        return one is other or larger == 0
    if one.window == other.window:
        return bool(np.count_nonzero(one.mask & other.mask) > SAME_IOU * np.count_nonzero(one.mask | other.mask))
    # On the low-resolution grid of the finer window, which may show a part of the coarser mask only.
    coarse, fine = sorted((one, other), key=lambda each: -each.window.region.width)
    cells = [each.window.region.width * each.window.region.height / LOW_RES_SIZE**2 for each in (coarse, fine)]
    seen = fine.logits > 0, carry_logits(coarse.logits, coarse.window, fine.window) > 0
    common = np.count_nonzero(seen[0] & seen[1]) * cells[1]
    both = np.count_nonzero(coarse.logits > 0) * cells[0] + np.count_nonzero(fine.logits > 0) * cells[1]
    return bool(common > SAME_IOU * (both - common))


def area_of(candidate: Candidate) -> float:
    """Return the area of a mask, level-0 px2."""
    region = candidate.window.region
    return float(np.count_nonzero(candidate.mask)) / candidate.mask.size * region.width * region.height


def runs_away(candidate: Candidate, *, request: WindowRequest, scales: Scales) -> bool:
    """Return whether the model doubts a mask that is larger than its window, or than what a person may have meant.

    Args:
        candidate: the mask.
        request: what the caller says about the window.
        scales: of the image and the model.
    """
    bounds = mask_bounds(State((candidate,)))
    if bounds is None or candidate.score >= LOW_SCORE:
        return False
    if touches_edge(candidate.mask, candidate.window, scales.extent):
        return True
    return is_large(bounds, area_of(candidate), request=request, scales=scales)


def choose(candidates: Sequence[Candidate], choice: MaskChoice) -> int:
    """Return the index of the mask that a choice names; of the smallest, one that is not empty."""
    if choice in (MaskChoice.BEST, MaskChoice.ALL) or len(candidates) == 1:
        return 0
    areas = np.array([area_of(each) for each in candidates])
    if choice is MaskChoice.LARGEST:
        return int(np.argmax(areas))
    filled = np.flatnonzero(areas)
    return int(filled[np.argmin(areas[filled])]) if filled.size else 0


def in_order(candidates: Iterable[Candidate], *, request: WindowRequest, scales: Scales) -> tuple[Candidate, ...]:
    """Return masks in the order in which a person is likely to mean them: by score, and by size in what they look at.

    A score counts in full where the mask's longer side lies between `SMALLEST_SHARE` and `LARGEST_SHARE` of the view or
    of the caller's window, and less by the factor by which it lies outside. Where nothing is known of what a person
    looks at, it counts in full. An empty mask comes last.

    Args:
        candidates: in the order that holds among equals.
        request: what the caller says about the window.
        scales: of the image and the model.
    """
    side = _seen_side(request, scales)
    return tuple(sorted(candidates, key=lambda each: -each.score * _size_factor(each, side)))


def _seen_side(request: WindowRequest, scales: Scales) -> float | None:
    """Return the side of what a person looks at, level-0 px; None where that is not known."""
    if request.view_downsample > 0:
        return VIEW_WINDOW_PX * min(max(request.view_downsample, DOWNSAMPLE_RANGE[0]), DOWNSAMPLE_RANGE[1])
    if request.region is not None:
        return float(max(request.region.width, request.region.height))
    downsample = scales.for_request(request)
    return None if downsample is None else scales.input_size * downsample


def _size_factor(candidate: Candidate, side: float | None) -> float:
    """Return 1 for a mask of a likely size in a view of this side (level-0 px), less for others; 0 for an empty one."""
    bounds = mask_bounds(State((candidate,)))
    if bounds is None:
        return 0.0
    if side is None:
        return 1.0
    share = longer_side(bounds) / side
    return min(1.0, share / SMALLEST_SHARE, LARGEST_SHARE / share)
