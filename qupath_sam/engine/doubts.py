"""When an answer should not be taken unseen: the model doubts it itself, or it runs away from what was clicked."""

from __future__ import annotations

from collections.abc import Sequence

from qupath_sam.engine.windows import VIEW_WINDOW_PX, Scales
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.results import Doubt, Outline

#: A score below this is a doubt. Of 21 clicks on slides with the model of 0.1.0, all 13 wrong answers scored at most
#: .44 and six of the seven right ones at least .53; it is not calibrated beyond these.
LOW_SCORE = 0.5
#: An outline is large from this many times the side of what a person sees on, or from this share of the image's area,
#: where the image is larger than so many windows of the model's own scale.
VIEWS, IMAGE_SHARE, LARGE_IMAGE_WINDOWS = 4, 0.25, 4


def doubts_of(
    outlines: Sequence[Outline], prompts: ObjectPrompts, *, request: WindowRequest, scales: Scales
) -> tuple[Doubt, ...]:
    """Return the doubts about the best of an object's outlines; none where there is no outline.

    Size is no reason to doubt where a box or an outline says how large the object is, or the caller chose the window.

    Args:
        outlines: best score first, level-0 px.
        prompts: of the object.
        request: what the caller said about the window.
        scales: of the image and the model.
    """
    if not outlines:
        return ()
    best = outlines[0]
    doubts = [Doubt.LOW_SCORE] if best.score < LOW_SCORE else []
    says_size = prompts.box is not None or prompts.outline is not None
    chosen = request.region is not None or request.downsample is not None or request.mpp is not None
    if not (says_size or chosen) and is_large(best.geometry.bounds, best.area_px2, request=request, scales=scales):
        doubts.append(Doubt.LARGE)
    return tuple(doubts)


def is_large(bounds: tuple[float, float, float, float], area: float, *, request: WindowRequest, scales: Scales) -> bool:
    """Return whether an answer runs away: it is larger than what a person sees, or a large share of a slide.

    Args:
        bounds: of the answer, level-0 px.
        area: of the answer, level-0 px2.
        request: what the caller said about the window.
        scales: of the image and the model.
    """
    min_x, min_y, max_x, max_y = bounds
    longer = max(max_x - min_x, max_y - min_y)
    if request.view_downsample > 0 and longer > VIEWS * 2 * VIEW_WINDOW_PX * request.view_downsample:
        return True
    extent = scales.extent
    window = scales.input_size * scales.default_downsample
    is_slide = max(extent.width, extent.height) > LARGE_IMAGE_WINDOWS * window
    return is_slide and area > IMAGE_SHARE * extent.width * extent.height
