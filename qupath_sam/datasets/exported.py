"""Slides with the GeoJSON that QuPath or ``qupath-sam project export`` wrote of them: every annotation one object.

Files and slides lie in or below one folder and pair by their names (`qupath_sam.datasets.pairing`). The
group is the slide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

from qupath_sam.datasets.annotated import AnnotatedImage, Annotation, AnnotationChoices, annotated_dataset
from qupath_sam.datasets.annotations import area_of
from qupath_sam.datasets.base import IMAGE_SUFFIXES, SLIDE_SUFFIXES, Dataset, LeftOut
from qupath_sam.datasets.pairing import pair_files
from qupath_sam.errors import InvalidRequest
from qupath_sam.qupath.geojson import Area, ObjectType, read_features
from qupath_sam.qupath.geojson.files import read_content

GEOJSON_SUFFIXES = (".geojson", ".json")


def read(root: Path, choices: AnnotationChoices | None = None) -> Dataset:
    """Read the annotations of all GeoJSON files that belong to a slide.

    Raises:
        InvalidRequest: a file is no GeoJSON, or nothing is left.
    """
    pairs = pair_files(root, annotations=GEOJSON_SUFFIXES, slides=(*SLIDE_SUFFIXES, *IMAGE_SUFFIXES))
    images: list[AnnotatedImage] = []
    left_out = list(pairs.left_out)
    for slide, files in pairs.of_slides.items():
        annotations: list[Annotation] = []
        for path in files:
            found, unusable = read_annotations(path)
            annotations += found
            if unusable:
                left_out.append(LeftOut(path.relative_to(root).as_posix(), f"{unusable} features are no areas"))
        images.append(AnnotatedImage(slide.relative_to(root).as_posix(), slide.stem, slide, annotations))
    return annotated_dataset(root.resolve().name, images, choices or AnnotationChoices(), left_out=left_out)


def read_annotations(path: Path) -> tuple[list[Annotation], int]:
    """Read the annotations of a GeoJSON file, and the number of features that are no areas (points, lines).

    Detections, cells and tiles are not among them. Outlines that cross themselves are repaired.

    Raises:
        InvalidRequest: no GeoJSON.
    """
    try:
        features = [feature for _, content in read_content(path) for feature in _features(json.loads(content))]
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
    """Return the feature with a geometry that is valid, where it has an area; its plane is kept."""
    geometry = feature.get("geometry")
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return feature
    drawn = shape(geometry)
    if drawn.is_valid:
        return feature
    return {**feature, "geometry": {**geometry, **json.loads(shapely.to_geojson(area_of(drawn)))}}
