"""Windows that are embedded already, in place of those that the engine would choose: a click there costs no encode."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from qupath_sam.engine.windows import MARGIN_SHARE, OBJECT_SHARE, SMALL_SHARE, ZOOMED_SHARE, Scales
from qupath_sam.types.regions import Window

#: Share of a window's side that must be free round a first click; a window that is chosen for it has a quarter.
CLICK_MARGIN_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class EmbeddedWindows:
    """The windows of one image and model that are embedded.

    Attributes:
        scales: for this image and model.
        is_embedded: says it of one window.
    """

    scales: Scales
    is_embedded: Callable[[Window], bool]

    def in_place_of(self, window: Window, bounds: tuple[float, float, float, float]) -> Window:
        """Return an embedded window of the same scale, or ``window`` where it is embedded itself or none will do.

        Args:
            window: that the engine would choose.
            bounds: of the first click, level-0 px.
        """
        if self.is_embedded(window):
            return window
        others = self.scales.windows_holding(bounds, window.downsample, margin_share=CLICK_MARGIN_SHARE)
        return next((other for other in others if self.is_embedded(other)), window)

    def for_object(self, bounds: tuple[float, float, float, float], *, finer_than: float) -> Window | None:
        """Return a window in which an object is neither small nor large: an embedded one, or else the widest.

        None where there is no such scale.

        Args:
            bounds: of the object and its clicks, level-0 px.
            finer_than: the scale at which it is small, level-0 px per window px.
        """
        side = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / self.scales.input_size
        fitting = [d for d in self.scales.downsamples if d < finer_than and SMALL_SHARE * d <= side <= OBJECT_SHARE * d]
        for downsample in sorted(fitting, key=lambda d: abs(math.log2(side / d / ZOOMED_SHARE))):
            for window in self.scales.windows_holding(bounds, downsample, margin_share=MARGIN_SHARE):
                if self.is_embedded(window):
                    return window
        widest = self.scales.window_around(bounds, max(fitting)) if fitting else None
        return widest if widest is not None and widest.downsample < finer_than else None
