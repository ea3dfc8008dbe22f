"""Everything that can be said of an image's objects, to prove that an edit did what was meant and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import shapely

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


Snapshot = Mapping[str, ObjectState]


def check_edit(before: Snapshot, after: Snapshot, edit: Edit, root: str) -> None:
    """Raise `ProjectError` naming the first difference between ``before`` with ``edit`` applied, and ``after``.

    Args:
        before, after: by object id, the root object included.
        edit: what was to happen.
        root: id of the root object.
    """
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
            _check_kept(object_id, before, state, changed.get(object_id), removed, added)


def _check_kept(
    object_id: str,
    before: Snapshot,
    state: ObjectState,
    change: ShapeChange | None,
    removed: set[str],
    added: Mapping[str, ImageObject],
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
        _check_measurements(object_id, old.measurements, state.measurements, change)
        _check_metadata(object_id, old.metadata, state.metadata, change)


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
    if shapely.symmetric_difference(shapely.make_valid(a), shapely.make_valid(b)).area > ROUNDING_PX * (b.length + 1):
        raise ProjectError(f"the shape of object {object_id} was written wrongly; nothing was kept")


def _check_measurements(object_id: str, old: str, new: str, change: ShapeChange) -> None:
    if change.exact_measurements is not None:
        return
    now = set(_entries(new))
    for entry in _entries(old):
        name = entry.rpartition("=")[0]
        if entry not in now and not depends_on_shape(name) and name not in change.measurements:
            raise ProjectError(f"measurement {name!r} of object {object_id} was lost on writing; nothing was kept")


def _check_metadata(object_id: str, old: str, new: str, change: ShapeChange) -> None:
    if change.exact_metadata is not None:
        return
    now = set(_entries(new))
    for entry in _entries(old):
        if entry not in now and entry.partition("=")[0] not in change.metadata:
            raise ProjectError(f"metadata {entry!r} of object {object_id} were lost on writing; nothing was kept")


def _entries(java_map: str) -> list[str]:
    """Entries "name=value" of a map as Java prints it; names may hold commas, so these are put together again."""
    entries: list[str] = []
    for part in java_map.strip("{}").split(", "):
        if entries and "=" not in entries[-1]:
            entries[-1] += ", " + part
        elif part:
            entries.append(part)
    return entries
