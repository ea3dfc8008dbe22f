"""What a person or a project says about one object: clicks, a box, an existing outline. Level-0 px, pixel edges."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.errors import InvalidPrompt
from qupath_sam.types.regions import Region


class Label(enum.Enum):
    """Whether a click asks for the place to belong to the object or not."""

    POSITIVE = 1
    NEGATIVE = 0


@dataclass(frozen=True, slots=True)
class Click:
    """One act of pointing: a click (one point) or a scribble (several points taken together).

    Attributes:
        points: ``((x, y), ...)`` in level-0 px, at least one. A click on the pixel in column i, row j is
            ``(i + .5, j + .5)``.
        label: positive (belongs to the object) or negative (does not).
        from_mask: which mask of the step before the click goes on from (`Outline.mask_index`); None takes the one that
            the request's `MaskChoice` names.
        same_step: whether it is taken in one step with the click before it: both were made on the same outline.
    """

    points: tuple[tuple[float, float], ...]
    label: Label = Label.POSITIVE
    from_mask: int | None = None
    same_step: bool = False

    @classmethod
    def at(
        cls,
        x: float,
        y: float,
        label: Label = Label.POSITIVE,
        *,
        from_mask: int | None = None,
        same_step: bool = False,
    ) -> Click:
        """Return a click with a single point."""
        return cls(((float(x), float(y)),), label, from_mask, same_step)

    def __post_init__(self) -> None:
        if not self.points:
            raise InvalidPrompt("a click needs at least one point; leave empty clicks out")
        for x, y in self.points:
            if not (math.isfinite(x) and math.isfinite(y)):
                raise InvalidPrompt(f"click coordinates must be finite numbers, got ({x}, {y})")
        if self.from_mask is not None and self.from_mask < 0:
            raise InvalidPrompt(f"from_mask counts from 0, got {self.from_mask}")
        if self.from_mask is not None and self.same_step:
            raise InvalidPrompt(
                "a click in the step of the one before it goes on from the same mask; leave out from_mask or same_step"
            )


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle around the object: ``(min_x, min_y)`` to ``(max_x, max_y)``, level-0 px, pixel edges."""

    min_x: float
    min_y: float
    max_x: float
    max_y: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in self.bounds):
            raise InvalidPrompt(f"box coordinates must be finite numbers, got {self.bounds}")
        if self.max_x <= self.min_x or self.max_y <= self.min_y:
            raise InvalidPrompt(f"a box needs a positive width and height, got {self.bounds}")

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """``(min_x, min_y, max_x, max_y)``."""
        return self.min_x, self.min_y, self.max_x, self.max_y


@dataclass(frozen=True, slots=True)
class ObjectPrompts:
    """All prompts of one object, in the order in which they were given.

    Attributes:
        clicks: in order; each is one step of refinement, or part of the step before (see `qupath_sam.engine.steps`).
        box: at most one.
        outline: an existing polygon or multipolygon of the object, level-0 px; taken before the clicks.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    outline: Polygon | MultiPolygon | None = field(default=None)

    def __post_init__(self) -> None:
        if not self.clicks and self.box is None and self.outline is None:
            raise InvalidPrompt("an object needs at least one click, a box or an outline")
        if self.outline is not None:
            check_outline(self.outline)
        if self.box is None and self.outline is None and self.clicks[0].label is not Label.POSITIVE:
            raise InvalidPrompt("the first click of an object must be positive: there is nothing yet to take away from")
        if self.box is None and self.outline is None and self.clicks[0].from_mask is not None:
            raise InvalidPrompt("the first click of an object has no mask to go on from; leave from_mask out")
        if self.clicks and self.clicks[0].same_step:
            raise InvalidPrompt("there is no click before the first one; leave its same_step out")

    def check_inside(self, extent: Region) -> None:
        """Raise `InvalidPrompt` unless every click lies in ``extent`` and box and outline share some area with it."""
        for click in self.clicks:
            for x, y in click.points:
                if not (extent.x <= x <= extent.right and extent.y <= y <= extent.bottom):
                    raise InvalidPrompt(
                        f"click ({x:g}, {y:g}) lies outside the image ({_describe(extent)}); "
                        "prompts are in level-0 pixels"
                    )
        area = shapely.box(*extent.bounds)
        if self.box is not None and not area.intersection(shapely.box(*self.box.bounds)).area:
            raise InvalidPrompt(f"box {self.box.bounds} lies outside the image ({_describe(extent)})")
        if self.outline is not None and not area.intersection(self.outline).area:
            raise InvalidPrompt(
                f"outline with bounds {self.outline.bounds} lies outside the image ({_describe(extent)})"
            )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest rectangle round everything positive: clicks, box and outline, level-0 px."""
        xs: list[float] = []
        ys: list[float] = []
        for click in self.clicks:
            if click.label is Label.POSITIVE:
                xs += [x for x, _ in click.points]
                ys += [y for _, y in click.points]
        if self.box is not None:
            xs += [self.box.min_x, self.box.max_x]
            ys += [self.box.min_y, self.box.max_y]
        if self.outline is not None:
            min_x, min_y, max_x, max_y = self.outline.bounds
            xs += [min_x, max_x]
            ys += [min_y, max_y]
        return min(xs), min(ys), max(xs), max(ys)


def check_outline(outline: object) -> None:
    """Raise `InvalidPrompt` unless ``outline`` is a valid, non-empty, finite Polygon or MultiPolygon."""
    if not isinstance(outline, Polygon | MultiPolygon):
        raise InvalidPrompt(f"an outline must be a Polygon or MultiPolygon, got {type(outline).__name__}")
    if outline.is_empty:
        raise InvalidPrompt("the outline is empty")
    if not all(math.isfinite(v) for v in outline.bounds):
        raise InvalidPrompt("the outline has coordinates that are not finite numbers")
    if not outline.is_valid:
        raise InvalidPrompt(f"the outline is not a valid polygon ({shapely.is_valid_reason(outline)}); repair it first")


def scribble(points: Sequence[tuple[float, float]], label: Label = Label.POSITIVE) -> Click:
    """Return a stroke: several points (level-0 px) that the model takes in one step."""
    return Click(tuple((float(x), float(y)) for x, y in points), label)


def _describe(extent: Region) -> str:
    return f"x {extent.x} to {extent.right}, y {extent.y} to {extent.bottom}"
