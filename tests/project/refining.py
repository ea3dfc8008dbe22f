"""A project whose annotations are refined without QuPath, for the tests of runs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import shapely
from shapely.errors import GEOSException
from shapely.geometry import Point

from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import ImageContents, ImageObject, Kind, Plane
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import RunOptions, RunReport, run_project, select_images
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest
from tests.project.plain_editor import GrowingPredictor, PlainEditor, read_objects

EXTENT = Region(0, 0, 1000, 800)


def annotation(shape: Any, path_class: str | None = "Tumor", roi: str = "Polygon", **values: Any) -> ImageObject:
    return ImageObject(
        str(uuid.uuid4()), Kind.ANNOTATION, roi, shapely.to_wkb(shape), path_class=path_class, probability=0.5, **values
    )


SQUARE = shapely.box(100, 100, 200, 200)


OBJECTS = (
    annotation(SQUARE, name="square", measurements={"Score": 1.0}, metadata={"by": "hand"}),
    annotation(shapely.box(300, 300, 420, 380), "Stroma"),
    annotation(shapely.box(500, 100, 560, 160), "Tumor: Positive", locked=True),
    annotation(shapely.box(500, 500, 560, 560), None, plane=Plane(-1, 2, 1)),
    annotation(Point(5, 5), "Tumor", "Points"),
)


def refine(
    project_file: Path,
    *,
    editor: PlainEditor | None = None,
    predictor: Any = None,
    options: RefineOptions | None = None,
    source: Any = None,
    run: RunOptions | None = None,
    **keywords: Any,
) -> RunReport:
    project, images = select_images(project_file, ())
    predictor = predictor or GrowingPredictor()

    def propose(worker: int, image: ImageEntry, contents: ImageContents) -> Proposal:
        return refine_image(
            image, contents.objects, options or RefineOptions(), predictor, source or ServerReadsSlides()
        )

    return run_project(project, images, propose, editor or PlainEditor(), run or RunOptions("refine"), **keywords)


def objects_of(project_file: Path, entry_id: str = "1") -> dict[str, ImageObject]:
    return read_objects(read_project(project_file).image(entry_id))


class FailingGeometry(GrowingPredictor):
    """GEOS fails over the object at 300, 300, as it may where a model runs in this process."""

    def answer(self, prompts: Any, window: WindowRequest | None) -> Any:
        if prompts.bounds[0] > 250 and prompts.bounds[0] < 350:
            raise GEOSException("TopologyException: side location conflict")
        return super().answer(prompts, window)
