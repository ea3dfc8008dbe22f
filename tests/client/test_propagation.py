"""An outline through the planes of a stack: a disc that moves, grows, shrinks and ends, in an OME-TIFF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import Point, Polygon

from qupath_sam import Axis, Client, EngineSettings, LocalClient, SamClient, Slide, demo_slide_path
from qupath_sam.client.propagation import PlaneOutline, PropagateOptions, propagate
from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.types.refinements import Refusal

HEIGHT, WIDTH = 300, 400
#: Radius of the disc on each plane; 0 where it is not.
RADII = (0, 0, 30, 38, 46, 40, 32, 0, 0)
START = 4


def disc_at(plane: int) -> Polygon:
    """The disc of a plane, level-0 px."""
    return Point(180 + 5 * plane, 160 - 4 * plane).buffer(RADII[plane])


def pixels_of(plane: int) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (x - 180 - 5 * plane) ** 2 + (y - 160 + 4 * plane) ** 2 < RADII[plane] ** 2
    return (np.where(inside, 90, 200) + np.random.default_rng(plane).integers(0, 12, inside.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Through z the disc of `RADII`; at t 1 it is on its start plane everywhere."""
    file = tmp_path_factory.mktemp("stack") / "discs.ome.tif"
    planes = np.array([[pixels_of(z) for z in range(len(RADII))], [pixels_of(START)] * len(RADII)])
    tifffile.imwrite(file, planes, ome=True, metadata={"axes": "TZYX"})
    return file


@pytest.fixture(scope="module", params=["here", "on a server"])
def sam(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "here":
        with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
            yield local
    else:
        with SamClient(request.getfixturevalue("server").address) as client:
            yield client


def carried(client: Client, stack: Path, **options: float) -> list[PlaneOutline]:
    slide = client.open(stack, z=START, model="fake")
    return list(slide.propagate(disc_at(START), "z", **options))


#: Takes whatever the fake model says.
LENIENT = {"min_score": 0.0, "min_iou": 0.0, "max_area_change": 1e6}


def test_planes_come_nearest_first_upwards_and_then_downwards(sam: Client, stack: Path) -> None:
    assert [plane.z for plane in carried(sam, stack, **LENIENT)] == [5, 6, 7, 8, 3, 2, 1, 0]
    assert [plane.z for plane in carried(sam, stack, **LENIENT, first=3, last=6)] == [5, 6, 3]
    slide = Slide(stack, z=START)
    lenient = PropagateOptions(**LENIENT)
    through_time = list(propagate(sam, slide, disc_at(START), Axis.T, options=lenient, model="fake"))
    assert [(plane.z, plane.t) for plane in through_time] == [(START, 1)]


def test_each_plane_is_asked_with_the_outline_of_the_plane_before(sam: Client, stack: Path) -> None:
    planes = carried(sam, stack, **LENIENT)
    known = disc_at(START)
    for plane in planes[:2]:
        assert plane.outline is not None
        slide = Slide(stack, z=plane.z)
        alone = sam.predict(
            slide,
            [sam.open(stack).segment(known).prompts],
            model="fake",
            refine=PropagateOptions(**LENIENT).refining(),
        )
        assert alone.results[0].outlines[0].geometry.equals(plane.outline.geometry)
        known = plane.outline.geometry


def test_an_object_ends_where_the_answer_does_not_fulfil_what_is_asked(sam: Client, stack: Path) -> None:
    planes = carried(sam, stack, min_score=1.0)
    assert [plane.z for plane in planes] == [START + 1, START - 1], "one plane of each direction is asked, and no more"
    assert {plane.refusal for plane in planes} == {Refusal.LOW_SCORE}
    assert [plane.outline for plane in planes] == [None, None]


def test_what_has_no_planes_is_said(sam: Client, stack: Path) -> None:
    with pytest.raises(InvalidRequest, match="one plane along z"):
        next(sam.open(demo_slide_path()).propagate(disc_at(START)))
    with pytest.raises(InvalidRequest, match="do not lie around plane 4 of 0 to 8"):
        carried(sam, stack, first=5)
    with pytest.raises(InvalidRequest, match="unknown axis"):
        next(sam.open(stack).propagate(disc_at(START), "c"))
    with pytest.raises(InvalidRequest, match="pushed pixels are one plane"):
        next(sam.open(np.zeros((64, 64, 3), np.uint8)).propagate(disc_at(START)))
    with pytest.raises(InvalidRequest, match="an array is one plane"):
        sam.open(np.zeros((64, 64, 3), np.uint8), z=1)
    with pytest.raises(SlideUnsupported, match="has no plane"):
        next(sam.open(stack, z=9).propagate(disc_at(START)))


@pytest.mark.slow
def test_the_default_model_follows_a_disc_until_it_ends(stack: Path) -> None:
    with LocalClient(EngineSettings(device="cpu")) as sam:
        planes = list(sam.open(stack, z=START).propagate(disc_at(START), Axis.Z))
    found = {plane.z: plane.outline.geometry for plane in planes if plane.outline is not None}
    assert sorted(found) == [2, 3, 5, 6], {plane.z: plane.refusal for plane in planes}
    for z, outline in found.items():
        disc = disc_at(z)
        assert outline.intersection(disc).area / outline.union(disc).area > 0.85, z
    ends = {plane.z: plane.refusal for plane in planes if plane.refusal is not None}
    assert ends.keys() == {1, 7}
