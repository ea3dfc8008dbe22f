"""A running call about one plane of a stack, of a model that remembers the planes before."""

from __future__ import annotations

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.call import RunningCall
from qupath_sam.engine.step import State
from qupath_sam.engine.tracking import ModelKey
from qupath_sam.engine.windows import MARGIN_SHARE, SMALL_SHARE
from qupath_sam.models.load import LoadedModel
from qupath_sam.models.tracking import MemoryBank, Tracker, tracker_of
from qupath_sam.types.masks import Mask
from qupath_sam.types.regions import Window
from qupath_sam.types.requests import ObjectRequest, WindowRequest
from qupath_sam.types.results import ObjectResult


class TrackingCall:
    """See `qupath_sam.engine.tracking.TracksPlane`.

    Args:
        run: the call.
        tracker: of its model.
        model: names it.
        image: fingerprint of the plane's pixels.
        request: what the caller says about the window.
    """

    def __init__(
        self, run: RunningCall, tracker: Tracker, *, model: ModelKey, image: str, request: WindowRequest
    ) -> None:
        self.model = model
        self.image = image
        self._run = run
        self._tracker = tracker
        self._request = request

    @classmethod
    def of(cls, run: RunningCall, loaded: LoadedModel, image: str, request: WindowRequest) -> TrackingCall | None:
        """Return the call of a model that has a memory; None for another model."""
        tracker = tracker_of(loaded.segmenter)
        if tracker is None:
            return None
        model = loaded.spec.name, loaded.weights_sha256, loaded.segmenter.preprocessing_version
        return cls(run, tracker, model=model, image=image, request=request)

    def first_window(self, outline: Polygon | MultiPolygon, *, margin_share: float) -> Window:
        """Return the window that the caller asks for, or the one in which the outline would be refined."""
        scales = self._run.scales
        window = scales.explicit(self._request)
        if window is not None:
            return window
        bounds = _grown(outline, margin_share)
        downsample = scales.for_request(self._request)
        if downsample is not None:
            return scales.window_at((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, downsample)
        return scales.window_around(bounds, scales.for_object(max(bounds[2] - bounds[0], bounds[3] - bounds[1])))

    def still_fits(self, outline: Polygon | MultiPolygon, window: Window) -> bool:
        """Return whether the object lies well inside of the window, and is not small there."""
        scales = self._run.scales
        if (asked := scales.explicit(self._request)) is not None:
            return asked == window
        side = window.region.width
        downsample = scales.for_request(self._request)
        if downsample is not None and abs(window.downsample / downsample - 1) > 1e-6:
            return False
        min_x, min_y, max_x, max_y = outline.bounds
        is_small = max(max_x - min_x, max_y - min_y) < SMALL_SHARE * side
        if downsample is None and is_small and window.downsample > scales.downsamples[0]:
            return False
        return scales.holds(window, outline.bounds, MARGIN_SHARE * side)

    def remember(self, window: Window, mask: Mask) -> MemoryBank:
        """Begin a memory with a mask on this plane."""
        return self._run.on_embedding(window, lambda embedding: self._tracker.remember(embedding, mask))

    def track(self, item: ObjectRequest, window: Window, bank: MemoryBank) -> tuple[ObjectResult, MemoryBank]:
        """Find the object on this plane."""
        masks, after = self._run.on_embedding(window, lambda embedding: self._tracker.track(embedding, bank))
        return self._run.result(item, State.of(window, masks)), after


def _grown(outline: Polygon | MultiPolygon, share: float) -> tuple[float, float, float, float]:
    """Return an outline's bounds, wider by a share of the longer side all round."""
    min_x, min_y, max_x, max_y = outline.bounds
    margin = share * max(max_x - min_x, max_y - min_y)
    return min_x - margin, min_y - margin, max_x + margin, max_y + margin
