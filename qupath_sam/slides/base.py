"""What a slide reader is. Every reader passes the contract in ``tests/contracts/readers.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qupath_sam.types.regions import Region, Window


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution level of a slide.

    Attributes:
        downsample: level-0 px per level px (1.0 for level 0).
        width, height: in level px.
    """

    downsample: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What is known of a slide before any pixel is read.

    Attributes:
        width, height: of level 0, in QuPath's frame (after a bounds crop or a wrapper).
        levels: level 0 first, downsample rising.
        mpp: pixel size of level 0 in um, mean of both axes; None where the slide has none or an implausible one.
        mpp_remark: why ``mpp`` is None although the file states one ("the file says 352.8 um"), else "".
        fingerprint: hex digest of what makes these pixels what they are (file identity, size, modification
            time, wrapper, reader version); part of every embedding's key.
        reader: name and version of the library that decodes, for the provenance.
        extent: the part of level 0 that has pixels; the whole slide, but for pushed pixels only their region.
        finest_downsample: the finest scale at which pixels exist; 1.0, but for pushed pixels their own.
        remarks: what else a person should know: which of several images this is, or how channels are shown.
        channels: names of the image's channels, in order; empty for plain RGB or grey.
        depth, times: planes of the stack that this is one of.
        rendering: how channels or more than 8 bits are shown, "" for plain RGB or grey.
        piece_bytes: most that one tile or strip of the file decodes to.
        held_bytes: pixels that stay in memory while the slide is open.
    """

    width: int
    height: int
    levels: tuple[Level, ...]
    mpp: float | None
    mpp_remark: str
    fingerprint: str
    reader: str
    extent: Region
    finest_downsample: float = 1.0
    remarks: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    depth: int = 1
    times: int = 1
    rendering: str = ""
    piece_bytes: int = 0
    held_bytes: int = 0

    @property
    def all_remarks(self) -> tuple[str, ...]:
        """Everything that a person should know, the pixel size first."""
        return (self.mpp_remark, *self.remarks) if self.mpp_remark else self.remarks


class SlideReader(Protocol):
    """Reads pixels of one slide. Safe to call from several threads at once."""

    @property
    def info(self) -> SlideInfo:
        """What is known of the slide."""
        ...

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Read the pixels of ``window``: uint8 ``(window.height, window.width, 3)`` RGB, C-contiguous.

        Area outside `SlideInfo.extent` is white (255). The level used is the coarsest one that is at least as
        fine as asked; where none is near, the region is read in bounded pieces and averaged down, so that memory
        stays bounded whatever the downsample.

        Raises:
            InvalidRegion: the window lies wholly outside the extent, or is larger than the reader's limit.
            SlideUnreadable: the file is broken where it was read.
        """
        ...

    def close(self) -> None:
        """Release the file. Reading afterwards raises `SlideUnreadable`."""
        ...
