"""Options that say how an image is shown that is not 8-bit RGB."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qupath_sam.errors import InvalidRequest

if TYPE_CHECKING:
    from qupath_sam.slides.rendering import ChannelDisplay, Rendering

ChannelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--channels",
        help="Channels to show, by name or number from 1, between commas; DAPI=0000ff colours one. Default: all.",
    ),
]
RangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        help="LOW,HIGH: stored values that are black and full colour; once for all channels, or once for each.",
    ),
]
DisplayOption = Annotated[
    Path | None,
    typer.Option("--display", help="Display settings saved in QuPath (brightness & contrast), in place of both."),
]
ZOption = Annotated[int, typer.Option("--z", help="Plane of a stack, from 0.")]
TOption = Annotated[int, typer.Option("--t", help="Time point, from 0.")]
_COLORED = re.compile(r"^(.*\S)\s*=\s*#?([0-9A-Fa-f]{6})$")


def parse_rendering(channels: Sequence[str], ranges: Sequence[str], display: Path | None) -> Rendering | None:
    """Parse what the options say; None where they say nothing.

    Raises:
        InvalidRequest: they contradict each other, or one cannot be understood.
    """
    from qupath_sam.slides.rendering import Rendering

    if display is not None:
        if channels or ranges:
            raise InvalidRequest("--display says everything that --channels and --range say; leave these out")
        return Rendering.of_qupath(_read_settings(display))
    found = [_range(text) for text in ranges]
    named = [part.strip() for text in channels for part in text.split(",") if part.strip()]
    if not named:
        if len(found) > 1:
            raise InvalidRequest("several --range need --channels that name as many channels")
        return Rendering(low=found[0][0], high=found[0][1]) if found else None
    if len(found) > 1 and len(found) != len(named):
        raise InvalidRequest(f"{len(named)} channels and {len(found)} ranges; give one --range, or one for each")
    each: list[tuple[float | None, float | None]] = [*(found * len(named) if len(found) == 1 else found)]
    each = each or [(None, None)] * len(named)
    return Rendering(tuple(_display(name, low, high) for name, (low, high) in zip(named, each, strict=True)))


def _display(text: str, low: float | None, high: float | None) -> ChannelDisplay:
    from qupath_sam.slides.rendering import ChannelDisplay

    colored = _COLORED.match(text)
    name, color = (colored[1], int(colored[2], 16)) if colored else (text, None)
    if name.isdigit() and int(name) < 1:
        raise InvalidRequest("channels are counted from 1, as in QuPath; name one that the image has")
    return ChannelDisplay(int(name) - 1 if name.isdigit() else name, low, high, color)


def _range(text: str) -> tuple[float, float]:
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no range; write LOW,HIGH, for example 0,4095") from None
    return low, high


def _read_settings(path: Path) -> dict[str, object]:
    try:
        settings = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} holds no display settings ({error}); save them in QuPath") from error
    if not isinstance(settings, dict):
        raise InvalidRequest(f"{path} holds no display settings; save them in QuPath's brightness & contrast")
    return settings
