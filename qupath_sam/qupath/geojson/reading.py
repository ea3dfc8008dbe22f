"""GeoJSON of QuPath, of this package, or of other programs, as far as it means areas, points and lines.

Read generously: FeatureCollection, Feature, an array of features or a bare geometry; nulls where something is absent;
measurements as an object or as ``[{"name", "value"}]``; a classification as text, with or without its colour; children
(``childObjects``) as objects of their own; a z in coordinates.

The shape decides whether a feature is used. A property that cannot be read is left out, and named.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import shapely

from qupath_sam.errors import InvalidRequest
from qupath_sam.qupath.geojson import properties as values
from qupath_sam.qupath.geojson.features import AnnotationFeature, ObjectType
from qupath_sam.qupath.geojson.files import read_content
from qupath_sam.qupath.geojson.shapes import GEOMETRY_TYPES, is_mixed, shape_of

_AS_QUPATH = "give a file as QuPath exports it"
#: Most features that a message names for one reason.
_MOST_NAMED = 1000

_NO_MEASUREMENTS: tuple[dict[str, float], list[str]] = ({}, [])

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that could not be used.

    Attributes:
        where: names the feature, such as "feature 3" or "feature 3, child 0"; the first one is feature 0.
        reason: why.
    """

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class FeatureCollection:
    """The content of a GeoJSON document.

    Attributes:
        features: all that can be used, children behind their parents.
        refused: features that cannot be used.
        left_out: what features that are used have said beside their shape, and what cannot be read of it.
    """

    features: tuple[AnnotationFeature, ...]
    refused: tuple[Fault, ...] = ()
    left_out: tuple[Fault, ...] = ()

    def complete(self, *, or_else: str = "") -> list[AnnotationFeature]:
        """Return all features.

        Args:
            or_else: what a caller can do beside correcting the file, such as "give --skip-bad".

        Raises:
            InvalidRequest: a feature was refused; the message names them all.
        """
        if self.refused:
            them = "it" if len(self.refused) == 1 else "them"
            remedies = [f"correct {them}", f"leave {them} out of the file", *([or_else] if or_else else [])]
            raise InvalidRequest(f"{self.refused_text()} ({', '.join(remedies[:-1])} or {remedies[-1]})")
        return list(self.features)

    def refused_text(self) -> str:
        """Return one sentence about all refused features; empty where there is none."""
        if not self.refused:
            return ""
        if len(self.refused) == 1:
            (fault,) = self.refused
            return f"{fault.where} cannot be used: {fault.reason}"
        count = len(self.features) + len(self.refused)
        return f"{len(self.refused)} of {count} features cannot be used: {_by_reason(self.refused)}"

    def left_out_text(self) -> str:
        """Return one sentence about everything that was left out; empty where there is nothing."""
        return f"left out: {_by_reason(self.left_out)}" if self.left_out else ""


def read_geojson(path: Path) -> list[AnnotationFeature]:
    """Read all objects of a file; see `read_collection` and `complete`.

    Raises:
        InvalidRequest: the file cannot be read, or one of its features cannot be used.
    """
    collection = read_collection(path)
    try:
        return collection.complete()
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from error


def read_features(text: str | bytes) -> list[AnnotationFeature]:
    """Read all objects of a GeoJSON text; see `parse_collection` and `complete`.

    Raises:
        InvalidRequest: no GeoJSON, or one of its features cannot be used.
    """
    return parse_collection(text).complete()


def read_collection(path: Path) -> FeatureCollection:
    """Read a file; it may be compressed as QuPath's export dialog does it (``.geojson.gz``, ``.zip``).

    Raises:
        InvalidRequest: the file cannot be opened, or is no GeoJSON at all.
    """
    features: list[AnnotationFeature] = []
    refused: list[Fault] = []
    left_out: list[Fault] = []
    contents = read_content(path)
    for name, content in contents:
        try:
            collection = parse_collection(content)
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}: {error}") from error
        inside = f"{name}, " if len(contents) > 1 else ""
        features += collection.features
        refused += (Fault(inside + fault.where, fault.reason) for fault in collection.refused)
        left_out += (Fault(inside + fault.where, fault.reason) for fault in collection.left_out)
    return FeatureCollection(tuple(features), tuple(refused), tuple(left_out))


def parse_collection(text: str | bytes) -> FeatureCollection:
    """Parse a GeoJSON text.

    A feature without an id, or with one that is no UUID, is given a new one. The nucleus of a cell is left out.

    Args:
        text: as bytes it is UTF-8, or what its byte-order mark says.

    Raises:
        InvalidRequest: no JSON, or no GeoJSON.
    """
    try:
        content = text.removeprefix("\ufeff") if isinstance(text, str) else text
        document = json.loads(content, object_pairs_hook=_merge_repeated)
        reader = _Reader()
        for where, item in _items(document):
            reader.read(item, where)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"this is not JSON ({error}); give a GeoJSON file as QuPath exports it") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"this cannot be read as GeoJSON ({error}); export it from QuPath again") from None
    except RecursionError:
        raise InvalidRequest(f"this JSON is nested too deeply to be GeoJSON; {_AS_QUPATH}") from None
    return FeatureCollection(tuple(reader.features), tuple(reader.refused), tuple(reader.left_out))


