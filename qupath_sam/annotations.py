"""From predictions to QuPath annotations: class, name, measurements, and the provenance as metadata."""

from __future__ import annotations

from qupath_sam.geojson import AnnotationFeature, PathClass
from qupath_sam.results import ObjectResult, Outline, Prediction, Provenance


def annotations_of(
    prediction: Prediction, *, path_class: PathClass | None = None, name: str | None = None
) -> list[AnnotationFeature]:
    """One annotation per outline, in order; objects of which nothing is left have none.

    Args:
        prediction: geometry in level-0 px.
        path_class: class of all annotations.
        name: name of all annotations; None takes each object's own id, where it has one.
    """
    return [
        AnnotationFeature(
            outline.geometry,
            name=name or result.object_id or None,
            classification=path_class,
            measurements=measurements_of(outline),
            metadata=metadata_of(result, prediction.provenance),
        )
        for result in prediction.results
        for outline in result.outlines
    ]


def measurements_of(outline: Outline) -> dict[str, float]:
    """What QuPath shows as measurements."""
    measurements = {"SAM score": outline.score, "Area px^2": outline.area_px2}
    if outline.area_um2 is not None:
        measurements["Area µm^2"] = outline.area_um2
    return measurements


def metadata_of(result: ObjectResult, provenance: Provenance) -> dict[str, str]:
    """What made an outline, as text that travels with the annotation."""
    region = result.window.region
    return {
        "qupath-sam.model": provenance.model,
        "qupath-sam.weights": provenance.weights_sha256,
        "qupath-sam.version": provenance.server_version,
        "qupath-sam.pixels": provenance.pixel_source,
        "qupath-sam.window": f"{region.x},{region.y},{region.width},{region.height}",
        "qupath-sam.downsample": f"{result.window.downsample:g}",
        "qupath-sam.touches_edge": str(result.touches_window_edge).lower(),
    }
