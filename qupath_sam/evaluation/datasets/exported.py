"""Slides with the GeoJSON that QuPath or ``qupath-sam project export`` wrote of them: every annotation one object.

Files and slides lie in or below one folder. A file belongs to the slide whose name it bears, with or without the
slide's suffix and with or without the number that an export puts before it: ``a.geojson``, ``a.svs.geojson`` and
``3 a.svs.geojson`` belong to ``a.svs``. The group is the slide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.datasets.annotated import (
    AnnotatedImage,
    Annotation,
    AnnotationChoices,
    annotated_dataset,
)
from qupath_sam.evaluation.datasets.annotations import area_of
from qupath_sam.evaluation.datasets.base import IMAGE_SUFFIXES, SLIDE_SUFFIXES, Dataset, LeftOut, walk_folders
from qupath_sam.geojson import Area, ObjectType, read_features

_ANNOTATION_SUFFIXES = (".geojson", ".json")
_EXPORT_NUMBER = re.compile(r"^\d+ ")


def read(root: Path, choices: AnnotationChoices | None = None) -> Dataset:
    """The annotations of all GeoJSON files that belong to a slide.

    Raises:
        InvalidRequest: a file is no GeoJSON, or nothing is left.
    """
    files = [path for folder in walk_folders(root) for path in sorted(folder.iterdir()) if path.is_file()]
    slides = [path for path in files if path.suffix.lower() in (*SLIDE_SUFFIXES, *IMAGE_SUFFIXES)]
    images: list[AnnotatedImage] = []
    left_out: list[LeftOut] = []
    for path in (path for path in files if path.suffix.lower() in _ANNOTATION_SUFFIXES):
        owners = _slides_of(path, slides)
        name = path.relative_to(root).as_posix()
        if len(owners) != 1:
            left_out.append(LeftOut(name, f"{len(owners) or 'no'} slides of that name in {root}"))
            continue
        annotations, unusable = read_annotations(path)
        if unusable:
            left_out.append(LeftOut(name, f"{unusable} features are no areas"))
        slide = owners[0].relative_to(root).as_posix()
        images.append(AnnotatedImage(slide, owners[0].stem, owners[0], annotations))
    return annotated_dataset(root.resolve().name, images, choices or AnnotationChoices(), left_out=left_out)


def read_annotations(path: Path) -> tuple[list[Annotation], int]:
    """Annotations of a GeoJSON file, and the number of features that are no areas (points, lines).

    Detections, cells and tiles are not among them. Outlines that cross themselves are repaired.

    Raises:
        InvalidRequest: no GeoJSON.
    """
    try:
        features = list(_features(json.loads(path.read_text("utf-8-sig"))))
    except (ValueError, TypeError, OSError) as error:
        raise InvalidRequest(f"{path} cannot be read as GeoJSON ({error}); export it from QuPath again") from error
    annotations: list[Annotation] = []
    unusable = 0
    for feature in features:
        try:
            read = read_features(json.dumps(_repaired(feature)))
        except (InvalidRequest, shapely.errors.ShapelyError, AttributeError, KeyError, TypeError, ValueError):
            unusable += 1
            continue
        for each in read:
            if not isinstance(each.geometry, Area):
                unusable += 1
            elif each.object_type is ObjectType.ANNOTATION:
                path_class = None if each.classification is None else str(each.classification)
                annotations.append(Annotation(each.geometry, path_class, each.z, each.t))
    return annotations, unusable


def _features(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document["features"] if isinstance(document.get("features"), list) else None
    items = document if isinstance(document, list) else [document]
    for item in items:
        if not isinstance(item, dict) or "type" not in item:
            raise ValueError("it holds no features")
        yield item


def _repaired(feature: dict[str, Any]) -> dict[str, Any]:
    """The feature with a geometry that is valid, where it has an area; its plane is kept."""
    geometry = feature.get("geometry")
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return feature
    drawn = shape(geometry)
    if drawn.is_valid:
        return feature
    return {**feature, "geometry": {**geometry, **json.loads(shapely.to_geojson(area_of(drawn)))}}


def _slides_of(path: Path, slides: Sequence[Path]) -> list[Path]:
    """Slides that a file of annotations may belong to; one beside it is preferred, and one of the whole name."""
    names = {path.stem, _EXPORT_NUMBER.sub("", path.stem)}
    found = [s for s in slides if s.name in names] or [s for s in slides if s.stem in names]
    return [s for s in found if s.parent == path.parent] or found
