"""The proof that an edit did what was meant and nothing else: each thing that can go wrong is seen."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
import shapely

from qupath_sam.errors import ProjectError
from qupath_sam.project.objects import Edit, ImageObject, Kind, Plane, ShapeChange
from qupath_sam.project.snapshot import ObjectState, Snapshot, Values
from qupath_sam.project.snapshot import check_edit as check_snapshots

ROOT, REGION, TUMOR, CELL = "root", "region", "tumor", "cell"
OLD, NEW = shapely.box(10, 10, 20, 20), shapely.box(9, 9, 21, 21)


def state(shape: Any, parent: str, children: tuple[str, ...] = (), **values: Any) -> ObjectState:
    defaults: dict[str, Any] = {
        "java_class": "PathAnnotationObject",
        "roi": "Polygon",
        "wkb": shapely.to_wkb(shape),
        "nucleus": b"",
        "plane": (-1, 0, 0),
        "path_class": "Tumor",
        "probability": "0.75",
        "color": None,
        "name": "n",
        "locked": False,
        "metadata": "{by=hand, a, b}",
        "measurements": "{Score, x = y=1.0, Area px^2=100.0}",
    }
    return ObjectState(**(defaults | values), parent=parent, children=children)


BEFORE = {
    ROOT: state(shapely.Point(0, 0), "", (REGION,), wkb=b""),
    REGION: state(shapely.box(0, 0, 100, 100), ROOT, (TUMOR, CELL)),
    TUMOR: state(OLD, REGION),
    CELL: state(shapely.box(50, 50, 51, 51), REGION),
}
CHANGE = ShapeChange(TUMOR, shapely.to_wkb(OLD), shapely.to_wkb(NEW), {"SAM score": 0.5}, {"model": "m"})
EDIT = Edit((CHANGE,))
REFINED = replace(
    BEFORE[TUMOR],
    wkb=shapely.to_wkb(NEW),
    measurements="{Score, x = y=1.0, Area px^2=144.0, SAM score=0.5}",
    metadata="{by=hand, a, b, model=m}",
)
AFTER = BEFORE | {TUMOR: REFINED}
KEPT = Values({"Score, x = y": 1.0, "NaN": float("nan"), "Area px^2": 100.0}, {"by": "hand, a, b"})
NOW = Values({"Score, x = y": 1.0, "NaN": float("nan"), "SAM score": 0.5}, {"by": "hand, a, b", "model": "m"})


def check_edit(
    before: Mapping[str, ObjectState], after: Mapping[str, ObjectState], edit: Edit, now: Values = NOW
) -> None:
    check_snapshots(Snapshot(ROOT, before, {TUMOR: KEPT}), Snapshot(ROOT, after, {TUMOR: now}), edit)


def test_what_was_meant_passes() -> None:
    check_edit(BEFORE, AFTER, EDIT)
    check_edit(BEFORE, BEFORE, Edit())
    rounded = shapely.to_wkb(shapely.box(9.01, 9, 21, 20.99))
    check_edit(BEFORE, AFTER | {TUMOR: replace(REFINED, wkb=rounded)}, EDIT)
    without_area = replace(REFINED, measurements="{Score, x = y=1.0}")
    check_edit(BEFORE, AFTER | {TUMOR: without_area}, EDIT)


OTHER: dict[str, Any] = {
    "java_class": "PathDetectionObject",
    "roi": "Ellipse",
    "wkb": shapely.to_wkb(shapely.box(50, 50, 52, 51)),
    "nucleus": b"x",
    "plane": (-1, 1, 0),
    "path_class": None,
    "probability": "NaN",
    "color": 7,
    "name": None,
    "locked": True,
    "metadata": "{}",
    "measurements": "{Area px^2=100.0}",
    "parent": ROOT,
    "children": (TUMOR,),
}


@pytest.mark.parametrize("field", [field.name for field in fields(ObjectState)])
def test_any_change_of_another_object_is_seen(field: str) -> None:
    changed = replace(AFTER[CELL], **{field: OTHER[field]})
    if field == "children":
        changed = replace(AFTER[CELL], children=())
        before = BEFORE | {CELL: replace(BEFORE[CELL], children=(TUMOR,))}
    else:
        before = BEFORE
    with pytest.raises(ProjectError, match="nothing was kept"):
        check_edit(before, AFTER | {CELL: changed}, EDIT)


@pytest.mark.parametrize("field", sorted(OTHER.keys() - {"roi", "wkb", "children", "measurements", "metadata"}))
def test_a_refined_object_keeps_everything_else(field: str) -> None:
    with pytest.raises(ProjectError, match="nothing was kept"):
        check_edit(BEFORE, AFTER | {TUMOR: replace(REFINED, **{field: OTHER[field]})}, EDIT)


@pytest.mark.parametrize(
    "values",
    [
        {"wkb": shapely.to_wkb(OLD)},
        {"wkb": shapely.to_wkb(shapely.box(9, 9, 21, 22))},
        {"wkb": shapely.to_wkb(shapely.Point(1, 1))},
    ],
)
def test_a_refined_object_is_as_meant(values: dict[str, Any]) -> None:
    with pytest.raises(ProjectError, match="nothing was kept"):
        check_edit(BEFORE, AFTER | {TUMOR: replace(REFINED, **values)}, EDIT)


@pytest.mark.parametrize(
    "now",
    [
        replace(NOW, measurements={"NaN": float("nan"), "SAM score": 0.5}),
        replace(NOW, measurements=NOW.measurements | {"Score, x = y": 2.0}),
        replace(NOW, measurements=NOW.measurements | {"NaN": 0.0}),
        replace(NOW, metadata={"model": "m"}),
        replace(NOW, metadata={"by": "hand", "model": "m"}),
    ],
)
def test_lost_values_of_a_refined_object_are_seen(now: Values) -> None:
    with pytest.raises(ProjectError, match="lost"):
        check_edit(BEFORE, AFTER, EDIT, now)


def test_lost_surplus_and_reordered_objects_are_seen() -> None:
    with pytest.raises(ProjectError, match="1 objects are missing and 0"):
        check_edit(BEFORE, {key: value for key, value in AFTER.items() if key != CELL}, EDIT)
    with pytest.raises(ProjectError, match="0 objects are missing and 1"):
        check_edit(BEFORE, AFTER | {"x": AFTER[CELL]}, EDIT)
    with pytest.raises(ProjectError, match="order"):
        check_edit(BEFORE, AFTER | {REGION: replace(AFTER[REGION], children=(CELL, TUMOR))}, EDIT)


def test_additions_and_removals() -> None:
    new = ImageObject(
        str(uuid.uuid4()), Kind.ANNOTATION, "Polygon", shapely.to_wkb(NEW), Plane(-1, 2, 1), "Stroma", parent_id=TUMOR
    )
    edit = Edit(additions=(new,), removals=(REGION,))
    written = state(NEW, TUMOR, plane=(-1, 2, 1), path_class="Stroma", name=None)
    after = {
        ROOT: replace(BEFORE[ROOT], children=(TUMOR, CELL)),
        TUMOR: replace(BEFORE[TUMOR], parent=ROOT, children=(new.object_id,)),
        CELL: replace(BEFORE[CELL], parent=ROOT),
        new.object_id: written,
    }
    check_edit(BEFORE, after, edit)
    for values in ({"parent": ROOT}, {"plane": (-1, 0, 0)}, {"path_class": "Tumor"}, {"locked": True}, {"name": "x"}):
        with pytest.raises(ProjectError, match="not written as meant"):
            check_edit(BEFORE, after | {new.object_id: replace(written, **values)}, edit)
    with pytest.raises(ProjectError, match="another parent"):
        check_edit(BEFORE, after | {CELL: replace(BEFORE[CELL], parent=TUMOR)}, edit)


@pytest.mark.parametrize(
    ("meant", "same", "other"),
    [
        ("POINT (5 5)", "POINT (5.01 4.99)", "POINT (5.1 5)"),
        ("MULTIPOINT (5 5)", "POINT (5 5)", "POINT (6 5)"),
        ("MULTIPOINT (5 5, 6 6)", "MULTIPOINT (5 5, 6.01 6)", "POINT (5 5)"),
        ("MULTIPOINT (5 5, 5 5)", "MULTIPOINT (5 5, 5 5)", "MULTIPOINT (5 5)"),
        ("LINESTRING (0 0, 9 9)", "LINESTRING (0 0.01, 9 9)", "LINESTRING (0 0, 9 8)"),
        ("LINESTRING (0 0, 9 9)", "LINESTRING (0 0, 9 9)", "POLYGON ((0 0, 9 9, 9 0, 0 0))"),
    ],
)
def test_points_and_lines_are_compared_too(meant: str, same: str, other: str) -> None:
    """There is never an area between them."""
    wkb = shapely.to_wkb(shapely.from_wkt(meant))
    new = ImageObject(str(uuid.uuid4()), Kind.ANNOTATION, "Points", wkb, parent_id=TUMOR, path_class="Stroma")
    edit = Edit(additions=(new,))

    def after(written: str) -> dict[str, ObjectState]:
        added = state(shapely.from_wkt(written), TUMOR, path_class="Stroma", name=None)
        return BEFORE | {TUMOR: replace(BEFORE[TUMOR], children=(new.object_id,)), new.object_id: added}

    check_edit(BEFORE, after(same), edit)
    with pytest.raises(ProjectError, match="nothing was kept"):
        check_edit(BEFORE, after(other), edit)
