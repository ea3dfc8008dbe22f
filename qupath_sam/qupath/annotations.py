"""From predictions to QuPath annotations: class, name, measurements, and the provenance as metadata."""

from __future__ import annotations

from collections.abc import Mapping

from qupath_sam.qupath.geojson import AnnotationFeature, ObjectType, PathClass
from qupath_sam.types.region_results import RegionObject
from qupath_sam.types.results import ObjectResult, Outline, Prediction, Provenance

#: Of all keys that say what made an outline.
PREFIX = "qupath-sam."
#: What scripts wrote before they and the command line agreed.
FORMER_KEYS = frozenset(
    f"SAM {what}"
    for what in ("model", "weights", "preprocessing", "server", "image", "pixels", "clicks", "view downsample")
)


def annotations_of(
    prediction: Prediction, *, path_class: PathClass | None = None, name: str | None = None, z: int = 0, t: int = 0
) -> list[AnnotationFeature]:
    """Return one annotation per outline, in order; objects of which nothing is left have none.

    Args:
        prediction: geometry in level-0 px.
        path_class: class of all annotations.
        name: name of all annotations; None takes each object's own id, where it has one.
        z, t: plane of the image.
    """
    return [
        annotation_of(result, outline, prediction.provenance, path_class=path_class, name=name, z=z, t=t)
        for result in prediction.results
        for outline in result.outlines
    ]


def annotation_of(
    result: ObjectResult,
    outline: Outline,
    provenance: Provenance,
    *,
    path_class: PathClass | None = None,
    name: str | None = None,
    z: int = 0,
    t: int = 0,
) -> AnnotationFeature:
    """Return the annotation of one outline of a result; see `annotations_of`."""
    return AnnotationFeature(
        outline.geometry,
        name=name or result.object_id or None,
        classification=path_class,
        measurements=measurements_of(outline),
        metadata=metadata_of(result, provenance, outline),
        z=z,
        t=t,
    )


def detection_of(
    found: RegionObject, *, model: str, path_class: PathClass | None = None, z: int = 0, t: int = 0
) -> AnnotationFeature:
    """Return the detection of one object of a region.

    Its metadata name the model alone, for there may be thousands.

    Args:
        found: geometry in level-0 px.
        model: its name.
        path_class: of the detection.
        z, t: plane of the image.
    """
    measurements = measurements_of(found.outline)
    if found.likeness is not None:
        measurements["SAM likeness"] = found.likeness
    return AnnotationFeature(
        found.geometry,
        object_type=ObjectType.DETECTION,
        classification=path_class,
        measurements=measurements,
        metadata={f"{PREFIX}model": model} if model else {},
        z=z,
        t=t,
    )


def measurements_of(outline: Outline) -> dict[str, float]:
    """Return the measurements that QuPath shows."""
    measurements = {"SAM score": outline.score, "Area px^2": outline.area_px2}
    if outline.area_um2 is not None:
        measurements["Area µm^2"] = outline.area_um2
    return measurements


def metadata_of(result: ObjectResult, provenance: Provenance, outline: Outline | None = None) -> dict[str, str]:
    """Return the provenance of an outline as metadata of the annotation; unknown values are left out.

    Args:
        result: of the object.
        provenance: of the call.
        outline: of the result; None takes the one that the next click would go on from.

    The scripts in QuPath write the same (``Provenance.java``), so that a project that both worked on is of one kind.
    """
    elsewhere = None if outline is None else outline.window
    window = elsewhere or result.window
    region = window.region
    made = {
        "model": provenance.model,
        "weights": provenance.weights_sha256,
        "preprocessing": provenance.preprocessing_version,
        "version": provenance.server_version,
        "image": provenance.image_fingerprint,
        "pixels": provenance.pixel_source,
        "window": f"{region.x},{region.y},{region.width},{region.height}",
        "downsample": f"{window.downsample:g}",
        # What is cut off in another window is not offered.
        "touches_edge": str(result.touches_window_edge and elsewhere is None).lower(),
    }
    return {f"{PREFIX}{key}": value for key, value in made.items() if value}


def is_made_by_model(metadata: Mapping[str, str]) -> bool:
    """Return whether an annotation's metadata say that a model has made its outline."""
    return f"{PREFIX}model" in metadata or "SAM model" in metadata


def without_provenance(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return an annotation's metadata without what made its outline: they would speak of another one after a change."""
    return {key: value for key, value in metadata.items() if not key.startswith(PREFIX) and key not in FORMER_KEYS}
