"""What a run did, to look at and to calculate with: one HTML page that needs nothing else, and a CSV."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from jinja2 import Environment, PackageLoader
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
    """The top of the page: a title, and lines of name and value."""

    title: str
    lines: Sequence[tuple[str, str]]


def write_csv(path: Path, decisions: Iterable[Decision]) -> None:
    """Write one line per object, UTF-8 with a mark so that spreadsheets see it."""
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
    """Write the page: counts, the objects worth looking at with their old and new outlines, errors.

    Args:
        path: to write.
        heading: its top.
        decisions: about all objects.
        images: the project's.
        pixels: renders thumbnails; None draws outlines on white.
        errors: name of each image that failed, and why.
    """
    by_id = {image.entry_id: image for image in images}
    shown = [decision for decision in _worth_seeing(decisions) if decision.image_id in by_id]
    # Escapes every value: names of images, objects and classes are a user's.
    templates = Environment(
        loader=PackageLoader("qupath_sam.project"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = templates.get_template("report.html").render(
        heading=heading,
        tally=Tally.of(decisions),
        bins=_bins([decision.iou for decision in decisions if decision.action is Action.REFINED]),
        errors=errors,
        cards=[_card(decision, by_id[decision.image_id], pixels) for decision in shown],
        count=len(decisions),
    )
    path.write_text(page + "\n", encoding="utf-8")


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
    """Return refused ones with a new outline first, then by how much they changed; removed prompts are not shown."""
    candidates = [d for d in decisions if d.action is not Action.REMOVED and (d.new_wkb or d.before is not None)]

    def rank(decision: Decision) -> tuple[int, float]:
        refused = decision.action is Action.REFUSED
        order = 0 if refused and decision.new_wkb else (2 if refused else 1)
        return order, 2.0 if math.isnan(decision.iou) else decision.iou

    return sorted(candidates, key=rank)[:MOST_THUMBNAILS]


@dataclass(frozen=True, slots=True)
class _Card:
    """An object on the page.

    Attributes:
        numbers: IoU and score, as far as there are any.
        picture: JPEG, base64.
    """

    name: str
    verdict: str
    refused: bool
    numbers: str
    image: str
    picture: str


def _card(decision: Decision, image: ImageEntry, pixels: PixelSource | None) -> _Card:
    before = decision.before
    numbers = [
        f"IoU {decision.iou:.2f}" if not math.isnan(decision.iou) else "",
        f"score {decision.score:.2f}" if not math.isnan(decision.score) else "",
    ]
    return _Card(
        name=(before.name if before else None) or (before.path_class if before else None) or decision.action.value,
        verdict=decision.refusal.value if decision.refusal else decision.action.value,
        refused=decision.refusal is not None,
        numbers=" · ".join(filter(None, numbers)),
        image=image.name,
        picture=base64.b64encode(_thumbnails(decision, image, pixels)).decode(),
    )


def _thumbnails(decision: Decision, image: ImageEntry, pixels: PixelSource | None) -> bytes:
    """Draw a JPEG: the place as it is, and beside it with the old and the new outline."""
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
    """Return the pixels around an object; white where the slide cannot be read here."""
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


def _bins(ious: Sequence[float]) -> list[int]:
    """Count IoUs in twenty bins from 0 to 1; empty where there is none to count."""
    finite = [iou for iou in ious if not math.isnan(iou)]
    counts: list[int] = np.histogram(finite, bins=20, range=(0, 1))[0].tolist()
    return counts if finite else []
