"""Which pixels a click uses: its scale, windows on a half-window grid, and when to change the scale.

A model that sees 256 px sees a quarter of a gland at 0.5 um/px. So the scale follows the object: the first one comes
from the box or outline, the caller's view, or the model's default; a mask that runs into its window's edge is taken
again at a coarser scale, a small one at a finer scale. All of it is pure arithmetic on level-0 px: the same prompts
give the same windows. Windows snap to a grid of half their size, so that neighbouring clicks share one embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qupath_sam.errors import InvalidRegion, RequestTooLarge
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import WindowRequest

#: Finest and coarsest scale in um per window px (issue 3: "0.25 to 8 um/px or so"); finer than 0.25 only by
#: enlarging what the slide has, which small nuclei gain from (docs/science/experiments.md).
FINEST_MPP, COARSEST_MPP = 0.12, 10.0
#: um per level-0 px of an image that states none: a slide scanned at 20x.
USUAL_MPP = 0.5
#: The most that level-0 px are enlarged.
FINEST_DOWNSAMPLE = 0.25
#: A person looks at an object of about this many screen px; the first window shows twice as much.
VIEW_WINDOW_PX = 512
#: Share of the window that an object should fill: the scale nearest to it is taken.
OBJECT_SHARE = 0.5
#: From this input size on (window px) a window holds an object and much round it. Its rules are those that first clicks
#: of such a model gain from on training groups (docs/science/experiments.md, "Windows of 1024 px").
LARGE_INPUT = 1000
#: With a large input the first window of a small image shows at most this share of its longer side.
SMALL_IMAGE_SHARE = 0.5
#: With a large input a person who looks from so far, um per screen px, is shown twice `VIEW_WINDOW_PX`: there a region
#: fills the screen, and several share a window.
FAR_VIEW_MPP = 1.5
#: An object with a box or outline keeps at least this share of the window free on each side.
MARGIN_SHARE = 1 / 16
#: Share of the window that a clicked object should fill after zooming in. Less than `OBJECT_SHARE`: a
#: click says nothing of an object's size, and what is next to it tells where it ends (docs/science/experiments.md).
ZOOMED_SHARE = 1 / 4
#: A mask whose longer side is below this share of its window is small: half of what its own scale would show.
SMALL_SHARE = ZOOMED_SHARE / 2
#: The scales that a caller may ask for, level-0 px per window px: beyond them there is nothing to see.
DOWNSAMPLE_RANGE = (1 / 128, 65_536.0)
#: Most px of a window that a caller asks for by region and scale.
MAX_WINDOW_PX = 4096 * 4096


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales at which one model may look at one image.

    Attributes:
        downsamples: level-0 px per window px, powers of two, finest first.
        input_size: side of the model's square window, window px.
        extent: where the image has pixels, level-0 px.
        mpp: um per level-0 px, or None.
        default_downsample: the scale where nothing is known of the object.
    """

    downsamples: tuple[float, ...]
    input_size: int
    extent: Region
    mpp: float | None
    default_downsample: float

    @classmethod
    def of(
        cls,
        *,
        extent: Region,
        mpp: float | None,
        input_size: int,
        default_mpp: float,
        finest_downsample: float = 1.0,
    ) -> Scales:
        """Return the scales for an image.

        Args:
            extent: where the image has pixels, level-0 px.
            mpp: um per level-0 px, or None: then scales are downsamples and the default is ``default_mpp`` taken at
                `USUAL_MPP`. Never coarser than shows the whole image.
            input_size: side of the model's window, window px.
            default_mpp: the model's own scale, um per window px.
            finest_downsample: scale at which pixels exist; pushed pixels start above 1.
        """
        covering = max(extent.width, extent.height) / input_size
        floor = FINEST_DOWNSAMPLE * finest_downsample
        exponent_low = math.ceil(math.log2(floor) - 1e-9)
        exponent_high = max(exponent_low, math.ceil(math.log2(covering) - 1e-9))
        downsamples = [2.0**k for k in range(exponent_low, exponent_high + 1)]
        if mpp is not None:
            believable = [d for d in downsamples if FINEST_MPP <= d * mpp <= COARSEST_MPP]
            downsamples = believable or [min(downsamples, key=lambda d: abs(math.log2(d * mpp)))]
        wanted = default_mpp / (USUAL_MPP if mpp is None else mpp)
        # A window that shows the whole of a small image has nothing to gain from being coarser.
        coarsest = covering * (SMALL_IMAGE_SHARE if input_size >= LARGE_INPUT else 1)
        return cls(tuple(downsamples), input_size, extent, mpp, _nearest(downsamples, min(wanted, coarsest)))

    @property
    def is_large_input(self) -> bool:
        """Whether a window holds an object and much round it."""
        return self.input_size >= LARGE_INPUT

    def first(self, *, object_extent: float | None, view_downsample: float) -> float:
        """Return the scale for an object that has no mask yet.

        Args:
            object_extent: longer side of the box, outline or clicks round the object, level-0 px; None where
                a click says nothing of its size.
            view_downsample: as in `WindowRequest`.
        """
        if object_extent is not None:
            return self.for_object(object_extent)
        if view_downsample > 0:
            seen = min(max(view_downsample, DOWNSAMPLE_RANGE[0]), DOWNSAMPLE_RANGE[1])
            is_far = self.is_large_input and self.mpp is not None and seen * self.mpp >= FAR_VIEW_MPP
            return _nearest(self.downsamples, seen * VIEW_WINDOW_PX * (2 if is_far else 1) / self.input_size)
        return self.default_downsample

    def for_object(self, object_extent: float, *, share: float = OBJECT_SHARE) -> float:
        """Return the scale at which an object of this longer side (level-0 px) fills about this share of the window."""
        return _nearest(self.downsamples, max(object_extent, 1e-6) / (share * self.input_size))

    def coarser(self, downsample: float) -> float | None:
        """Return the next coarser scale, or None at the coarsest."""
        return next((d for d in self.downsamples if d > downsample * 1.0001), None)

    def finer(self, downsample: float) -> float | None:
        """Return the next finer scale, or None at the finest."""
        return next((d for d in reversed(self.downsamples) if d < downsample * 0.9999), None)

    def window_at(self, x: float, y: float, downsample: float) -> Window:
        """Return the window of this scale whose middle half holds the point (level-0 px), on the half-window grid.

        At the image's border the window is moved inside; where the image is smaller than the window, it stands over
        the right and lower edge. With a large input it is no larger than the image's longer side.
        """
        side = self._side(downsample)
        left = _snap(x, side, self.extent.x, self.extent.right)
        top = _snap(y, side, self.extent.y, self.extent.bottom)
        return self._window(left, top, side, downsample)

    def _side(self, downsample: float) -> int:
        """Return the side of a window of this scale, level-0 px."""
        side = round(self.input_size * downsample)
        if not self.is_large_input:
            return side
        # White beyond the image is no tissue that a model has learnt from; whole window px keep the scale.
        step = max(1, round(downsample))
        return min(side, math.ceil(max(self.extent.width, self.extent.height) / step) * step)

    def _window(self, left: int, top: int, side: int, downsample: float) -> Window:
        """Return the square window with this origin and side (level-0 px)."""
        full = round(self.input_size * downsample)
        px = self.input_size if side == full else max(1, round(side / downsample))
        return Window(Region(left, top, side, side), px, px)

    def windows_holding(
        self, bounds: tuple[float, float, float, float], downsample: float, *, margin_share: float
    ) -> list[Window]:
        """Return the windows of this scale, on the half-window grid, that hold ``bounds``; the best centred first.

        Args:
            bounds: level-0 px.
            downsample: level-0 px per window px.
            margin_share: of the window's side that must be free round ``bounds`` where the image goes on.
        """
        x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
        side = self._side(downsample)
        lefts, tops = (
            dict.fromkeys(_snap(at + shift * side / 2, side, low, high) for shift in (0, -1, 1))
            for at, low, high in ((x, self.extent.x, self.extent.right), (y, self.extent.y, self.extent.bottom))
        )
        windows = [self._window(left, top, side, downsample) for left in lefts for top in tops]
        holding = [window for window in windows if self.holds(window, bounds, margin_share * side)]
        return sorted(holding, key=lambda w: abs(w.region.x + side / 2 - x) + abs(w.region.y + side / 2 - y))

    def window_around(self, bounds: tuple[float, float, float, float], downsample: float) -> Window:
        """Return the finest window from ``downsample`` on that holds ``bounds`` (level-0 px) with a margin.

        At the coarsest scale the last window is returned even if it is too small.
        """
        min_x, min_y, max_x, max_y = bounds
        centre = (min_x + max_x) / 2, (min_y + max_y) / 2
        while True:
            window = self.window_at(*centre, downsample)
            margin = MARGIN_SHARE * window.region.width
            if self.holds(window, bounds, margin):
                return window
            coarser = self.coarser(downsample)
            if coarser is None:
                return window
            downsample = coarser

    def holds(self, window: Window, bounds: tuple[float, float, float, float], margin: float) -> bool:
        """Return whether the window holds what of ``bounds`` is in the image, with a margin where the image goes on.

        Args:
            window: of any scale.
            bounds: level-0 px.
            margin: level-0 px.
        """
        region, extent = window.region, self.extent
        min_x, min_y = max(bounds[0], extent.x), max(bounds[1], extent.y)
        max_x, max_y = min(bounds[2], extent.right), min(bounds[3], extent.bottom)
        return (
            (region.x <= extent.x or min_x >= region.x + margin)
            and (region.y <= extent.y or min_y >= region.y + margin)
            and (region.right >= extent.right or max_x <= region.right - margin)
            and (region.bottom >= extent.bottom or max_y <= region.bottom - margin)
        )

    def explicit(self, request: WindowRequest) -> Window | None:
        """Return the window that the caller asks for by region, or None where it gives none.

        Without a scale the region is read so that its longer side is the model's input size.

        Raises:
            InvalidRegion: the region lies outside the image, or um per pixel are asked of an image without pixel size.
            RequestTooLarge: more than `MAX_WINDOW_PX` px.
        """
        if request.region is None:
            return None
        if request.region.intersection(self.extent) is None:
            raise InvalidRegion(
                f"region {request.region.bounds} lies outside the image's pixels {self.extent.bounds} "
                "(min x, min y, max x, max y in level-0 px)"
            )
        downsample = self.for_request(request)
        if downsample is None:
            downsample = max(request.region.width, request.region.height) / self.input_size
        pixels = (request.region.width / downsample) * (request.region.height / downsample)
        if pixels > MAX_WINDOW_PX:
            raise RequestTooLarge(
                f"a window of {pixels:.3g} px is more than the {MAX_WINDOW_PX} allowed; ask for a larger downsample"
            )
        return Window.of(request.region, downsample)

    def for_request(self, request: WindowRequest) -> float | None:
        """Return the downsample that the caller asks for, or None.

        Raises:
            InvalidRegion: um per pixel are asked of an image without a pixel size, or a scale beyond
                `DOWNSAMPLE_RANGE`.
        """
        if request.downsample is not None:
            downsample = request.downsample
        elif request.mpp is None:
            return None
        else:
            request.check_pixel_size(self.mpp)
            assert self.mpp is not None
            downsample = request.mpp / self.mpp
        finest, coarsest = DOWNSAMPLE_RANGE
        if not finest <= downsample <= coarsest:
            raise InvalidRegion(f"a downsample of {downsample:g} is of no use; ask for {finest:g} to {coarsest:g}")
        return downsample

    def windows_in_view(
        self, view: Region, downsample: float, focus: tuple[float, float], *, limit: int | None = None
    ) -> list[Window]:
        """Return the windows that clicks in ``view`` (level-0 px) would use at this scale, nearest to ``focus`` first.

        Args:
            view: level-0 px.
            downsample: level-0 px per window px.
            focus: level-0 px.
            limit: only the nearest so many; None takes all.
        """
        side = self._side(downsample)
        step = max(1, side // 2)
        seen = view.intersection(self.extent)
        if seen is None:
            return []
        half = side / 2
        lefts = _nearest_origins(seen.x, seen.right, self.extent.x, self.extent.right, side, step, focus[0], limit)
        tops = _nearest_origins(seen.y, seen.bottom, self.extent.y, self.extent.bottom, side, step, focus[1], limit)

        def distance(origin: tuple[int, int]) -> tuple[float, int, int]:
            left, top = origin
            dx, dy = left + half - focus[0], top + half - focus[1]
            return dx * dx + dy * dy, top, left

        # The window at the i-th nearest left and j-th nearest top has (i + 1) * (j + 1) - 1 others before it.
        origins = [
            (left, top)
            for i, left in enumerate(lefts)
            for top in tops[: limit // (i + 1) if limit is not None else None]
        ]
        return [self._window(left, top, side, downsample) for left, top in sorted(origins, key=distance)[:limit]]


def _nearest(downsamples: list[float] | tuple[float, ...], wanted: float) -> float:
    """Return the scale nearest to ``wanted`` in octaves; the finer of two that are equally near."""
    return min(downsamples, key=lambda d: (round(abs(math.log2(d / wanted)), 9), d))


def _snap(position: float, side: int, low: int, high: int) -> int:
    """Return the origin of the grid window whose middle half holds ``position``, moved inside ``[low, high]``."""
    half = max(1, side // 2)
    origin = math.floor((position - side / 4) / half) * half
    if high - low <= side:
        return low
    return min(max(origin, low), high - side)


def _nearest_origins(
    first: int, last: int, low: int, high: int, side: int, step: int, focus: float, limit: int | None
) -> list[int]:
    """Return origins on one axis of the grid windows for positions in ``[first, last)``, nearest to ``focus`` first."""
    if limit is not None:
        # Positions further from the focus than that cannot be among the nearest: no list as long as a slide.
        middle = min(max(math.floor(focus), first), last - 1)
        first, last = max(first, middle - (limit + 1) * step), min(last, middle + (limit + 1) * step)
    positions = [*range(first, last, step), last - 1]
    origins = {_snap(position + 0.5, side, low, high) for position in positions}
    return sorted(origins, key=lambda origin: (abs(origin + side / 2 - focus), origin))[:limit]
