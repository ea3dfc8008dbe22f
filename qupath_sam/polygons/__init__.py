"""From masks to polygons: traced exactly, placed on the slide, cleaned and simplified."""

from qupath_sam.polygons.cleaning import clean_against, clip, drop_small_parts, fill_holes
from qupath_sam.polygons.placing import place
from qupath_sam.polygons.simplification import simplify, simplify_coverage
from qupath_sam.polygons.tracing import trace_labels, trace_mask, trace_masks

__all__ = [
    "clean_against",
    "clip",
    "drop_small_parts",
    "fill_holes",
    "place",
    "simplify",
    "simplify_coverage",
    "trace_labels",
    "trace_mask",
    "trace_masks",
]
