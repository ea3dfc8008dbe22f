"""Prompts drawn in a project, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import Point, Polygon

from qupath_sam.errors import InvalidRequest
from qupath_sam.project.decisions import Tally
from qupath_sam.project.objects import Plane
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import RefineOptions, refine_image
from qupath_sam.project.run import select_images
from qupath_sam.project.segment import SegmentOptions, prompted_objects, segment_image
from qupath_sam.types.prompts import Label
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.results import Doubt, Prediction
from tests.project.plain_editor import GrowingPredictor
from tests.project.refining import SQUARE, FailingGeometry, annotation


def test_a_failure_of_geos_is_one_prompt_s(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    boxes = [annotation(shapely.box(x, 300, x + 50, 350), roi="Rectangle") for x in (100, 300, 500)]
    options = SegmentOptions({"Tumor": "Tumor"})
    proposal = segment_image(images[0], boxes, options, FailingGeometry(), ServerReadsSlides())
    assert len(proposal.edit.additions) == 2
    (failed,) = [d for d in proposal.decisions if d.refusal is Refusal.FAILED]
    assert failed.object_id == boxes[1].object_id
    assert "side location conflict" in failed.remark


def test_segment_prompts(project_file: Path) -> None:
    objects = [
        annotation(shapely.MultiPoint([(50, 50), (400, 400)]), "SAM", "Points", name="n", plane=Plane(-1, 1, 0)),
        annotation(shapely.box(600, 600, 700, 700), "SAM: big", "Rectangle"),
        annotation(shapely.MultiPoint([(410, 400)]), "SAM*", "Points", plane=Plane(-1, 1, 0)),
        annotation(shapely.box(600, 600, 700, 700), "SAM", "Polygon"),
        annotation(Point(9, 9), "SAM", "Points", locked=True),
        annotation(Point(9, 9), "Tumor", "Points"),
    ]
    objects.append(annotation(Point(650, 650), "SAM", "Points", parent_id=objects[1].object_id))
    options = SegmentOptions({"SAM": "Tumor"})
    each = prompted_objects(objects, options)
    assert [item.source for item in each] == [objects[0], objects[0], objects[1], objects[6]]
    assert [click.label for click in each[1].prompts.clicks] == [Label.POSITIVE, Label.NEGATIVE]
    assert len(each[0].prompts.clicks) == 1
    together = prompted_objects(objects, replace(options, together=True))
    assert len(together) == 3
    assert len(together[0].prompts.clicks[0].points) == 2

    _, images = select_images(project_file, ("1",))
    predictor = GrowingPredictor()
    proposal = segment_image(images[0], objects, options, predictor, ServerReadsSlides())
    added = proposal.edit.additions
    assert [item.path_class for item in added] == ["Tumor"] * 4
    assert [item.plane.z for item in added] == [1, 1, 0, 0]
    assert added[0].name == "n"
    assert added[3].parent_id is None, "its parent was a prompt, which goes"
    assert set(proposal.edit.removals) == {objects[index].object_id for index in (0, 1, 2, 6)}
    assert {call[0].z for call in predictor.calls} == {0, 1}
    keep = segment_image(images[0], objects, replace(options, keep_prompts=True), predictor, ServerReadsSlides())
    assert keep.edit.removals == ()
    assert keep.edit.additions[3].parent_id == objects[1].object_id


class DoubtfulPredictor(GrowingPredictor):
    """A model that has doubts about each answer."""

    def __init__(self, *doubts: Doubt) -> None:
        super().__init__()
        self._doubts = doubts

    def predict(self, *args: Any, **keywords: Any) -> Prediction:
        made = super().predict(*args, **keywords)
        return replace(made, results=tuple(replace(each, doubts=self._doubts) for each in made.results))


@pytest.mark.parametrize(("doubt", "refusal"), [(Doubt.LARGE, Refusal.LARGE), (Doubt.BACKGROUND, Refusal.BACKGROUND)])
def test_an_answer_that_runs_away_is_not_taken_and_its_prompt_stays(
    project_file: Path, doubt: Doubt, refusal: Refusal
) -> None:
    """A third of the slide became an annotation, and the point that it was asked with went."""
    _, images = select_images(project_file, ("1",))
    point = annotation(Point(50, 50), "SAM", "Points")
    predictor = DoubtfulPredictor(Doubt.LOW_SCORE, doubt)
    proposal = segment_image(images[0], [point], SegmentOptions({"SAM": "SAM"}), predictor, ServerReadsSlides())
    assert proposal.edit.additions == proposal.edit.removals == ()
    (decision,) = proposal.decisions
    assert decision.refusal is refusal
    assert not shapely.from_wkb(decision.new_wkb).is_empty, "the report shows it"


def test_a_low_score_is_taken_and_said(project_file: Path) -> None:
    _, images = select_images(project_file, ("1",))
    points = [annotation(Point(50, 50), "SAM", "Points"), annotation(Point(500, 300), "SAM", "Points")]
    predictor = DoubtfulPredictor(Doubt.LOW_SCORE)
    proposal = segment_image(images[0], points, SegmentOptions({"SAM": "SAM"}), predictor, ServerReadsSlides())
    assert len(proposal.edit.additions) == 2
    assert Tally.of(proposal.decisions).doubts == {"low score": 2}


def test_prompts_with_children_stay(project_file: Path) -> None:
    """On 0.1.0 a rectangle became a blob, and its 449 children were flung to the root."""
    region = annotation(shapely.box(300, 300, 700, 700), "SAM", "Rectangle", children=2)
    inner = annotation(shapely.box(400, 400, 500, 500), "SAM", "Rectangle", parent_id=region.object_id, children=1)
    point = annotation(Point(450, 450), "SAM", "Points", parent_id=inner.object_id)
    nucleus = annotation(SQUARE, "Nucleus", parent_id=region.object_id)
    _, images = select_images(project_file, ("1",))
    proposal = segment_image(
        images[0],
        [region, inner, point, nucleus],
        SegmentOptions({"SAM": "SAM"}),
        GrowingPredictor(),
        ServerReadsSlides(),
    )
    assert len(proposal.edit.additions) == 3
    assert set(proposal.edit.removals) == {inner.object_id, point.object_id}, "what lay in them goes as well"
    assert [added.parent_id for added in proposal.edit.additions] == [None, region.object_id, region.object_id]


def test_a_prompt_at_fault_does_not_take_the_others_with_it(project_file: Path) -> None:
    class Refuses(GrowingPredictor):
        def predict(self, image: Any, objects: Any, **keywords: Any) -> Any:
            if any((item.prompts.clicks[0].points[0]) == (400, 400) for item in objects):
                raise InvalidRequest("not this one")
            return super().predict(image, objects, **keywords)

    points = [annotation(Point(x, x), "SAM", "Points") for x in (50, 400, 200, 5000)]
    _, images = select_images(project_file, ("1",))
    proposal = segment_image(images[0], points, SegmentOptions({"SAM": "SAM"}), Refuses(), ServerReadsSlides())
    assert len(proposal.edit.additions) == 2
    assert set(proposal.edit.removals) == {points[0].object_id, points[2].object_id}
    refused = {decision.object_id: decision.refusal for decision in proposal.decisions if decision.refusal}
    assert refused == {points[1].object_id: Refusal.FAILED, points[3].object_id: Refusal.PROMPT_OUTSIDE}


def test_what_a_model_has_outlined_is_no_prompt(project_file: Path) -> None:
    """A square nucleus becomes a rectangle in QuPath; a second run must not ask about it again."""
    outlined = annotation(SQUARE, "SAM", "Rectangle", metadata={"qupath-sam.model": "fake"})
    assert prompted_objects([outlined], SegmentOptions({"SAM": "SAM"})) == []


def test_prompts_without_an_answer_stay(project_file: Path) -> None:
    class Finds(GrowingPredictor):
        def answer(self, prompts: Any, window: Any) -> Any:
            return Polygon() if prompts.clicks[0].points[0][0] > 300 else super().answer(prompts, window)

    points = annotation(shapely.MultiPoint([(50, 50), (400, 400)]), "SAM", "Points")
    _, images = select_images(project_file, ("1",))
    proposal = segment_image(images[0], [points], SegmentOptions({"SAM": "SAM"}), Finds(), ServerReadsSlides())
    assert len(proposal.edit.additions) == 1
    assert proposal.edit.removals == ()
    assert Tally.of(proposal.decisions) == Tally({"added": 1, "refused": 1}, {"nothing found": 1})


def test_holes_and_specks_of_a_mask_are_cleaned_away(project_file: Path) -> None:
    class Speckled(GrowingPredictor):
        def answer(self, prompts: Any, window: Any) -> Any:
            speck, hole = Point(50, 50).buffer(3), Point(150, 150).buffer(4)
            return SQUARE.difference(hole).difference(Point(120, 120).buffer(10)).union(speck)

    _, images = select_images(project_file, ("1",))
    old = [annotation(SQUARE)]
    cleaned = refine_image(images[0], old, RefineOptions(), Speckled(), ServerReadsSlides()).edit.changes[0]
    shape = shapely.from_wkb(cleaned.new_wkb)
    assert shape.geom_type == "Polygon"
    assert len(shape.interiors) == 1, "the large hole stays"
    options = RefineOptions(clean_share=0)
    raw = refine_image(images[0], old, options, Speckled(), ServerReadsSlides()).edit.changes[0]
    assert len(shapely.get_parts(shapely.from_wkb(raw.new_wkb))) == 2