def _merge_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose repeated keys are merged: QuPath 0.5 and later write "metadata" twice."""
    merged: dict[str, Any] = {}
    for key, value in pairs:
        before = merged.get(key)
        merged[key] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _items(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield features with what to call them in a message."""
    if isinstance(document, dict) and (document.get("type") == "FeatureCollection" or "features" in document):
        document = document.get("features")
        if not isinstance(document, list):
            raise InvalidRequest(f"this FeatureCollection has no list of features; {_AS_QUPATH}")
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield f"feature {index}", item
    elif isinstance(document, dict) and document.get("type") in ("Feature", *GEOMETRY_TYPES):
        yield "feature 0", document
    else:
        raise InvalidRequest(f"this JSON is no GeoJSON: it has no feature and no geometry; {_AS_QUPATH}")


class _Reader:
    """Collects features, and what is wrong with others."""

    def __init__(self) -> None:
        self.features: list[AnnotationFeature] = []
        self.refused: list[Fault] = []
        self.left_out: list[Fault] = []

    def read(self, item: Any, where: str) -> None:
        """Take a feature and its children."""
        if isinstance(item, dict) and item.get("type") in GEOMETRY_TYPES:
            item = {"type": "Feature", "geometry": item}
        if not isinstance(item, dict) or item.get("type") != "Feature":
            self.refused.append(Fault(where, "it is no GeoJSON feature"))
            return
        properties = item.get("properties") or {}
        if not isinstance(properties, dict):
            self.left_out.append(Fault(where, "its properties are no object"))
            properties = {}
        faults: list[Fault] = []
        try:
            self.features.append(_feature(item, properties, _Lenient(where, faults)))
            self.left_out += faults
        except _NotAnObject as error:
            self.left_out.append(Fault(where, str(error)))
        except (ValueError, TypeError, OverflowError, shapely.errors.ShapelyError) as error:
            self.refused.append(Fault(where, str(error)))
        try:
            children = values.unwrapped(properties.get("childObjects") or properties.get("children")) or []
            if not isinstance(children, list):
                raise ValueError("are no list")
        except ValueError as error:
            self.left_out.append(Fault(where, f"its child objects {error}"))
            return
        for index, child in enumerate(children):
            self.read(child, f"{where}, child {index}")


class _NotAnObject(Exception):
    """The feature stands for the root of an image."""


@dataclass(frozen=True, slots=True)
class _Lenient:
    """Reads properties; one that cannot be used is noted and replaced by what its absence means."""

    where: str
    faults: list[Fault]

    def read(self, what: str, read: Callable[[], T], absent: T) -> T:
        try:
            return read()
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            self.note(f"its {what} {error}")
            return absent

    def note(self, reason: str) -> None:
        self.faults.append(Fault(self.where, reason))


def _feature(item: dict[str, Any], properties: dict[str, Any], lenient: _Lenient) -> AnnotationFeature:
    kind = _object_type(item, properties)
    geometry = item.get("geometry")
    if not isinstance(geometry, dict):
        raise ValueError("it has no geometry")
    if is_mixed(geometry):
        lenient.note("its geometry is a collection: lines and points beside areas, and points beside lines")
    plane = geometry.get("plane")
    plane = plane if isinstance(plane, dict) else {}
    numbers, others = lenient.read(
        "measurements", lambda: values.measurements(properties.get("measurements")), _NO_MEASUREMENTS
    )
    if others:
        shown = ", ".join(repr(other) for other in others[:5]) + (", ..." if len(others) > 5 else "")
        lenient.note(f"its measurements {shown} are no numbers")
    return AnnotationFeature(
        geometry=shape_of(geometry),
        id=_id(item.get("id")),
        object_type=kind,
        name=lenient.read("name", lambda: values.name(properties.get("name")), None),
        classification=lenient.read("class", lambda: values.classification(properties.get("classification")), None),
        color=lenient.read("colour", lambda: values.color(properties.get("color")), None),
        measurements=numbers,
        metadata=lenient.read("metadata", lambda: values.metadata(properties.get("metadata")), {}),
        is_locked=lenient.read("isLocked", lambda: values.is_locked(properties.get("isLocked")), absent=False),
        z=lenient.read("plane's z", lambda: values.plane_index(plane.get("z"), 0), 0),
        t=lenient.read("plane's t", lambda: values.plane_index(plane.get("t"), 0), 0),
        c=lenient.read("plane's c", lambda: values.plane_index(plane.get("c"), -1), -1),
    )


def _object_type(item: dict[str, Any], properties: dict[str, Any]) -> ObjectType:
    """Return the type as QuPath decides it: an annotation unless a known type is given."""
    for value in (properties.get("objectType"), properties.get("object_type"), properties.get("type"), item.get("id")):
        if values.is_root(value):
            raise _NotAnObject("it is the root of an image, which is no object")
        try:
            kind = values.object_type(value)
        except ValueError as error:
            raise ValueError(f"it {error}") from None
        if kind is not None:
            return kind
    return ObjectType.ANNOTATION


def _id(value: Any) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except (ValueError, TypeError, AttributeError):
        return uuid.uuid4()


def _by_reason(faults: Iterable[Fault]) -> str:
    """Return faults grouped by reason: "features 1, 4: it has no geometry; feature 7: ..."."""
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(re.sub(r"\[[^\]]*\]", "", fault.reason), []).append(fault)
    texts = []
    for reason, group in groups.items():
        if len(group) == 1:
            texts.append(f"{group[0].where}: {group[0].reason}")
            continue
        places = [fault.where.removeprefix("feature ") for fault in group[:_MOST_NAMED]]
        more = f" and {len(group) - _MOST_NAMED} more" if len(group) > _MOST_NAMED else ""
        separator = "; " if any("," in place for place in places) else ", "
        texts.append(f"features {separator.join(places)}{more}: {reason}")
    return "; ".join(texts)
