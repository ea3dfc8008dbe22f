"""From masks to polygons: traced exactly, placed on the slide, cleaned and simplified."""

from qupath_sam.polygons.placing import place
from qupath_sam.polygons.tracing import trace_labels, trace_mask, trace_masks

__all__ = ["place", "trace_labels", "trace_mask", "trace_masks"]
