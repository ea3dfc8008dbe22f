"""A FeatureCollection that QuPath 0.5 to 0.7 imports unchanged.

QuPath refuses a whole file for a single null, a class without a colour, or a colour that is not ``[r, g, b]``; so what
is absent is left out, and every class has its colour. Numbers that JSON does not know are written as QuPath writes
them: "NaN", "Infinity", "-Infinity" (``QuPathTypeAdapters.MeasurementListTypeAdapter``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import shapely

from qupath_sam.machine.files import atomic_write
from qupath_sam.qupath.geojson.features import AnnotationFeature, PathClass


def to_geojson(features: Iterable[AnnotationFeature]) -> str:
    """Return the features as one FeatureCollection, a line each, all ASCII."""
    return "".join(_chunks(features))


def write_geojson(path: Path, features: Iterable[AnnotationFeature]) -> None:
    """Write `to_geojson` to a file, which is at all times the old one or the new one, whole.

    Raises:
        OSError: the file cannot be written there; nothing is left behind.
    """
    with atomic_write(path, durable=True) as file:
        file.writelines(chunk.encode("ascii") for chunk in _chunks(features))


def _chunks(features: Iterable[AnnotationFeature]) -> Iterator[str]:
    yield '{"type": "FeatureCollection", "features": ['
    separator = "\n"
    for feature in features:
        yield separator + feature_text(feature)
        separator = ",\n"
    yield "\n]}\n"


def feature_text(feature: AnnotationFeature) -> str:
    """Return one feature as JSON, all ASCII, in one line."""
    # Coordinates are most of the text, and GEOS writes them three times faster than json.
    return (
        f'{{"type": "Feature", "id": "{feature.id}", "geometry": {_geometry(feature)}, '
        f'"properties": {json.dumps(_properties(feature), allow_nan=False)}}}'
    )


def _geometry(feature: AnnotationFeature) -> str:
    text: str = shapely.to_geojson(shapely.force_2d(feature.geometry))
    if (feature.c, feature.z, feature.t) == (-1, 0, 0):
        return text
    plane = json.dumps({"c": feature.c, "z": feature.z, "t": feature.t})
    return f'{text[:-1]},"plane":{plane}}}'


def _properties(feature: AnnotationFeature) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": feature.object_type.value}
    if feature.name:
        properties["name"] = feature.name
    if feature.color is not None:
        properties["color"] = list(feature.color)
    if feature.classification is not None:
        properties["classification"] = _classification(feature.classification)
    if feature.is_locked:
        properties["isLocked"] = True
    if feature.measurements:
        properties["measurements"] = {name: _number(value) for name, value in feature.measurements.items()}
    if feature.metadata:
        properties["metadata"] = dict(feature.metadata)
    return properties


def _classification(path_class: PathClass) -> dict[str, Any]:
    color = list(path_class.color)
    if len(path_class.names) == 1:
        return {"name": path_class.names[0], "color": color}
    return {"names": list(path_class.names), "color": color}


def _number(value: float) -> float | str:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")
