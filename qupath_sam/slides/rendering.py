"""From what a file stores (channels, 10 to 32 bits, floats) to 8-bit RGB, as a viewer's settings say.

The notions are QuPath's: an image has channels with names and colours; its display shows some of them, each between a
lowest and a highest value (`min display` and `max display`), and adds their colours.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qupath_sam.errors import InvalidRequest

SATURATED = 0.001
"""Share of the px that may lie beyond each end of a range that is found here: QuPath's default, 0.1 %."""
WHITE_COLOR = 0xFFFFFF
_BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
_SIGNED_BIT_DEPTHS = (7, 8, 10, 12, 14, 15, 16, 24, 31)

Colours = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Stored px ``(H, W, samples)`` to uint8 ``(H, W, 3)`` RGB."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of an image: its name, and its colour as 0xRRGGBB."""

    name: str
    color: int


RGB_CHANNELS = (Channel("Red", 0xFF0000), Channel("Green", 0x00FF00), Channel("Blue", 0x0000FF))


@dataclass(frozen=True, slots=True)
class ChannelDisplay:
    """How one channel is shown.

    Attributes:
        channel: its number, from 0, or its name.
        low, high: stored values that are black and full colour; None finds them in the image.
        color: 0xRRGGBB; None takes the channel's own, or white where it is the only one shown.
    """

    channel: int | str
    low: float | None = None
    high: float | None = None
    color: int | None = None

    def __post_init__(self) -> None:
        check_range(self.low, self.high)
        if self.color is not None and not 0 <= self.color <= WHITE_COLOR:
            raise InvalidRequest(f"a colour of {self.color:#x} is none; write 0xRRGGBB")


@dataclass(frozen=True, slots=True)
class Rendering:
    """How an image is shown that is not 8-bit RGB.

    Attributes:
        channels: those to show, added up; empty shows all of them.
        low, high: range of the channels that state none; None finds one for each channel in the image.
    """

    channels: tuple[ChannelDisplay, ...] = ()
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_range(self.low, self.high)

    @classmethod
    def of_qupath(cls, settings: Mapping[str, Any]) -> Self:
        """Read display settings as QuPath saves them (Brightness & contrast; ``ImageDisplaySettings`` as JSON).

        Raises:
            InvalidRequest: not such settings, none of its channels is showing, or gamma or an inverted background,
                which cannot be reproduced here.
        """
        channels = settings.get("channels")
        if not isinstance(channels, Sequence) or isinstance(channels, str):
            raise InvalidRequest("the display settings list no channels; save them in QuPath's brightness & contrast")
        if settings.get("invertBackground") is True or settings.get("gamma", 1.0) != 1.0:
            raise InvalidRequest(
                "display settings with a gamma or an inverted background cannot be reproduced here; set gamma to 1 and "
                "the background to normal, or push the pixels"
            )
        shown = tuple(_display_of_qupath(item) for item in channels if _is_showing(item))
        if not shown:
            raise InvalidRequest("the display settings show no channel; switch one on in QuPath and save them again")
        return cls(shown)


def _is_showing(item: object) -> bool:
    return isinstance(item, Mapping) and item.get("isShowing") is True


def _display_of_qupath(item: Mapping[str, Any]) -> ChannelDisplay:
    # QuPath appends the number to the name of its display channels: "DAPI (C1)"
    name, color = str(item.get("name", "")), item.get("color")
    packed = None
    if isinstance(color, Mapping):
        red, green, blue = (int(color.get(part, 0)) & 0xFF for part in ("red", "green", "blue"))
        packed = red << 16 | green << 8 | blue
    return ChannelDisplay(name, _finite(item.get("minDisplay")), _finite(item.get("maxDisplay")), packed)


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def check_range(low: float | None, high: float | None) -> None:
    """Refuse a range that is none; raises `InvalidRequest`."""
    if (low is None) != (high is None):
        raise InvalidRequest("a range needs both its ends, for example 0,4095")
    if low is not None and high is not None and not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidRequest(f"a range from {low} to {high} shows nothing; its first end must be the lower one")


