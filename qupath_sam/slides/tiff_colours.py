"""How the pixels of a TIFF become 8-bit RGB, by what its tags say of them and by what the caller wants to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.slides import jpeg2000
from qupath_sam.slides.location import Location
from qupath_sam.slides.rendering import (
    Colours,
    Rendering,
    chosen_channels,
    composite,
    full_scale,
    palette,
    scaled,
    shown_channels,
    true_colours,
)
from qupath_sam.slides.tiff_layout import Layout
from qupath_sam.slides.tiles import LevelPixels
from qupath_sam.types.regions import Region

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_READABLE = {
    _PHOTOMETRIC.MINISWHITE,
    _PHOTOMETRIC.MINISBLACK,
    _PHOTOMETRIC.RGB,
    _PHOTOMETRIC.PALETTE,
    _PHOTOMETRIC.YCBCR,
}
# By number: tifffile knows some of them under other names in other versions.
_DECODED_TO_RGB = {6, 7, 22610, 33007, 34892, 34933, 34934, 50001, 50002, 52546}
"""JPEG, JPEG XR, PNG, WebP and JPEG XL."""
_APERIO_YCBCR, _APERIO_RGB = 33003, 33005
_JPEG_2000 = {_APERIO_YCBCR, 33004, 34712}
_SEPARATE = tifffile.PLANARCONFIG.SEPARATE
_ALPHA = {1: "premultiplied", 2: "straight"}
_SAMPLE_SIDE, _SAMPLE_GRID, _WHOLE_PX = 256, 4, 2**22


@dataclass(frozen=True, slots=True)
class Shown:
    """How a slide is shown.

    Attributes:
        colours: makes RGB of stored px.
        how: for the provenance, "" for plain 8-bit RGB or grey.
        remark: what is decided here because the file does not say, or "".
    """

    colours: Colours
    how: str = ""
    remark: str = ""


def samples_wanted(layout: Layout, rendering: Rendering, location: Location) -> tuple[int, ...]:
    """Return the channels or samples that have to be read, by index.

    Raises:
        SlideUnsupported: pixels that are no colours and no measurements.
        InvalidRequest: a channel that the image has not.
    """
    key = layout.first_page
    _check_readable(layout, location)
    if layout.is_true_colour and rendering.channels and key.photometric == _PHOTOMETRIC.PALETTE:
        raise InvalidRequest(f"{location.given} has colours by number, and no channels; leave the channels out")
    if not layout.is_true_colour or rendering.channels:
        if _is_grey_with_alpha(key) and not rendering.channels:
            return (0, 1)
        return tuple(index for index, _ in chosen_channels(rendering, layout.channels))
    if key.photometric == _PHOTOMETRIC.PALETTE:
        return (0,)
    return (0, 1, 2, 3) if _alpha(key, 3) else (0, 1, 2)


def _check_readable(layout: Layout, location: Location) -> None:
    key = layout.first_page
    photometric = getattr(key.photometric, "name", str(key.photometric))
    readable = key.photometric in _READABLE and key.dtype is not None and np.dtype(key.dtype).kind in "uifb"
    if readable and key.photometric == _PHOTOMETRIC.YCBCR:
        readable = key.dtype == np.uint8 or key.compression in _DECODED_TO_RGB
    if not readable:
        raise SlideUnsupported(
            f"{location.given} holds {key.samplesperpixel} x {key.dtype} a px as {photometric}, which is neither RGB, "
            "grey nor channels: how it looks depends on the viewer; push the pixels as QuPath renders them"
        )


def shown(layout: Layout, rendering: Rendering, levels: tuple[LevelPixels, ...]) -> Shown:
    """Return how the slide is shown; ranges that are not given are found in its pixels."""
    key = layout.first_page
    seen = _Once(lambda: sample_pixels(levels[-1]))
    if layout.is_true_colour and rendering.channels and _is_stored_as_ycbcr(levels[0], key):
        raise InvalidRequest("the slide is stored as YCbCr, which has no channels of its own; leave the channels out")
    if not layout.is_true_colour or rendering.channels:
        return _channels_shown(layout, rendering, seen)
    if key.photometric == _PHOTOMETRIC.PALETTE:
        return Shown(palette(np.asarray(key.colormap)))
    convert = _rgb_of_ycbcr if _is_stored_as_ycbcr(levels[0], key) else None
    high, how, remark = _white_value(key, rendering, seen, colours=3)
    colours = true_colours(low=rendering.low or 0.0, high=high, alpha=_alpha(key, 3))
    return Shown(_after(convert, colours), how, remark)


class _Once:
    """Pixels that are looked at when something has to be found in them, once."""

    def __init__(self, look: Callable[[], NDArray[Any]]) -> None:
        self._look = look
        self._found: NDArray[Any] | None = None

    def __call__(self) -> NDArray[Any]:
        if self._found is None:
            self._found = self._look()
        return self._found


def _channels_shown(layout: Layout, rendering: Rendering, seen: _Once) -> Shown:
    key = layout.first_page
    inverted = key.photometric == _PHOTOMETRIC.MINISWHITE
    asked = rendering.channels or rendering.low is not None
    if len(layout.channels) == 1 and not asked and _is_eight_bit(key):
        return Shown(_grey(key, inverted=inverted))
    if _is_grey_with_alpha(key) and not rendering.channels:
        high, how, remark = _white_value(key, rendering, seen, colours=1)
        colours = true_colours(low=rendering.low or 0.0, high=high, alpha=_alpha(key, 1))
        return Shown(_after(lambda pixels: pixels[:, :, [0, 0, 0, 1]], colours), how, remark)
    chosen = chosen_channels(rendering, layout.channels)
    found = shown_channels(rendering, chosen, layout.channels, seen())
    how = " + ".join(channel.text for channel in found)
    remark = "" if asked else f"no display is given for these channels: {how}; choose with channels and range"
    return Shown(composite(found, inverted=inverted), how, remark)


def _grey(key: Any, *, inverted: bool) -> Colours:
    """Show grey of at most 8 bits as it is: three equal channels."""
    white = float(2 ** _bits(key) - 1) if np.dtype(key.dtype).kind in "ub" else 255.0

    def apply(pixels: NDArray[Any]) -> NDArray[np.uint8]:
        values = pixels[:, :, 0]
        grey = scaled(values.astype(np.uint8) if values.dtype == bool else values, 0, white)
        return np.repeat((255 - grey if inverted else grey)[:, :, None], 3, axis=2)

    return apply


def _white_value(key: Any, rendering: Rendering, seen: _Once, *, colours: int) -> tuple[float, str, str]:
    """Return the stored value of white, how the slide is shown, and a remark where the value was found here.

    Args:
        colours: samples that are looked at; alpha comes after them and says nothing of their depth.
    """
    if rendering.high is not None:
        return rendering.high, f"{rendering.low:g} to {rendering.high:g}", ""
    dtype, bits = np.dtype(key.dtype), _bits(key)
    if dtype.kind in "ub" and bits <= 8:
        return float(2**bits - 1), "", ""
    high = full_scale(dtype, bits, seen()[:, :colours])
    how = f"0 to {high:g}"
    return high, how, f"the pixels have {bits} bits a sample, shown from {how}; give a range if that is wrong"


def _bits(key: Any) -> int:
    """Return the bits of a sample; the most where samples differ (5, 6, 5)."""
    stated = key.bitspersample
    return int(max(stated)) if isinstance(stated, tuple) else int(stated)


def _is_eight_bit(key: Any) -> bool:
    return np.dtype(key.dtype).kind in "ub" and _bits(key) <= 8


def _alpha(key: Any, position: int) -> str:
    """Return what the sample after ``position`` colours is: alpha, or nothing that can be shown."""
    if key.samplesperpixel != position + 1 or not key.extrasamples:
        return ""
    return _ALPHA.get(int(key.extrasamples[0]), "")


def _is_grey_with_alpha(key: Any) -> bool:
    return key.photometric == _PHOTOMETRIC.MINISBLACK and bool(_alpha(key, 1))


def _after(before: Callable[[NDArray[Any]], NDArray[Any]] | None, colours: Colours) -> Colours:
    return colours if before is None else lambda pixels: colours(before(pixels))


def _is_stored_as_ycbcr(level: LevelPixels, key: Any) -> bool:
    """Return whether decoding gives YCbCr.

    JPEG's decoder converts; JPEG 2000's does as the stream says, and Aperio's 33003 is YCbCr, also where its tags say
    otherwise. No decoder converts planes, which it sees one by one.
    """
    ycbcr = key.photometric == _PHOTOMETRIC.YCBCR or key.compression == _APERIO_YCBCR
    if ycbcr and key.planarconfig == _SEPARATE:
        return True
    if not ycbcr or key.compression in _DECODED_TO_RGB or key.compression == _APERIO_RGB:
        return False
    if key.compression in _JPEG_2000:
        heads = (part.first_bytes(jpeg2000.HEADER_BYTES) for piece in level.pieces for part in piece.parts)
        return jpeg2000.stays_ycbcr(next((head for head in heads if head), b""))
    return True


def _rgb_of_ycbcr(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    stored = np.ascontiguousarray(pixels[:, :, :3])
    return np.array(Image.frombytes("YCbCr", (width, height), stored.tobytes()).convert("RGB"))


def sample_pixels(level: LevelPixels) -> NDArray[Any]:
    """Return the px of a level to find ranges in, ``(N, samples)``: all of a small one, patches on a grid else."""
    if level.width * level.height <= _WHOLE_PX:
        regions = [Region(0, 0, level.width, level.height)]
    else:
        across, down = min(_SAMPLE_SIDE, level.width), min(_SAMPLE_SIDE, level.height)
        xs = np.linspace(0, level.width - across, _SAMPLE_GRID).astype(int)
        ys = np.linspace(0, level.height - down, _SAMPLE_GRID).astype(int)
        regions = [Region(int(x), int(y), across, down) for y in ys for x in xs]
    found = []
    for region in regions:
        pixels, missing = level.read(region)
        found.append(pixels.reshape(-1, pixels.shape[2]) if missing is None else pixels[~missing])
    return np.concatenate(found)
