"""A picture of what was found: outlines, prompts and labels over the pixels of a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapely.geometry import MultiPolygon, Polygon
from shapely.ops import substring

from qupath_sam.slides.base import SlideReader
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.results import Prediction

Color = tuple[int, int, int]
Points = NDArray[np.float64]

#: Most colour-blind readers tell these apart (Okabe & Ito 2008), less the pinks, which H&E has itself.
PALETTE: tuple[Color, ...] = ((0, 158, 115), (0, 114, 178), (230, 159, 0), (86, 180, 233), (213, 94, 0), (240, 228, 66))

_POSITIVE: Color = (0, 150, 60)
_NEGATIVE: Color = (215, 25, 28)
_WHITE: Color = (255, 255, 255)
_SHADE: Color = (20, 20, 20)

_LINE, _FILL_OPACITY, _DOT_RADIUS, _DASH, _GAP, _FONT_SIZE = 2.0, 0.22, 6.0, 7.0, 4.0, 14


@dataclass(frozen=True, slots=True)
class OverlayItem:
    """One object to draw.

    Attributes:
        geometry: level-0 px; may be empty, and may reach over the window.
        label: a few characters, such as "3  0.92"; empty for none.
        prompts: what it was found with, or None.
        color: RGB; by default the next of `PALETTE`.
    """

    geometry: Polygon | MultiPolygon
    label: str = ""
    prompts: ObjectPrompts | None = None
    color: Color | None = None


def draw_prediction(
    slide: SlideReader, prediction: Prediction, objects: Sequence[ObjectPrompts], *, max_side: int = 1400
) -> Image.Image:
    """Draw a prediction: the part of the slide that holds all prompts and outlines, with a margin.

    Args:
        slide: that was segmented.
        prediction: one result per object.
        objects: the prompts, in the same order.
        max_side: longer side of the picture at most, px.
    """
    boxes = [prompts.bounds for prompts in objects]
    # The bounds of prompts leave out what is negative, which may lie outside of all that was found.
    boxes += [(x, y, x, y) for prompts in objects for click in prompts.clicks for x, y in click.points]
    items = []
    for index, (prompts, result) in enumerate(zip(objects, prediction.results, strict=True), 1):
        if not result.outlines:
            items.append(OverlayItem(Polygon(), f"{index}  nothing", prompts))
        for outline in result.outlines:
            boxes.append(outline.geometry.bounds)
            items.append(OverlayItem(outline.geometry, f"{index}  {outline.score:.2f}", prompts))
    window = _window_round(boxes, slide.info.extent, max_side)
    return draw_overlay(slide.read(window), window, items)


def _window_round(
    boxes: Sequence[tuple[float, float, float, float]], extent: Region, max_side: int, margin: float = 0.12
) -> Window:
    """Return the window that shows all boxes (level-0 px) with a margin, at most ``max_side`` px, inside the extent."""
    min_x, min_y, max_x, max_y = (choose(box[i] for box in boxes) for i, choose in enumerate((min, min, max, max)))
    pad = margin * max(max_x - min_x, max_y - min_y) + 32
    wanted = Region(
        int(min_x - pad), int(min_y - pad), int(max_x - min_x + 2 * pad) + 1, int(max_y - min_y + 2 * pad) + 1
    )
    shown = wanted.intersection(extent) or extent
    return Window.of(shown, max(shown.width, shown.height) / max_side)


def draw_overlay(pixels: NDArray[np.uint8], window: Window, items: Sequence[OverlayItem]) -> Image.Image:
    """Draw objects over the pixels they were found in.

    Args:
        pixels: uint8 ``(window.height, window.width, 3)`` RGB.
        window: where the pixels lie.
        items: drawn in order: all areas and outlines first, then prompts, then labels, so that none hides a prompt.

    Returns:
        An RGB image of the size of the window.

    Raises:
        ValueError: the pixels are not of the size of the window.
    """
    if pixels.shape != (window.height, window.width, 3):
        raise ValueError(f"pixels of shape {pixels.shape} do not fill a window of {window.height} x {window.width}")
    image = Image.fromarray(pixels)
    colors = [item.color or PALETTE[index % len(PALETTE)] for index, item in enumerate(items)]
    for item, color in zip(items, colors, strict=True):
        _draw_area(image, window, item.geometry, color)
    for item, color in zip(items, colors, strict=True):
        if item.prompts is not None:
            _draw_prompts(image, window, item.prompts, color)
    for item, color in zip(items, colors, strict=True):
        if item.label and not item.geometry.is_empty:
            _draw_label(image, _to_window(item.geometry.bounds, window)[0], item.label, color)
    return image


class _Stencil:
    """A mask for a colour: a part of the image, drawn several times as large so that edges come out smooth."""

    _MAX_PIXELS = 2**26

    def __init__(self, image: Image.Image, points: Points, margin: float) -> None:
        low = np.floor(points.min(axis=0) - margin).astype(int).clip(0, image.size)
        high = np.ceil(points.max(axis=0) + margin).astype(int).clip(0, image.size)
        self._image = image
        self._low, self._size = low, np.maximum(high - low, 0)
        area = int(self._size.prod())
        self._times = next((times for times in (4, 2) if area * times**2 <= self._MAX_PIXELS), 1)
        self._mask = Image.new("L", tuple((np.maximum(self._size, 1) * self._times).tolist()))
        self._draw = ImageDraw.Draw(self._mask)

    def area(self, points: Points, *, inside: bool = True) -> None:
        self._draw.polygon(self._scaled(points), fill=255 if inside else 0)

    def line(self, points: Points, width: float) -> None:
        self._draw.line(self._scaled(points), fill=255, width=max(1, round(width * self._times)), joint="curve")

    def disc(self, centre: Points, radius: float) -> None:
        self._draw.ellipse(self._scaled(np.stack([centre - radius, centre + radius])), fill=255)

    def lay_on(self, color: Color, opacity: float = 1.0) -> None:
        if not self._size.all():  # outside the image
            return
        width, height = self._size.tolist()
        mask = self._mask.resize((width, height), Image.Resampling.BOX).point(lambda value: round(value * opacity))
        self._image.paste(color, tuple(self._low.tolist()), mask)

    def _scaled(self, points: Points) -> list[tuple[float, float]]:
        # Pillow means the centre of a pixel where pixel edges are meant here.
        return [(x, y) for x, y in ((points - self._low) * self._times - 0.5).tolist()]


def _draw_area(image: Image.Image, window: Window, geometry: Polygon | MultiPolygon, color: Color) -> None:
    if geometry.is_empty:
        return
    rings: list[tuple[Points, bool]] = []
    # A part in the hole of another is smaller, so it comes after the hole has been cut out.
    for polygon in sorted(shapely.get_parts(geometry), key=lambda part: -Polygon(part.exterior).area):
        rings.append((_to_window(shapely.get_coordinates(polygon.exterior), window), True))
        rings += [(_to_window(shapely.get_coordinates(hole), window), False) for hole in polygon.interiors]
    everything = np.concatenate([points for points, _ in rings])
    fill, shade, line = (_Stencil(image, everything, margin=2 * _LINE) for _ in range(3))
    for points, inside in rings:
        fill.area(points, inside=inside)
        closed = np.concatenate([points, points[1:2]])  # so that the last corner is joined as well
        shade.line(closed, _LINE + 1.5)
        line.line(closed, _LINE)
    fill.lay_on(color, _FILL_OPACITY)
    shade.lay_on(_SHADE, 0.5)
    line.lay_on(color)


def _draw_prompts(image: Image.Image, window: Window, prompts: ObjectPrompts, color: Color) -> None:
    dashed: list[Points] = []
    if prompts.box is not None:
        dashed.append(_to_window(shapely.get_coordinates(shapely.box(*prompts.box.bounds)), window))
    if prompts.outline is not None:
        # get_rings finds none in a multipolygon.
        rings = shapely.get_rings(shapely.get_parts(prompts.outline))
        dashed += [_to_window(shapely.get_coordinates(ring), window) for ring in rings]
    for points in dashed:
        _draw_dashes(image, points, color)
    for click in prompts.clicks:
        _draw_click(image, window, click)


def _draw_dashes(image: Image.Image, points: Points, color: Color) -> None:
    shade, line = (_Stencil(image, points, margin=2 * _LINE) for _ in range(2))
    for dash in _dashes(points):
        shade.line(dash, _LINE + 1.5)
        line.line(dash, _LINE)
    shade.lay_on(_WHITE, 0.8)
    line.lay_on(color)


def _dashes(points: Points) -> Iterable[Points]:
    path = shapely.LineString(points)
    for start in np.arange(0, path.length, _DASH + _GAP):
        yield shapely.get_coordinates(substring(path, start, min(start + _DASH, path.length)))


def _draw_click(image: Image.Image, window: Window, click: Click) -> None:
    points = _to_window(click.points, window)
    color = _POSITIVE if click.label is Label.POSITIVE else _NEGATIVE
    rim, dot, sign = (_Stencil(image, points, margin=2 * _DOT_RADIUS) for _ in range(3))
    if len(points) > 1:
        rim.line(points, _DOT_RADIUS)
        dot.line(points, _DOT_RADIUS - 3)
    for centre in points[: 1 if len(points) > 1 else None]:  # a scribble is a stroke with one dot where it starts
        rim.disc(centre, _DOT_RADIUS + 1.5)
        dot.disc(centre, _DOT_RADIUS)
        arm = _DOT_RADIUS - 2.5
        sign.line(centre + np.array([[-arm, 0.0], [arm, 0.0]]), 1.6)
        if click.label is Label.POSITIVE:
            sign.line(centre + np.array([[0.0, -arm], [0.0, arm]]), 1.6)
    rim.lay_on(_WHITE)
    dot.lay_on(color)
    sign.lay_on(_WHITE)


def _draw_label(image: Image.Image, corner: Points, text: str, color: Color) -> None:
    """Draw a tag above ``corner``, or as near to it as the image allows."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_FONT_SIZE)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 8, bottom - top + 6
    x = float(np.clip(corner[0], 0, max(0, image.width - width)))
    y = float(np.clip(corner[1] - height - _LINE, 0, max(0, image.height - height)))
    draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius=3, fill=color)
    dark = sum(weight * channel for weight, channel in zip((0.299, 0.587, 0.114), color, strict=True)) < 150
    draw.text((x + 4 - left, y + 3 - top), text, font=font, fill=_WHITE if dark else _SHADE)


def _to_window(points: object, window: Window) -> Points:
    """Map level-0 px to window px, ``(n, 2)``."""
    level0 = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return (level0 - [window.region.x, window.region.y]) / window.scale
