"""Refining through a real server with its fake model; only QuPath is stood in for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import shapely
import tifffile
from shapely.geometry import Point

from qupath_sam.cli.benchmarks.project import make_project
from qupath_sam.cli.project_session import Session
from qupath_sam.client import SamClient
from qupath_sam.engine.refine_guards import Guards
from qupath_sam.errors import UnknownModel, WeightsMissing
from qupath_sam.project.jvm.worker import QuPathWorker
from qupath_sam.project.layout import ImageEntry, Project
from qupath_sam.project.objects import ImageContents, ImageObject, Kind
from qupath_sam.project.predictor import RENDERING, ImageSource, PushedPixels, ServerReadsSlides
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import RunOptions, RunReport, run_project
from qupath_sam.project.segment import SegmentOptions, segment_image
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.slides.location import PathMap
from tests.project.plain_editor import PlainEditor, fill, read_objects


class TiffPixels:
    """Pixels as QuPath would render them."""

    def pixels(
        self, image: ImageEntry, region: tuple[int, int, int, int], downsample: float, *, z: int = 0, t: int = 0
    ) -> tuple[int, int, bytes]:
        x, y, width, height = region
        assert downsample == 1
        path = image.folder.parents[1] / image.name
        return width, height, np.ascontiguousarray(tifffile.imread(path)[y : y + height, x : x + width]).tobytes()


def annotation(x: float, y: float, radius: float, **values: Any) -> ImageObject:
    shape = Point(x, y).buffer(radius)
    return ImageObject(str(uuid.uuid4()), Kind.ANNOTATION, "Polygon", shapely.to_wkb(shape), **values)


OBJECTS = (annotation(300, 400, 40), annotation(900, 900, 60), annotation(1500, 1200, 50))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path, 4)
    for image in project.images:
        image.folder.mkdir(parents=True)
        fill(project.file, OBJECTS, image.entry_id)
    return project


@pytest.fixture(scope="module")
def servers(server: RunningServer) -> Iterator[list[RunningServer]]:
    """One that opens slides, one that does not."""
    with start_server(ServerSettings(port=0, model="fake", device="cpu", read_slides=False)) as other:
        yield [server, other]


def refine(project: Project, clients: list[SamClient], sources: list[ImageSource]) -> RunReport:
    options = RefineOptions(guards=Guards(min_iou=0.3, max_area_change=4))

    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        return refine_image(image, contents.objects, options, clients[worker], sources[worker])

    return run_project(project, project.images, propose, PlainEditor(), RunOptions("refine", workers=len(clients)))


def test_server_opens_the_slides_or_is_sent_their_pixels(project: Project, servers: list[RunningServer]) -> None:
    """Two workers, one a server of either kind: the outlines are the same, the provenance says which."""
    with SamClient(servers[0].address) as reading, SamClient(servers[1].address) as pushed:
        sources: list[ImageSource] = [ServerReadsSlides(), PushedPixels(TiffPixels(), pushed)]
        report = refine(project, [reading, pushed], sources)
    assert [image.error for image in report.images] == [""] * 4
    assert {decision.action.value for decision in report.decisions} == {"refined"}
    shapes, pixel_sources = [], set()
    for image in project.images:
        objects = read_objects(image)
        shapes.append([objects[item.object_id].geometry for item in OBJECTS])
        pixel_sources |= {objects[item.object_id].metadata["qupath-sam.pixels"] for item in OBJECTS}
    assert f"pushed ({RENDERING})" in pixel_sources
    assert len(pixel_sources) == 2
    for image_shapes in shapes:
        for shape, old, first in zip(image_shapes, OBJECTS, shapes[0], strict=True):
            assert shape.symmetric_difference(old.geometry).area < 0.3 * old.geometry.area
            assert shape.symmetric_difference(first).area < 0.1 * first.area, "windows of pushed pixels lie elsewhere"


def test_a_model_that_a_server_lacks_is_said_before_anything_is_asked(servers: list[RunningServer]) -> None:
    with Session.open([server.address for server in servers], [], "1g", 60, push_pixels=False) as session:
        assert session.window_px("fake") == session.window_px("") == session.window_px("auto")
        with pytest.raises(UnknownModel, match="knows no model 'fakes'; known: fake, "):
            session.window_px("fakes")


def test_the_choice_by_scale_has_the_defaults_window_without_a_server() -> None:
    session = Session(cast(QuPathWorker, None), [])
    assert session.window_px("auto") == session.window_px("") == 256


def test_a_model_without_weights_is_said_before_anything_is_asked(
    servers: list[RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session.open([servers[0].address], [], "1g", 60, push_pixels=False) as session:
        with SamClient(servers[0].address) as client:
            offered = client.models()
        monkeypatch.setattr(SamClient, "models", lambda _: [replace(model, available=False) for model in offered])
        with pytest.raises(WeightsMissing, match="models pull fake"):
            session.window_px("fake")


def test_slides_that_the_server_does_not_see_are_refusals(project: Project, servers: list[RunningServer]) -> None:
    elsewhere = ServerReadsSlides(PathMap.parse([f"{project.folder}=/nowhere"]))
    with SamClient(servers[0].address) as client:
        report = refine(project, [client], [elsewhere])
    assert {decision.refusal.value for decision in report.decisions if decision.refusal} == {
        "the server could not answer"
    }
    assert all("nowhere" in decision.remark for decision in report.decisions)
    assert all(list(read_objects(image)) == [item.object_id for item in OBJECTS] for image in project.images)
    assert all(read_objects(image)[item.object_id].wkb == item.wkb for image in project.images for item in OBJECTS)


def test_points_become_outlines(project: Project, servers: list[RunningServer]) -> None:
    point = ImageObject(
        str(uuid.uuid4()), Kind.ANNOTATION, "Points", shapely.to_wkb(shapely.MultiPoint([(200, 200), (700, 300)])),
        path_class="SAM",
    )  # fmt: skip
    with SamClient(servers[0].address) as client:
        proposal = segment_image(
            project.images[0], [point], SegmentOptions({"SAM": "Tumor"}), client, ServerReadsSlides()
        )
    places = [item.geometry.centroid for item in proposal.edit.additions]
    assert all(place.distance(Point(xy)) < 2 for place, xy in zip(places, [(200, 200), (700, 300)], strict=True))
    assert proposal.edit.removals == (point.object_id,)
