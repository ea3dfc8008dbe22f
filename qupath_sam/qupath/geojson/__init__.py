"""GeoJSON as QuPath writes and reads it: level-0 px, pixel edges, y down."""

from qupath_sam.qupath.geojson.features import AnnotationFeature, Area, ObjectType, PathClass, Shape, default_color
from qupath_sam.qupath.geojson.reading import (
    FeatureCollection,
    parse_collection,
    read_collection,
    read_features,
    read_geojson,
)
from qupath_sam.qupath.geojson.writing import to_geojson, write_geojson

__all__ = [
    "AnnotationFeature",
    "Area",
    "FeatureCollection",
    "ObjectType",
    "PathClass",
    "Shape",
    "default_color",
    "parse_collection",
    "read_collection",
    "read_features",
    "read_geojson",
    "to_geojson",
    "write_geojson",
]
