"""When an answer should not be taken unseen: the model doubts it itself, or it runs away from what was clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qupath_sam.engine.windows import USUAL_MPP, VIEW_WINDOW_PX, Scales
from qupath_sam.slides.tissue import TissueEstimate
from qupath_sam.types.prompts import Label, ObjectPrompts
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.results import Doubt, Outline

#: A score below this is a doubt. Of 21 clicks on slides with the model of 0.1.0, all 13 wrong answers scored at most
#: .44 and six of the seven right ones at least .53; it is not calibrated beyond these.
LOW_SCORE = 0.5
#: An outline is large from this many times the side of what a person sees on, or from this share of a slide's tissue.
VIEWS, TISSUE_SHARE = 4, 0.25
#: An image is a slide from this length of its longer side on, um: one object may fill a smaller one.
SLIDE_UM = 1000.0
#: An outline round a click on glass is mostly glass from this share of its area on.
GLASS_SHARE = 0.5


def doubts_of(
    outlines: Sequence[Outline],
    prompts: ObjectPrompts,
    *,
    request: WindowRequest,
    scales: Scales,
    tissue: Callable[[], TissueEstimate | None] = lambda: None,
) -> tuple[Doubt, ...]:
    """Return the doubts about the best of an object's outlines; none where there is no outline.

    Size and place are no reason to doubt where a box or an outline says them; size is none where the caller chose the
    window either.

    Args:
        outlines: the likeliest first, level-0 px.
        prompts: of the object.
        request: what the caller said about the window.
        scales: of the image and the model.
        tissue: gives the image's tissue, where it is known; is called for slides alone.
    """
    if not outlines:
        return ()
    best = outlines[0]
    doubts = [Doubt.LOW_SCORE] if best.score < LOW_SCORE else []
    if prompts.box is not None or prompts.outline is not None:
        return tuple(doubts)
    estimate = tissue() if is_slide(scales) else None
    chosen = request.region is not None or request.downsample is not None or request.mpp is not None
    area = None if estimate is None else estimate.tissue_area
    bounds = best.geometry.bounds
    if not chosen and is_large(bounds, best.area_px2, request=request, scales=scales, tissue_area=area):
        doubts.append(Doubt.LARGE)
    if estimate is not None and _is_background(best, prompts, estimate):
        doubts.append(Doubt.BACKGROUND)
    return tuple(doubts)


def is_slide(scales: Scales) -> bool:
    """Return whether an image is so large that no object fills it, by its size in um."""
    longer = max(scales.extent.width, scales.extent.height)
    return longer * (scales.mpp or USUAL_MPP) > SLIDE_UM


def is_large(
    bounds: tuple[float, float, float, float],
    area: float,
    *,
    request: WindowRequest,
    scales: Scales,
    tissue_area: float | None = None,
) -> bool:
    """Return whether an answer runs away: it is larger than what a person sees, or a large share of a slide's tissue.

    Args:
        bounds: of the answer, level-0 px.
        area: of the answer, level-0 px2.
        request: what the caller said about the window.
        scales: of the image and the model.
        tissue_area: of the image, level-0 px2; None takes all of it as tissue.
    """
    min_x, min_y, max_x, max_y = bounds
    longer = max(max_x - min_x, max_y - min_y)
    if request.view_downsample > 0 and longer > VIEWS * 2 * VIEW_WINDOW_PX * request.view_downsample:
        return True
    whole = scales.extent.width * scales.extent.height if tissue_area is None else tissue_area
    return is_slide(scales) and area > TISSUE_SHARE * whole


def _is_background(outline: Outline, prompts: ObjectPrompts, tissue: TissueEstimate) -> bool:
    """Return whether a positive click lies on glass, and so does most of the answer."""
    points = [point for click in prompts.clicks if click.label is Label.POSITIVE for point in click.points]
    return any(tissue.is_glass(*point) for point in points) and tissue.glass_share(outline.geometry) > GLASS_SHARE