def default_color(index: int) -> int:
    """Return the colour that QuPath gives channel ``index`` (from 0) of an image that states none, as 0xRRGGBB."""
    first = (0xFF0000, 0x00FF00, 0x0000FF, 0xFFE000, 0x00E0E0, 0xFF00E0)
    if index < len(first):
        return first[index]
    index %= 360
    pale = max(0.0, 1 - (index // 10) / 20)
    red, green, blue = colorsys.hsv_to_rgb(index * 128 % 360 / 360, pale, pale)
    return round(red * 255) << 16 | round(green * 255) << 8 | round(blue * 255)


def default_channels(count: int) -> tuple[Channel, ...]:
    """Return the channels of an image that names none, as QuPath calls them."""
    if count == 1:
        return (Channel("Channel 1", WHITE_COLOR),)
    return tuple(Channel(f"Channel {i + 1}", default_color(i)) for i in range(count))


@dataclass(frozen=True, slots=True)
class ShownChannel:
    """A channel that is shown, with everything that was left open found out."""

    index: int
    name: str
    color: int
    low: float
    high: float

    @property
    def text(self) -> str:
        """For the provenance: "DAPI 0 to 4095 in #0000ff"."""
        return f"{self.name} {self.low:g} to {self.high:g} in #{self.color:06x}"


def chosen_channels(rendering: Rendering, channels: Sequence[Channel]) -> tuple[tuple[int, ChannelDisplay], ...]:
    """Return which channels are shown, by index, and how.

    Raises:
        InvalidRequest: a channel that the image has not, or one twice.
    """
    displays = rendering.channels or tuple(ChannelDisplay(index) for index in range(len(channels)))
    chosen = tuple((_index_of(display.channel, channels), display) for display in displays)
    if len({index for index, _ in chosen}) < len(chosen):
        raise InvalidRequest("a channel is named twice; name each that is to be shown once")
    return chosen


def _index_of(wanted: int | str, channels: Sequence[Channel]) -> int:
    if isinstance(wanted, int):
        if 0 <= wanted < len(channels):
            return wanted
    else:
        for spelled in (str, str.casefold):
            for index, channel in enumerate(channels):
                if spelled(wanted) in (spelled(channel.name), spelled(f"{channel.name} (C{index + 1})")):
                    return index
    named = wanted + 1 if isinstance(wanted, int) else repr(wanted)
    known = ", ".join(f"{index} {channel.name!r}" for index, channel in enumerate(channels, 1))
    raise InvalidRequest(f"the image has no channel {named}; it has {known}")


def shown_channels(
    rendering: Rendering, chosen: Sequence[tuple[int, ChannelDisplay]], channels: Sequence[Channel], seen: NDArray[Any]
) -> tuple[ShownChannel, ...]:
    """Return the channels that are shown, with their colours and ranges.

    Args:
        seen: stored px of the chosen channels, ``(N, len(chosen))``, to find ranges in that the caller does not give.
    """
    shown = []
    for place, (index, display) in enumerate(chosen):
        low, high = display.low, display.high
        if low is None or high is None:
            low, high = rendering.low, rendering.high
        if low is None or high is None:
            low, high = found_range(seen[:, place])
        color = display.color
        if color is None:
            color = WHITE_COLOR if len(chosen) == 1 else channels[index].color
        shown.append(ShownChannel(index, channels[index].name, color, low, high))
    return tuple(shown)


def found_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return lowest and highest value to show: all but `SATURATED` of the px at each end, as QuPath's auto contrast."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(finite, (SATURATED, 1 - SATURATED), method="nearest"))
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (min(low, 0.0), max(high, low + 1.0, 1.0))


def full_scale(dtype: np.dtype[Any], bits: int, values: NDArray[Any]) -> float:
    """Return the value that is white in colours of more than 8 bits.

    Cameras put 10 to 14 bits into 16 without saying so; the largest value seen tells how many are used.

    Args:
        bits: that the file states for a sample (BitsPerSample).
        values: px to look at.
    """
    finite = values[np.isfinite(values)] if dtype.kind == "f" else values
    largest = float(finite.max()) if finite.size else 0.0
    if dtype.kind == "f":
        return 1.0 if largest <= 1 else _depth_of(largest)
    if dtype.kind == "b" or bits < 8 * dtype.itemsize:
        return float(2**bits - 1)
    return _depth_of(largest, _SIGNED_BIT_DEPTHS if dtype.kind == "i" else _BIT_DEPTHS)


def _depth_of(largest: float, depths: Sequence[int] = _BIT_DEPTHS) -> float:
    return float(next((2**bits - 1 for bits in depths if largest <= 2**bits - 1), largest))


def scaled(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Scale values of ``low`` to ``high`` to 0 to 255, rounded; what lies beyond is cut off, NaN is ``low``."""
    if pixels.dtype == np.uint8 and (low, high) == (0, 255):
        return pixels
    if pixels.dtype.kind in "ub" and pixels.dtype.itemsize <= 2:
        table = np.arange(2 ** (8 * pixels.dtype.itemsize), dtype=np.float64)
        return np.asarray(_levels(table, low, high)[pixels.astype(f"u{pixels.dtype.itemsize}")])
    return _levels(pixels.astype(np.float64), low, high)


def _levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore", over="ignore"):
        shares = np.nan_to_num((values - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    return np.asarray((np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8))


def composite(shown: Sequence[ShownChannel], *, inverted: bool = False) -> Colours:
    """Add the colours of channels, each by its range; px have one sample for each of ``shown``.

    Args:
        inverted: whether the lowest value of a range is the full colour and not black (MinIsWhite).
    """

    def apply(pixels: NDArray[Any]) -> NDArray[np.uint8]:
        levels = [scaled(pixels[:, :, i], channel.low, channel.high) for i, channel in enumerate(shown)]
        if inverted:
            levels = [255 - level for level in levels]
        if len(shown) == 1 and shown[0].color == WHITE_COLOR:
            return np.repeat(levels[0][:, :, None], 3, axis=2)
        total = np.zeros((*pixels.shape[:2], 3), np.uint16)
        for level, channel in zip(levels, shown, strict=True):
            for part, shift in enumerate((16, 8, 0)):
                strength = channel.color >> shift & 0xFF
                if strength:
                    added = total[:, :, part] + (level.astype(np.uint16) * strength + 127) // 255
                    total[:, :, part] = np.minimum(added, 255)
        return total.astype(np.uint8)

    return apply


def true_colours(*, high: float, alpha: str = "", low: float = 0.0) -> Colours:
    """Return RGB of any depth, with alpha laid on white.

    Args:
        low, high: stored values that are 0 and 255.
        alpha: what a fourth sample is: "straight", "premultiplied", or "" where it is not to be looked at.
    """

    def apply(pixels: NDArray[Any]) -> NDArray[np.uint8]:
        rgb = scaled(np.ascontiguousarray(pixels[:, :, :3]), low, high)
        if not alpha:
            return rgb
        opacity = scaled(pixels[:, :, 3:4], 0, high).astype(np.uint16)
        colours = rgb.astype(np.uint16)
        if alpha == "straight":
            colours = (colours * opacity + 127) // 255
        return np.asarray(np.minimum(colours + (255 - opacity), 255).astype(np.uint8))

    return apply


def palette(colormap: NDArray[Any]) -> Colours:
    """Return colours by number, from a TIFF's ``(3, 2**bits)`` colour map of 16 bits (against the standard, of 8)."""
    table = colormap.T.astype(np.uint32)
    eight_bits = (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8)

    def apply(pixels: NDArray[Any]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(eight_bits[np.minimum(pixels[:, :, 0], len(eight_bits) - 1)])

    return apply
