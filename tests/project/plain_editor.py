"""An editor without QuPath: objects pickled between the bytes that begin and end a data.qpdata."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.refine import RefineContext, refine_objects
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.errors import ProjectError
from qupath_sam.polygons.cleaning import clean_against
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import Edit, ImageContents, ImageObject, Kind, Written
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import EmbeddingSource, ObjectResult, Outline, Prediction, Provenance, Timings

_START, _END = b"\xac\xed\x00\x05", b"t\x00\x03EOF"


class PlainEditor:
    """Reads and writes what `fill` makes. Counts what it is asked."""

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0
        self._meant: dict[str, ImageObject] = {}

    def read(self, image: ImageEntry, kinds: Sequence[Kind] = (Kind.ANNOTATION,)) -> ImageContents:
        self.reads += 1
        objects = read_objects(image)
        return ImageContents(tuple(item for item in objects.values() if item.kind in kinds), len(objects))

    def write(self, image: ImageEntry, edit: Edit, path: str) -> Written:
        self.writes += 1
        objects = dict(read_objects(image))
        for change in edit.changes:
            item = objects[change.object_id]
            if item.wkb != change.old_wkb:
                raise ProjectError("another shape")
            measurements = change.exact_measurements or {**item.measurements, **change.measurements}
            metadata = change.exact_metadata if change.exact_metadata is not None else change.metadata
            objects[change.object_id] = replace(
                item, wkb=change.new_wkb, measurements=measurements, metadata=dict(metadata)
            )
        for addition in edit.additions:
            objects[addition.object_id] = addition
        for object_id in edit.removals:
            del objects[object_id]
        Path(path).write_bytes(_packed(objects))
        self._meant = objects
        return Written(_summary(objects), 1, 2)

    def verify(self, image: ImageEntry, path: str) -> None:
        assert repr(_unpacked(Path(path))) == repr(self._meant)


def fill(project_file: Path, objects: Sequence[ImageObject], entry_id: str) -> None:
    """Give an image its objects."""
    image = read_project(project_file).image(entry_id)
    by_id = {item.object_id: item for item in objects}
    image.data_file.write_bytes(_packed(by_id))
    image.summary_file.write_bytes(_summary(by_id))


def read_objects(image: ImageEntry) -> dict[str, ImageObject]:
    """All objects of an image."""
    return _unpacked(image.data_file)


def _packed(objects: dict[str, ImageObject]) -> bytes:
    return _START + pickle.dumps(objects) + _END


def _unpacked(path: Path) -> dict[str, ImageObject]:
    data = path.read_bytes()
    assert data.startswith(_START)
    assert data.endswith(_END)
    objects: dict[str, ImageObject] = pickle.loads(data[len(_START) : -len(_END)])
    return objects


def _summary(objects: dict[str, ImageObject]) -> bytes:
    return json.dumps({"hierarchy": {"nObjects": len(objects) + 1}}).encode()


class GrowingPredictor:
    """A model whose outlines are those asked for, ``by`` px larger; points and boxes become discs."""

    def __init__(self, by: float = 3.0) -> None:
        self.by = by
        self.calls: list[tuple[Any, list[ObjectPrompts], WindowRequest | None]] = []

    def predict(
        self,
        image: Any,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
    ) -> Prediction:
        if refine is not None:
            return self._refined(image, objects, window, output or OutputOptions(), refine)
        prompts = [item.prompts if isinstance(item, ObjectRequest) else item for item in objects]
        self.calls.append((image, prompts, window))
        return prediction([self.answer(prompt, window) for prompt in prompts])

    def _refined(
        self,
        image: Any,
        objects: Sequence[Any],
        window: WindowRequest | None,
        output: OutputOptions,
        refine: RefineOptions,
    ) -> Prediction:
        """As the engine does it."""
        width, height = getattr(image, "size", None) or (1000, 800)
        context = RefineContext(Region(0, 0, width, height), None, 256, clean_share=output.clean_share)

        def answers(asked: Sequence[ObjectRequest]) -> Sequence[ObjectResult]:
            self.calls.append((image, [item.prompts for item in asked], window))
            cleaned = []
            for item in asked:
                assert item.prompts.box is not None
                assert item.prompts.outline is not None
                answer = self.answer(item.prompts, window)
                cleaned.append(clean_against(answer, item.prompts.outline, output.clean_share))
            return prediction(cleaned).results

        def window_of_a_border(*_: object) -> ObjectResult:
            raise AssertionError("a project's run follows borders itself")

        results = refine_objects(objects, refine, context, answers, window_of_a_border)
        return replace(prediction([]), results=tuple(results))

    def answer(self, prompts: ObjectPrompts, window: WindowRequest | None) -> Polygon | MultiPolygon:
        if prompts.outline is not None:
            answer = prompts.outline.buffer(self.by)
        elif prompts.box is not None:
            answer = shapely.box(*prompts.box.bounds).centroid.buffer(10)
        else:
            answer = shapely.Point(prompts.clicks[0].points[0]).buffer(10)
        if window is not None and window.region is not None:
            answer = answer.intersection(shapely.box(*window.region.bounds))
        return answer


def prediction(geometries: Sequence[Polygon | MultiPolygon]) -> Prediction:
    """As a server would answer; an empty geometry is an object of which nothing was found."""
    results = [
        ObjectResult(
            object_id="",
            outlines=() if geometry.is_empty else (Outline(geometry, 0.8, geometry.area, None),),
            window=Window(Region(0, 0, 256, 256), 256, 256),
            touches_window_edge=False,
            token=b"",
            resumed_steps=0,
            embedding_source=EmbeddingSource.COMPUTED,
        )
        for geometry in geometries
    ]
    provenance = Provenance("fake", "", "1", "0.1.0", "f", "test", "cpu", None, ())
    return Prediction(tuple(results), provenance, Timings(total=10.0))
