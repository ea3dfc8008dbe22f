"""From an existing outline to the prompts that ask a model to draw it better."""

from __future__ import annotations

from dataclasses import dataclass

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from qupath_sam.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.regions import Region


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Which prompts an outline is turned into.

    A mask prompt alone holds the answer at the old outline. One point in the middle, which the engine takes as a second
    step, lets go of it; without the mask the answer is freer still, and more often another object. ``qupath-sam bench
    refine`` measures this for any model. Models that were not trained on clicks do better without the point.

    Attributes:
        outline: the old outline as mask prompt.
        box: its bounds as box.
        box_margin: by what share of its longer side the box is wider.
        interior: most points inside, at the places deepest in it; each part is given one first.
        exterior: most points outside, in holes and in the corners of the box.
    """

    outline: bool = True
    box: bool = True
    box_margin: float = 0.05
    interior: int = 1
    exterior: int = 0


def prompts_from_outline(
    outline: Polygon | MultiPolygon, extent: Region, options: PromptOptions | None = None
) -> ObjectPrompts:
    """Box, mask prompt and points for an outline, all in level-0 px and inside the image.

    Args:
        outline: valid, level-0 px.
        extent: the image.
        options: which prompts.

    Raises:
        InvalidPrompt: nothing of the outline lies in the image.
    """
    options = options or PromptOptions()
    image = shapely.box(*extent.bounds)
    visible = outline.intersection(image)
    min_x, min_y, max_x, max_y = outline.bounds
    margin = options.box_margin * max(max_x - min_x, max_y - min_y)
    box = Box(
        max(min_x - margin, extent.x),
        max(min_y - margin, extent.y),
        min(max_x + margin, extent.right),
        min(max_y + margin, extent.bottom),
    )
    clicks = []
    if inside := deepest_points(visible, options.interior):
        clicks.append(Click(inside, Label.POSITIVE))
    if outside := deepest_points(shapely.box(*box.bounds).difference(outline), options.exterior):
        clicks.append(Click(outside, Label.NEGATIVE))
    return ObjectPrompts(tuple(clicks), box if options.box else None, outline if options.outline else None)


def deepest_points(area: BaseGeometry, count: int) -> tuple[tuple[float, float], ...]:
    """Up to ``count`` points of an area that lie far from its border and from each other.

    Each is the centre of the largest circle inscribed in what is left (the pole of inaccessibility); the circle is
    then taken away. Circles below a hundredth of the first one's area are not worth a point.
    """
    points: list[tuple[float, float]] = []
    largest = 0.0
    while len(points) < count:
        parts = [part for part in shapely.get_parts(area) if isinstance(part, Polygon) and part.area > 0]
        if not parts:
            break
        part = max(parts, key=lambda candidate: candidate.area)
        tolerance = max(shapely.length(shapely.box(*part.bounds)) / 400, 1e-3)
        radius = shapely.maximum_inscribed_circle(part, tolerance)
        if radius.length < 0.1 * largest or radius.length == 0:
            break
        largest = max(largest, radius.length)
        centre = shapely.Point(radius.coords[0])
        points.append((centre.x, centre.y))
        area = area.difference(centre.buffer(radius.length * 1.05))
    return tuple(points)
