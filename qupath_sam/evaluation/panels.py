"""The papers' Fig. 4 and S1: an object under a model, with its clicks and outlines, after 1, 5, 10 and 20 clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from qupath_sam.datasets.simulated_clicks import SimulatedClick
from qupath_sam.evaluation.protocol import ClickRun
from qupath_sam.types.masks import Mask, box_of
from qupath_sam.types.prompts import Label

SHOWN_CLICKS = (1, 5, 10, 20)
_PANEL, _GAP, _CAPTION = 300, 8, 24
_TRUTH, _PREDICTION = (255, 221, 0), (0, 158, 255)
_CLICK_COLOURS = {Label.POSITIVE: (0, 200, 80), Label.NEGATIVE: (230, 30, 30)}
_CLICK_RADIUS = 5
_OUTLINE_WIDTH = 2
#: Free space round the object, as a share of its longer side; and the least that is shown, px.
_MARGIN_SHARE, _LEAST_SHOWN = 0.6, 48


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A row of the figure.

    Attributes:
        title: what is shown.
        pixels: uint8 ``(H, W, 3)`` RGB.
        truth: bool ``(H, W)``.
        run: with masks kept for the clicks that are to be shown.
    """

    title: str
    pixels: NDArray[np.uint8]
    truth: Mask
    run: ClickRun


def draw_cases(cases: Sequence[Case]) -> Image.Image:
    """Draw one row a case, one column a number of clicks. Yellow: the truth; blue: the mask; dots: clicks.

    Raises:
        ValueError: there are no cases.
    """
    if not cases:
        raise ValueError("a figure needs at least one case")
    columns = max(len(case.run.masks) for case in cases)
    height = _CAPTION + _PANEL + _GAP
    figure = Image.new("RGB", (columns * (_PANEL + _GAP) + _GAP, len(cases) * (height + _CAPTION) + _GAP), "white")
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(14)
    for row, case in enumerate(cases):
        top = _GAP + row * (height + _CAPTION)
        draw.text((_GAP, top + _CAPTION / 2), case.title, fill="black", font=font, anchor="lm")
        for column, (number, mask) in enumerate(sorted(case.run.masks.items())):
            left = _GAP + column * (_PANEL + _GAP)
            caption = f"{number} click{'s' if number > 1 else ''}: IoU {case.run.iou[number - 1]:.3f}"
            draw.text((left, top + 1.4 * _CAPTION), caption, fill="black", font=font, anchor="lm")
            figure.paste(_panel(case, mask, case.run.clicks[:number]), (left, top + 2 * _CAPTION))
    return figure


def _panel(case: Case, mask: Mask, clicks: Sequence[SimulatedClick]) -> Image.Image:
    x, y, side = _shown_square(case.truth)
    scale = _PANEL / side
    panel = np.asarray(_enlarged(Image.fromarray(case.pixels), x, y, side, Image.Resampling.BICUBIC)).copy()
    for shown, colour in ((case.truth, _TRUTH), (mask, _PREDICTION)):
        enlarged = np.asarray(_enlarged(Image.fromarray(shown), x, y, side, Image.Resampling.NEAREST))
        panel[enlarged & ~ndimage.binary_erosion(enlarged, iterations=_OUTLINE_WIDTH, border_value=1)] = colour
    image = Image.fromarray(panel)
    draw = ImageDraw.Draw(image)
    for click in clicks:
        centre = (click.point[0] - x) * scale, (click.point[1] - y) * scale
        draw.circle(centre, _CLICK_RADIUS, fill=_CLICK_COLOURS[click.label], outline="white")
    return image


def _enlarged(image: Image.Image, x: int, y: int, side: int, resampling: Image.Resampling) -> Image.Image:
    """Return the square at ``(x, y)`` of ``side`` px; what lies outside the image is black."""
    return image.crop((x, y, x + side, y + side)).resize((_PANEL, _PANEL), resampling)


def _shown_square(truth: Mask) -> tuple[int, int, int]:
    """Return the corner and side of the square to show: the object with a margin, if possible inside the image."""
    height, width = truth.shape
    min_x, min_y, max_x, max_y = (int(v) for v in box_of(truth).bounds)
    longer = max(max_x - min_x, max_y - min_y)
    side = min(max(_LEAST_SHOWN, round(longer * (1 + 2 * _MARGIN_SHARE))), max(height, width))
    x = min(max(0, (min_x + max_x - side) // 2), max(0, width - side))
    y = min(max(0, (min_y + max_y - side) // 2), max(0, height - side))
    return x, y, side
