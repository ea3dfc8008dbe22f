"""What ``qupath-sam demo`` shows: prompts on a slide, sent one by one to a server, and a picture of the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from shapely.geometry import Point, Polygon

from qupath_sam.client import SamClient, Slide
from qupath_sam.qupath.overlay import PALETTE, OverlayItem, draw_overlay
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.tissue import tissue_map
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import ObjectResult, Prediction, Timings

#: Crumbs that no pathologist would keep are dropped; um and um2.
OUTPUT = OutputOptions(fill_holes_area=60.0, min_area=4.0)

_GAP = 12
_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class DemoObject:
    """One object to segment: its name, prompts in level-0 px, and how far a person zooms in to click it.

    Attributes:
        view_downsample: of the viewer, level-0 px per screen px; 0 where nobody looks.
    """

    name: str
    prompts: ObjectPrompts
    view_downsample: float = 0.0

    @property
    def kind(self) -> str:
        """What the prompts are, for the table."""
        parts = ["box"] if self.prompts.box is not None else []
        parts += ["outline"] if self.prompts.outline is not None else []
        clicks = len(self.prompts.clicks)
        parts += [f"{clicks} click{'s' if clicks > 1 else ''}"] if clicks else []
        return " + ".join(parts)


@dataclass(frozen=True, slots=True)
class Demo:
    """Objects, and the parts of the slide to show side by side, each with its level-0 px per px of the picture."""

    objects: tuple[DemoObject, ...]
    views: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one object; ``milliseconds`` from building the last request to the parsed geometry."""

    asked: DemoObject
    result: ObjectResult
    prediction: Prediction
    milliseconds: float


def packaged_demo() -> Demo:
    """Return nuclei and structures of the slide that comes with the package: skin with a keratin-filled duct."""
    nuclei = ((1215, 906, 25, 20), (1209, 871, 24, 22), (1190, 925, 22, 26), (1241, 857, 20, 21), (1219, 980, 20, 24))
    crude = Polygon([(1222, 640), (1256, 604), (1330, 622), (1338, 690), (1300, 770), (1240, 745)])
    return Demo(
        objects=(
            *(DemoObject(f"nucleus {index}", _box(*place)) for index, place in enumerate(nuclei, 1)),
            DemoObject("keratin core", _box(1190, 1960, 160, 225)),
            DemoObject("keratin-filled cavity", _box(1240, 1060, 430, 780)),
            DemoObject("epithelium, left", _box(560, 2430, 290, 537)),
            DemoObject("epithelium, right", _box(1550, 2280, 260, 560)),
            DemoObject("loose strand", _box(50, 995, 810, 160)),
            DemoObject("epithelial bud", ObjectPrompts(outline=crude)),
            DemoObject("nucleus, clicked", ObjectPrompts((Click.at(1191, 991),)), view_downsample=0.25),
            DemoObject(
                "core, clicked",
                ObjectPrompts((Click.at(1262, 2085), Click.at(1300, 2030), Click.at(1330, 2150, Label.NEGATIVE))),
            ),
        ),
        views=(
            Window.of(Region(20, 560, 1880, 2407), 2407 / 1200),
            Window.of(Region(1165, 822, 185, 185), 185 / 594),
            Window.of(Region(1130, 1900, 280, 280), 280 / 594),
        ),
    )


