"""The windows that clicks in a view would use first: what is encoded ahead."""

from __future__ import annotations

from qupath_sam.engine.windows import Scales
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import WindowRequest

#: Windows that are encoded ahead where the caller does not say how many.
DEFAULT_EMBED_WINDOWS = 16


def view_windows(
    scales: Scales, request: WindowRequest, view: Region | None, focus: tuple[float, float] | None, *, limit: int
) -> list[Window]:
    """Return the first windows that clicks in a view would use, nearest to the focus first; or the one that is named.

    Args:
        scales: scales and windows for this image and model.
        request: scale and place as for a click.
        view: level-0 px; the whole image where None.
        focus: level-0 px; the view's centre where None.
        limit: how many windows at most.
    """
    fixed = scales.explicit(request)
    if fixed is not None:
        return [fixed]
    shown = (view or scales.extent).intersection(scales.extent)
    if shown is None:
        return []
    centre = shown.x + shown.width / 2, shown.y + shown.height / 2
    scale = scales.for_request(request)
    if scale is None:
        scale = scales.first(object_extent=None, view_downsample=request.view_downsample)
    return scales.windows_in_view(shown, scale, focus or centre, limit=limit)
