"""Everything that can be said of an image's objects, to prove that an edit did what was meant and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import shapely
from shapely.geometry.base import BaseGeometry

from qupath_sam.errors import ProjectError
from qupath_sam.project.measurements import depends_on_shape
from qupath_sam.project.objects import Edit, ImageObject, ShapeChange

#: QuPath rounds coordinates to 0.01 px and holds them as float32, whose steps reach 1/64 px at 131,072 px.
ROUNDING_PX = 0.02


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One object, complete. Measurements and metadata as Java prints them, which is exact for floating point."""

    java_class: str
    roi: str
    wkb: bytes
    nucleus: bytes
    plane: tuple[int, int, int]
    path_class: str | None
    probability: str
    color: int | None
    name: str | None
    locked: bool
    metadata: str
    measurements: str
    parent: str
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Values:
    """Measurements and metadata of one object, taken apart: needed only of objects that change."""

    measurements: Mapping[str, float]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An image at one time.

    Attributes:
        root: id of the root object.
        states: by object id, the root object included.
        values: of the objects that the edit changes.
    """

    root: str
    states: Mapping[str, ObjectState]
    values: Mapping[str, Values]


def check_edit(snapshot_before: Snapshot, snapshot_after: Snapshot, edit: Edit) -> None:
    """Raise `ProjectError` naming the first difference between the one with ``edit`` applied, and the other."""
    before, after, root = snapshot_before.states, snapshot_after.states, snapshot_before.root
    removed = set(edit.removals)
    added = {addition.object_id: addition for addition in edit.additions}
    changed = {change.object_id: change for change in edit.changes}
    expected_ids = (before.keys() - removed) | added.keys()
    if after.keys() != expected_ids:
        missing, surplus = len(expected_ids - after.keys()), len(after.keys() - expected_ids)
        raise ProjectError(f"after writing {missing} objects are missing and {surplus} are too many; nothing was kept")
    for object_id, state in after.items():
        if object_id in added:
            _check_addition(state, added[object_id], root)
        else:
            _check_kept(object_id, before, state, changed.get(object_id), removed)
    for object_id, change in changed.items():
        _check_values(object_id, snapshot_before.values[object_id], snapshot_after.values[object_id], change)


def _check_kept(
    object_id: str,
    before: Mapping[str, ObjectState],
    state: ObjectState,
    change: ShapeChange | None,
    removed: set[str],
) -> None:
    old = before[object_id]
    allowed = {"roi", "wkb", "measurements", "metadata"} if change else set()
    expected_parent = old.parent
    while expected_parent in removed:
        expected_parent = before[expected_parent].parent
    if state.parent != expected_parent:
        raise ProjectError(f"object {object_id} has moved to another parent; nothing was kept")
    for field in fields(ObjectState):
        name = field.name
        if name in ("parent", "children") or name in allowed:
            continue
        if getattr(old, name) != getattr(state, name):
            raise ProjectError(f"the {name} of object {object_id} has changed on writing; nothing was kept")
    staying = [child for child in old.children if child not in removed]
    staying_now = [child for child in state.children if child in set(staying)]
    if staying != staying_now:
        raise ProjectError(f"the children of object {object_id} have changed their order; nothing was kept")
    if change is not None:
        _check_shape(object_id, state.wkb, change.new_wkb)


def _check_addition(state: ObjectState, addition: ImageObject, root: str) -> None:
    _check_shape(addition.object_id, state.wkb, addition.wkb)
    wanted = (
        (addition.plane.c, addition.plane.z, addition.plane.t),
        addition.path_class,
        addition.name,
        addition.locked,
        addition.parent_id or root,
    )
    if (state.plane, state.path_class, state.name, state.locked, state.parent) != wanted:
        raise ProjectError(f"the new object {addition.object_id} was not written as meant; nothing was kept")


def _check_shape(object_id: str, written: bytes, wanted: bytes) -> None:
    a, b = shapely.from_wkb(written), shapely.from_wkb(wanted)
    if a.geom_type.removeprefix("Multi") != b.geom_type.removeprefix("Multi"):
        raise ProjectError(f"object {object_id} was written as a {a.geom_type}, not a {b.geom_type}; nothing was kept")
    if not is_same_shape(a, b):
        raise ProjectError(f"the shape of object {object_id} was written wrongly; nothing was kept")


def is_same_shape(a: BaseGeometry, b: BaseGeometry) -> bool:
    """Return whether two shapes, level-0 px, are the same but for QuPath's rounding."""
    if shapely.get_dimensions(b) < 2:  # points and lines, between which there is no area
        same_count = len(shapely.get_parts(a)) == len(shapely.get_parts(b))
        return same_count and bool(shapely.hausdorff_distance(a, b) <= 2 * ROUNDING_PX)
    # Made valid: a drawn outline may cross itself.
    between = shapely.symmetric_difference(shapely.make_valid(a), shapely.make_valid(b))
    return bool(between.area <= ROUNDING_PX * (b.length + 1))


def _check_values(object_id: str, old: Values, new: Values, change: ShapeChange) -> None:
    if change.exact_measurements is None:
        for name, value in old.measurements.items():
            free = name in change.measurements or depends_on_shape(name, old.measurements)
            if not free and not _same(new.measurements.get(name), value):
                raise ProjectError(f"measurement {name!r} of object {object_id} was lost on writing; nothing was kept")
    if change.exact_metadata is None:
        for key, text in old.metadata.items():
            if key not in change.metadata and new.metadata.get(key) != text:
                raise ProjectError(f"metadata {key!r} of object {object_id} was lost on writing; nothing was kept")


def _same(a: float | None, b: float) -> bool:
    return a is not None and (a == b or (math.isnan(a) and math.isnan(b)))