def demo_for(reader: SlideReader) -> Demo:
    """Return a box, an outline and a click side by side where a slide has most tissue.

    What they mean is for the eye.
    """
    info = reader.info
    side = min(round(128 / info.mpp) if info.mpp else 256, info.extent.width // 4, info.extent.height // 2)
    x, y = _densest(reader, 4 * side)
    disc = Point(x, y).buffer(side / 2, quad_segs=2)
    view = Region(round(x - 2 * side), round(y - side), 4 * side, 2 * side).intersection(info.extent) or info.extent
    return Demo(
        objects=(
            DemoObject("in a box", ObjectPrompts(box=Box(x - 1.7 * side, y - side / 2, x - 0.7 * side, y + side / 2))),
            DemoObject("in an outline", ObjectPrompts(outline=disc)),
            DemoObject("under a click", ObjectPrompts((Click.at(x + 1.2 * side, y),))),
        ),
        views=(Window.of(view, max(view.width, view.height) / 1200),),
    )


def ask(client: SamClient, slide: Slide, objects: Sequence[DemoObject], *, model: str = "") -> Iterator[Answer]:
    """Send the objects to a server, one call each; clicks one by one, each with the token of the answer before it."""
    for item in objects:
        token = b""
        for prompts in _as_clicked(item.prompts):
            started = time.perf_counter()
            request = ObjectRequest(prompts, item.name, token)
            window = WindowRequest(view_downsample=item.view_downsample)
            prediction = client.predict(slide, [request], model=model, window=window, output=OUTPUT)
            milliseconds = 1000 * (time.perf_counter() - started)
            (result,) = prediction.results
            token = result.token
        yield Answer(item, result, prediction, milliseconds)


def joined(answers: Sequence[Answer]) -> Prediction:
    """Return all answers as if they had come in one call."""
    timings = Timings(total=sum(answer.prediction.timings.total for answer in answers))
    return Prediction(tuple(answer.result for answer in answers), answers[0].prediction.provenance, timings)


def draw(reader: SlideReader, answers: Sequence[Answer], views: Sequence[Window]) -> Image.Image:
    """Draw the first view at the left, the others below each other at its right."""
    panels = [_draw_view(reader, answers, view) for view in views]
    first, others = panels[0], panels[1:]
    width = first.width + (_GAP + max(p.width for p in others) if others else 0)
    height = max(first.height, sum(p.height + _GAP for p in others) - _GAP)
    picture = Image.new("RGB", (width, height), _WHITE)
    picture.paste(first, (0, 0))
    top = 0
    for panel in others:
        picture.paste(panel, (first.width + _GAP, top))
        top += panel.height + _GAP
    return picture


def _draw_view(reader: SlideReader, answers: Sequence[Answer], view: Window) -> Image.Image:
    """Draw objects in the view; those that would be a few px in it are left to the views that show them larger."""
    shown = view.region
    items = []
    for index, answer in enumerate(answers):
        min_x, min_y, max_x, max_y = answer.asked.prompts.bounds
        inside = min_x >= shown.x and min_y >= shown.y and max_x <= shown.right and max_y <= shown.bottom
        is_click = answer.asked.prompts.box is None and answer.asked.prompts.outline is None
        large = (max_x - min_x) / view.downsample > 30 or (is_click and view.downsample < 1)
        if not (inside and large):
            continue
        color = PALETTE[index % len(PALETTE)]
        outlines = answer.result.outlines or (None,)
        for outline in outlines:
            geometry = outline.geometry if outline is not None else Polygon()
            label = f"{answer.asked.name}  {outline.score:.2f}" if outline is not None else ""
            items.append(OverlayItem(geometry, label, answer.asked.prompts, color))
    return draw_overlay(reader.read(view), view, items)


def _as_clicked(prompts: ObjectPrompts) -> Iterator[ObjectPrompts]:
    """Yield the prompts as a person would send them: after every click, all so far."""
    if len(prompts.clicks) < 2:
        yield prompts
        return
    for count in range(1, len(prompts.clicks) + 1):
        yield ObjectPrompts(prompts.clicks[:count], prompts.box, prompts.outline)


def _box(x: float, y: float, width: float, height: float) -> ObjectPrompts:
    return ObjectPrompts(box=Box(x, y, x + width, y + height))


def _densest(reader: SlideReader, side: int) -> tuple[float, float]:
    """Return the centre of the square with most tissue, level-0 px.

    Squares of that side lie on a half-square grid inside the image.
    """
    extent, tissue = reader.info.extent, tissue_map(reader)
    sums = np.pad(tissue.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    scale = extent.width / tissue.shape[1]
    half = max(1, round(side / 2 / scale))
    rows, columns = tissue.shape
    tops = range(0, max(1, rows - 2 * half + 1), half)
    lefts = range(0, max(1, columns - 2 * half + 1), half)

    def count(corner: tuple[int, int]) -> int:
        top, left = corner
        bottom, right = min(rows, top + 2 * half), min(columns, left + 2 * half)
        return int(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])

    top, left = max(((top, left) for top in tops for left in lefts), key=count)
    centre_x, centre_y = min(left + half, columns / 2 if columns < 2 * half else left + half), top + half
    return extent.x + centre_x * scale, extent.y + min(centre_y, rows - 1) * scale
