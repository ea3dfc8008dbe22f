"""What readers that decode pixels themselves have in common: levels, a file to close, and one way to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qupath_sam.slides.base import Level, SlideInfo
from qupath_sam.slides.lifetime import Lifetime
from qupath_sam.slides.resampling import Raster, read_window
from qupath_sam.types.regions import Region, Window


class RasterReader:
    """A `SlideReader` over rasters. Safe to call from several threads where the rasters' ``read`` is."""

    def __init__(self, info: SlideInfo, rasters: Sequence[Raster], *, name: str, release: Callable[[], None]) -> None:
        self._info = info
        self._rasters = tuple(rasters)
        self._lifetime = Lifetime(name, release)

    @property
    def info(self) -> SlideInfo:
        """What is known of the slide."""
        return self._info

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `qupath_sam.slides.base.SlideReader.read`."""
        with self._lifetime.reading():
            return read_window(window, self._rasters, self._info.extent)

    def close(self) -> None:
        """See `qupath_sam.slides.base.SlideReader.close`; a read under way in another thread is finished first."""
        self._lifetime.close()


def rasters_of(levels: Sequence[Level], read: Callable[[int, Region], NDArray[np.uint8]]) -> tuple[Raster, ...]:
    """Return rasters for the levels of a slide; ``read(level, region)`` takes level px inside the level."""
    return tuple(
        Raster(0, 0, (level.downsample, level.downsample), level.width, level.height, partial(read, index))
        for index, level in enumerate(levels)
    )
