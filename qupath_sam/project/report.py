"""What a run did, to look at and to calculate with: one HTML page that needs nothing else, and a CSV."""

from __future__ import annotations

import base64
import csv
import html
import io
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import ProjectError
from qupath_sam.project.decisions import Action, Decision, Tally
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import Plane
from qupath_sam.project.predictor import PixelSource, extent_of, region_around
from qupath_sam.qupath.overlay import OverlayItem, draw_overlay
from qupath_sam.types.regions import Window

#: Side of a thumbnail, px.
THUMBNAIL_PX = 220
#: Most objects with thumbnails; the page stays at a few MB.
MOST_THUMBNAILS = 120

_OLD, _NEW = (230, 159, 0), (0, 158, 115)

_COLUMNS = (
    *("image id", "image", "object id", "name", "class", "action", "reason", "IoU", "score"),
    *("area before px2", "area after px2", "remark"),
)


@dataclass(frozen=True, slots=True)
class Heading:
    """What the page says at its top: a title, and lines of name and value."""

    title: str
    lines: Sequence[tuple[str, str]]


def write_csv(path: Path, decisions: Iterable[Decision]) -> None:
    """One line per object, UTF-8 with a mark so that spreadsheets see it."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(_row(decision) for decision in decisions)


def write_html(
    path: Path,
    heading: Heading,
    decisions: Sequence[Decision],
    images: Iterable[ImageEntry],
    pixels: PixelSource | None,
    *,
    errors: Sequence[tuple[str, str]] = (),
) -> None:
    """The page: counts, the objects worth looking at with their old and new outlines, errors.

    Args:
        path: to write.
        heading: its top.
        decisions: about all objects.
        images: the project's.
        pixels: renders thumbnails; None draws outlines on white.
        errors: name of each image that failed, and why.
    """
    by_id = {image.entry_id: image for image in images}
    shown = _worth_seeing(decisions)
    cards = [_card(decision, by_id[decision.image_id], pixels) for decision in shown if decision.image_id in by_id]
    tally = Tally.of(decisions)
    parts = [
        f"<h1>{html.escape(heading.title)}</h1>",
        _table(heading.lines),
        '<div class="tiles">',
        *(_tile(name, count, "good" if name != "refused" else "") for name, count in tally.actions.items()),
        *(_tile(name, count, "bad") for name, count in tally.refusals.items()),
        "</div>",
        _histogram([decision.iou for decision in decisions if decision.action is Action.REFINED]),
    ]
    if errors:
        parts += ["<h2>Images that could not be worked on</h2>", _table(errors)]
    if cards:
        parts += [
            f"<h2>{len(cards)} of {len(decisions)} objects</h2>",
            '<p>Refused ones first, then those that changed most. <b class="old">orange</b>: before, '
            '<b class="new">green</b>: after. Left the image as it is, right with both outlines.</p>',
            '<div class="cards">',
            *cards,
            "</div>",
        ]
    body = "\n".join(parts)
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(heading.title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _row(decision: Decision) -> tuple[object, ...]:
    before = decision.before
    return (
        decision.image_id,
        decision.image_name,
        decision.object_id,
        (before.name if before else None) or "",
        (before.path_class if before else None) or "",
        decision.action.value,
        decision.refusal.value if decision.refusal else "",
        "" if math.isnan(decision.iou) else f"{decision.iou:.4f}",
        "" if math.isnan(decision.score) else f"{decision.score:.4f}",
        f"{before.geometry.area:.1f}" if before else "",
        f"{shapely.from_wkb(decision.new_wkb).area:.1f}" if decision.new_wkb else "",
        decision.remark,
    )


def _worth_seeing(decisions: Sequence[Decision]) -> list[Decision]:
    """Refused with a new outline first, then by how much they changed; removed prompts are not shown."""
    candidates = [d for d in decisions if d.action is not Action.REMOVED and (d.new_wkb or d.before is not None)]

    def rank(decision: Decision) -> tuple[int, float]:
        refused = decision.action is Action.REFUSED
        order = 0 if refused and decision.new_wkb else (2 if refused else 1)
        return order, 2.0 if math.isnan(decision.iou) else decision.iou

    return sorted(candidates, key=rank)[:MOST_THUMBNAILS]


def _card(decision: Decision, image: ImageEntry, pixels: PixelSource | None) -> str:
    before = decision.before
    name = (before.name if before else None) or (before.path_class if before else None) or decision.action.value
    numbers = [
        f"IoU {decision.iou:.2f}" if not math.isnan(decision.iou) else "",
        f"score {decision.score:.2f}" if not math.isnan(decision.score) else "",
    ]
    verdict = decision.refusal.value if decision.refusal else decision.action.value
    state = "bad" if decision.refusal else "good"
    picture = _thumbnails(decision, image, pixels)
    return (
        f'<figure><img alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
        f'<figcaption><b>{html.escape(name)}</b> <span class="{state}">{html.escape(verdict)}</span><br>'
        f"{html.escape(' · '.join(filter(None, numbers)))}<br><small>{html.escape(image.name)}</small></figcaption>"
        "</figure>"
    )


def _thumbnails(decision: Decision, image: ImageEntry, pixels: PixelSource | None) -> bytes:
    """A JPEG: the place as it is, and beside it with the old and the new outline."""
    shapes = [
        (before, color)
        for before, color in (
            (decision.before.geometry if decision.before else None, _OLD),
            (shapely.from_wkb(decision.new_wkb) if decision.new_wkb else None, _NEW),
        )
        if isinstance(before, Polygon | MultiPolygon) and not before.is_empty
    ]
    bounds = shapely.union_all([shape.envelope for shape, _ in shapes]).bounds if shapes else (0.0, 0.0, 1.0, 1.0)
    plane = decision.before.plane if decision.before else Plane()
    window, array = _pixels(image, bounds, plane, pixels)
    items = [OverlayItem(shape, color=color) for shape, color in shapes]
    plain, drawn = Image.fromarray(array), draw_overlay(array, window, items)
    both = Image.new("RGB", (plain.width + drawn.width + 4, plain.height), (255, 255, 255))
    both.paste(plain, (0, 0))
    both.paste(drawn, (plain.width + 4, 0))
    buffer = io.BytesIO()
    both.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _pixels(
    image: ImageEntry, bounds: tuple[float, float, float, float], plane: Plane, pixels: PixelSource | None
) -> tuple[Window, NDArray[np.uint8]]:
    """Pixels around an object; white where the slide cannot be read here."""
    extent = extent_of(image)
    try:
        region = region_around(bounds, extent, share=0.25, least=12.0)
    except ProjectError:  # an old outline beyond the image
        region = extent
    window = Window.of(region, max(region.width, region.height) / THUMBNAIL_PX)
    array = np.full((window.height, window.width, 3), 255, np.uint8)
    if pixels is not None:
        area = (region.x, region.y, region.width, region.height)
        with suppress(ProjectError):
            width, height, data = pixels.pixels(image, area, max(window.downsample, 1.0), z=plane.z, t=plane.t)
            picture = Image.frombytes("RGB", (width, height), data).resize((window.width, window.height))
            array = np.asarray(picture, np.uint8).copy()
    return window, array


def _tile(name: str, count: int, state: str) -> str:
    return f'<div class="tile {state}"><b>{count:,}</b>{html.escape(name)}</div>'


def _table(lines: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in lines)
    return f"<table>{rows}</table>"


def _histogram(values: Sequence[float]) -> str:
    """How much the outlines changed: counts of IoU in twenty bins, as an inline SVG."""
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return ""
    counts, _ = np.histogram(finite, bins=20, range=(0, 1))
    bars = "".join(
        f'<rect x="{20 * index}" y="{80 - 76 * count / counts.max():.1f}" width="17" '
        f'height="{76 * count / counts.max():.1f}"><title>{index / 20:.2f} to {(index + 1) / 20:.2f}: {count}</title>'
        "</rect>"
        for index, count in enumerate(counts)
    )
    labels = "".join(f'<text x="{x}" y="94">{text}</text>' for x, text in ((0, "0"), (193, "0.5"), (390, "1")))
    return (
        "<h2>IoU of old and new outline, refined objects</h2>"
        f'<svg viewBox="0 0 400 98" width="480" role="img" aria-label="histogram of IoU">{bars}{labels}</svg>'
    )


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1100px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.8em}
table{border-collapse:collapse}th,td{text-align:left;padding:.15em 1.2em .15em 0;vertical-align:top}
th{color:#666;font-weight:normal;white-space:nowrap}
.tiles{display:flex;flex-wrap:wrap;gap:.7em;margin:1.2em 0}
.tile{background:#f4f4f2;border-radius:6px;padding:.6em 1em;min-width:6em}.tile b{display:block;font-size:1.6em}
.good{color:#00664b}.bad{color:#a43c00}.old{color:#b87f00}.new{color:#00805d}
.tile.good,.tile.bad{border-left:4px solid}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:1em}
figure{margin:0;border:1px solid #ddd;border-radius:6px;overflow:hidden}
figure img{width:100%;display:block}figcaption{padding:.5em .8em}small{color:#777}
svg rect{fill:#009e73}svg text{font-size:10px;fill:#666}
@media print{figure{break-inside:avoid}}
"""
