"""Prompts, regions and outlines as the command line writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import shapely
from shapely.geometry import MultiPoint, MultiPolygon, Point, Polygon

from qupath_sam.errors import InvalidPrompt, InvalidRegion, InvalidRequest
from qupath_sam.qupath.geojson import AnnotationFeature, Area, FeatureCollection, read_collection
from qupath_sam.qupath.geojson.reading import Fault
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region


def parse_point(text: str) -> Click:
    """Parse ``X,Y`` or ``X,Y,neg`` in level-0 px."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 3 and parts[2] in ("neg", "pos"):
        label = Label.NEGATIVE if parts.pop() == "neg" else Label.POSITIVE
    else:
        label = Label.POSITIVE
    x, y = _numbers(parts, 2, text, "a point is X,Y or X,Y,neg in level-0 pixels", InvalidPrompt)
    return Click.at(x, y, label)


def parse_box(text: str) -> Box:
    """Parse ``X,Y,W,H`` in level-0 px."""
    x, y, width, height = _numbers(
        text.split(","), 4, text, "a box is X,Y,WIDTH,HEIGHT in level-0 pixels", InvalidPrompt
    )
    return Box(x, y, x + width, y + height)


def parse_region(text: str) -> Region:
    """Parse ``X,Y,W,H`` in whole level-0 px."""
    values = _numbers(text.split(","), 4, text, "a region is X,Y,WIDTH,HEIGHT in level-0 pixels", InvalidRegion)
    if not all(math.isfinite(value) for value in values):
        raise InvalidRegion(f"{text!r} has a number that is not finite; a region is X,Y,WIDTH,HEIGHT in level-0 pixels")
    x, y, width, height = (round(value) for value in values)
    return Region(x, y, width, height)


def read_outlines(
    path: Path, *, skip_bad: bool = False, note: Callable[[str], None] = lambda text: None
) -> list[Polygon | MultiPolygon]:
    """Read the polygons of a GeoJSON file, level-0 px.

    Args:
        skip_bad: use the others where a feature is no outline.
        note: called with a sentence on what was left out.

    Raises:
        InvalidRequest: no GeoJSON, or no polygon in it.
        InvalidPrompt: a feature is no outline; the message names all of them.
    """
    found = _features(
        path, (Polygon, MultiPolygon), "a Polygon or MultiPolygon is an outline", skip_bad=skip_bad, note=note
    )
    outlines = [feature.geometry for feature in found if isinstance(feature.geometry, Area)]
    if not outlines:
        raise InvalidPrompt(f"{path} holds no polygon; draw an outline in QuPath and export it as GeoJSON")
    return outlines


def read_examples(
    path: Path, *, skip_bad: bool = False, note: Callable[[str], None] = lambda text: None
) -> list[Polygon | MultiPolygon | tuple[float, float]]:
    """Read the polygons and points of a GeoJSON file, level-0 px; each point of several is one.

    Args and raises: as `read_outlines`.
    """
    shapes = (Polygon, MultiPolygon, Point, MultiPoint)
    examples: list[Polygon | MultiPolygon | tuple[float, float]] = []
    for feature in _features(path, shapes, "an outline or a point is an example", skip_bad=skip_bad, note=note):
        if isinstance(feature.geometry, Area):
            examples.append(feature.geometry)
        else:
            examples += [(float(x), float(y)) for x, y in shapely.get_coordinates(feature.geometry)]
    if not examples:
        raise InvalidPrompt(f"{path} holds no polygon and no point; draw an example in QuPath and export it as GeoJSON")
    return examples


def _features(
    path: Path, shapes: tuple[type, ...], wanted: str, *, skip_bad: bool, note: Callable[[str], None]
) -> list[AnnotationFeature]:
    """Return the features of a file that have one of these shapes; the others are faults."""
    collection = read_collection(path)
    faults = [
        Fault(f"object {feature.id}", f"it is a {feature.geometry.geom_type}, but only {wanted}")
        for feature in collection.features
        if not isinstance(feature.geometry, shapes)
    ]
    fitting = tuple(feature for feature in collection.features if isinstance(feature.geometry, shapes))
    collection = FeatureCollection(fitting, (*collection.refused, *faults), collection.left_out)
    return usable(collection, path, skip_bad=skip_bad, note=note)


def usable(
    collection: FeatureCollection, path: Path, *, skip_bad: bool, note: Callable[[str], None]
) -> list[AnnotationFeature]:
    """Return the features of a file that can be used, as ``--skip-bad`` says.

    Args:
        note: called with a sentence on what was skipped and left out.

    Raises:
        InvalidPrompt: features cannot be used, and may not be skipped; the message names them all.
    """
    if not skip_bad:
        try:
            collection.complete(or_else="give --skip-bad")
        except InvalidRequest as error:
            raise InvalidPrompt(f"{path}: {error}") from error
    for text in (collection.refused_text(), collection.left_out_text()):
        if text:
            note(f"{path}: {text}")
    return list(collection.features)


def objects_from(
    clicks: Sequence[Click], boxes: Sequence[Box], outlines: Sequence[Polygon | MultiPolygon]
) -> list[ObjectPrompts]:
    """Return the objects that the prompts describe: clicks belong to one, together with at most one box or outline.

    Raises:
        InvalidPrompt: no prompt at all, or clicks beside several boxes or outlines.
    """
    if clicks and len(boxes) + len(outlines) > 1:
        raise InvalidPrompt(
            "clicks belong to one object: give them with at most one box or outline, or call once an object"
        )
    if clicks:
        box, outline = next(iter(boxes), None), next(iter(outlines), None)
        return [ObjectPrompts(tuple(clicks), box, outline)]
    objects = [ObjectPrompts(box=box) for box in boxes] + [ObjectPrompts(outline=outline) for outline in outlines]
    if not objects:
        raise InvalidPrompt("give at least one --point, --box or --outline")
    return objects


def refining(
    objects: Sequence[ObjectPrompts], extent: Callable[[], Region], *, interior: int = 1
) -> list[ObjectPrompts]:
    """Return outlines as `qupath-sam project refine` asks about them; a person's clicks take the place of its point.

    Args:
        objects: as `objects_from` gives them.
        extent: the image, level-0 px; called where there is an outline.
        interior: most points inside an outline.

    Raises:
        InvalidPrompt: an outline lies outside the image.
    """
    if all(item.outline is None for item in objects):
        return list(objects)
    from qupath_sam.engine.refine_options import PromptOptions
    from qupath_sam.engine.refine_prompts import prompts_from_outline

    image = extent()
    asked = []
    for item in objects:
        if item.outline is not None:
            item.check_inside(image)
            options = PromptOptions(interior=0 if item.clicks else interior)
            prompts = prompts_from_outline(item.outline, image, options)
            item = replace(prompts, clicks=item.clicks or prompts.clicks)
        asked.append(item)
    return asked


def _numbers(
    parts: Sequence[str], count: int, text: str, form: str, kind: type[InvalidPrompt] | type[InvalidRegion]
) -> list[float]:
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise kind(f"{text!r} has something that is no number; {form}") from error
    if len(values) != count:
        raise kind(f"{text!r} has {len(values)} numbers; {form}")
    return values
