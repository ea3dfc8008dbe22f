"""The papers' Fig. 3: mean IoU after each click, one chart a data set, one line a model, with its 95 % interval.

Drawn with Pillow: one kind of chart does not make a plotting library a dependency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

#: Okabe and Ito's palette: colour-blind readers tell them apart.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_INK, _GRID, _PAPER = "#222222", "#e2e2e2", "#ffffff"
#: Drawn larger and scaled down, for smooth lines.
_OVERSAMPLING = 2
_CHART_WIDTH, _CHART_HEIGHT = 420, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 36, 48
_LEGEND_ROW = 22
_BAND_ALPHA = 40


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where data lie in the figure: clicks from left to right, IoU from ``low`` at the bottom to 1 at the top."""

    x: float
    y: float
    width: float
    height: float
    clicks: int
    low: float

    def point(self, click: float, iou: float) -> tuple[float, float]:
        across = (click - 1) / max(1, self.clicks - 1)
        return self.x + across * self.width, self.y + (1 - (iou - self.low) / (1 - self.low)) * self.height


def draw_curves(report: Mapping[str, Any]) -> Image.Image:
    """Draw the figure.

    Args:
        report: as `qupath_sam.evaluation.report.build_report` makes it.
    """
    results: Mapping[str, Mapping[str, Mapping[str, Any]]] = report["results"]
    datasets = list(dict.fromkeys(name for of_model in results.values() for name in of_model))
    models = list(results)
    unit = _OVERSAMPLING
    width = _CHART_WIDTH * max(1, len(datasets))
    height = _CHART_HEIGHT + _LEGEND_ROW * len(models)
    figure = Image.new("RGB", (width * unit, height * unit), _PAPER)
    for column, dataset in enumerate(datasets):
        curves = {m: results[m][dataset] for m in models if dataset in results[m]}
        axes = _axes(column, curves.values(), unit)
        _draw_frame(figure, axes, title=_title(dataset, curves), first=column == 0, unit=unit)
        for model, summary in curves.items():
            colour = PALETTE[models.index(model) % len(PALETTE)]
            figure = _draw_band(figure, axes, summary["miou_ci95"], colour)
            _draw_line(figure, axes, summary["miou"], colour, unit)
    _draw_legend(figure, models, unit)
    return figure.resize((width, height), Image.Resampling.LANCZOS)


def _axes(column: int, summaries: Any, unit: int) -> _Axes:
    curves = [s["miou"] for s in summaries]
    lowest = min(low for s in summaries for low, _ in s["miou_ci95"])
    return _Axes(
        x=(column * _CHART_WIDTH + _LEFT) * unit,
        y=_TOP * unit,
        width=(_CHART_WIDTH - _LEFT - _RIGHT) * unit,
        height=(_CHART_HEIGHT - _TOP - _BOTTOM) * unit,
        clicks=max(len(c) for c in curves),
        low=max(0.0, min(0.9, math.floor(lowest * 10) / 10)),
    )


def _title(dataset: str, curves: Mapping[str, Mapping[str, Any]]) -> str:
    summary = next(iter(curves.values()))
    return f"{dataset}: {summary['n']} objects, {summary['groups']} group{'s' if summary['groups'] != 1 else ''}"


def _draw_frame(figure: Image.Image, axes: _Axes, *, title: str, first: bool, unit: int) -> None:
    draw = ImageDraw.Draw(figure)
    small, large = _font(12 * unit), _font(14 * unit)
    steps = round((1 - axes.low) * 10)
    for step in range(0, steps + 1, 1 if steps <= 5 else 2):
        iou = axes.low + step / 10
        left, y = axes.point(1, iou)
        draw.line([(left, y), (left + axes.width, y)], fill=_GRID, width=unit)
        draw.text((left - 8 * unit, y), f"{iou:.1f}", fill=_INK, font=small, anchor="rm")
    for click in sorted({1, *range(5, axes.clicks + 1, 5), axes.clicks}):
        x, bottom = axes.point(click, axes.low)
        draw.line([(x, bottom), (x, bottom + 4 * unit)], fill=_INK, width=unit)
        draw.text((x, bottom + 8 * unit), str(click), fill=_INK, font=small, anchor="mt")
    x, bottom = axes.point(1, axes.low)
    draw.line([(x, axes.y), (x, bottom), (x + axes.width, bottom)], fill=_INK, width=unit)
    draw.text((x + axes.width / 2, axes.y - 14 * unit), title, fill=_INK, font=large, anchor="mm")
    draw.text((x + axes.width / 2, bottom + 34 * unit), "clicks", fill=_INK, font=small, anchor="mm")
    if first:
        draw.text((8 * unit, axes.y - 14 * unit), "mean IoU", fill=_INK, font=small, anchor="lm")


def _draw_band(figure: Image.Image, axes: _Axes, bounds: Sequence[Sequence[float]], colour: str) -> Image.Image:
    lower = [axes.point(k, max(axes.low, low)) for k, (low, _) in enumerate(bounds, start=1)]
    upper = [axes.point(k, high) for k, (_, high) in enumerate(bounds, start=1)]
    band = Image.new("L", figure.size, 0)
    if len(bounds) > 1:
        ImageDraw.Draw(band).polygon([*lower, *reversed(upper)], fill=_BAND_ALPHA)
    return Image.composite(Image.new("RGB", figure.size, colour), figure, band)


def _draw_line(figure: Image.Image, axes: _Axes, miou: Sequence[float], colour: str, unit: int) -> None:
    draw = ImageDraw.Draw(figure)
    points = [axes.point(k, iou) for k, iou in enumerate(miou, start=1)]
    draw.line(points, fill=colour, width=2 * unit, joint="curve")
    for x, y in points:
        draw.circle((x, y), 2.5 * unit, fill=colour)


def _draw_legend(figure: Image.Image, models: Sequence[str], unit: int) -> None:
    draw = ImageDraw.Draw(figure)
    for row, model in enumerate(models):
        y = (_CHART_HEIGHT + (row + 0.5) * _LEGEND_ROW) * unit
        colour = PALETTE[row % len(PALETTE)]
        draw.line([(_LEFT * unit, y), ((_LEFT + 24) * unit, y)], fill=colour, width=3 * unit)
        draw.text(((_LEFT + 32) * unit, y), model, fill=_INK, font=_font(13 * unit), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
