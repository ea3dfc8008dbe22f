"""How an image is shown, between the protocol's messages and values, both ways."""

from __future__ import annotations

from qupath_sam.errors import InvalidRequest
from qupath_sam.slides.rendering import ChannelDisplay, Rendering
from qupath_sam.v1 import image_pb2


def rendering_of(message: image_pb2.Rendering) -> Rendering:
    """Return a rendering; raises `InvalidRequest` where a range or colour is none, or a channel is not named."""
    low, high = _range_of(message.range) if message.HasField("range") else (None, None)
    return Rendering(tuple(_display_of(display) for display in message.channels), low, high)


def rendering_message(rendering: Rendering) -> image_pb2.Rendering:
    """Return the message of a rendering."""
    message = image_pb2.Rendering(range=_range_message(rendering.low, rendering.high))
    for display in rendering.channels:
        added = message.channels.add(range=_range_message(display.low, display.high), color=display.color)
        if isinstance(display.channel, int):
            added.index = display.channel
        else:
            added.name = display.channel
    return message


def _display_of(message: image_pb2.ChannelDisplay) -> ChannelDisplay:
    named = message.WhichOneof("channel")
    if named is None:
        raise InvalidRequest("a channel to show is not named; set its index or name")
    low, high = _range_of(message.range) if message.HasField("range") else (None, None)
    color = message.color if message.HasField("color") else None
    return ChannelDisplay(getattr(message, named), low, high, color)


def _range_of(message: image_pb2.DisplayRange) -> tuple[float, float]:
    return message.min_display, message.max_display


def _range_message(low: float | None, high: float | None) -> image_pb2.DisplayRange | None:
    return None if low is None or high is None else image_pb2.DisplayRange(min_display=low, max_display=high)
