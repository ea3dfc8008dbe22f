"""From a mask to a polygon and back to a slide: exact on pixel edges, holes kept, always valid."""

import numpy as np

from qupath_sam.polygons import fill_holes, place, simplify, trace_labels, trace_mask
from qupath_sam.types.regions import Region, Window

mask = np.zeros((64, 64), bool)
mask[10:50, 12:52] = True
mask[20:30, 20:30] = False  # a hole
mask[55:60, 5:9] = True  # a second part

outline = trace_mask(mask)
assert outline.is_valid
assert outline.area == mask.sum()
print(f"{outline.geom_type} of {outline.area:.0f} px², as many as the mask has pixels")

# The mask was made of this window of a slide, read at downsample 4.
window = Window(Region(8000, 6000, 256, 256), 64, 64)
print(f"on the slide: {place(outline, window).bounds}")
print(f"hole filled: {fill_holes(outline, max_area=150).area:.0f} px²")
print(f"simplified: {simplify(outline, tolerance=1.0).area:.0f} px²")

# Label images are traced in one go, one geometry a label; neighbours share their border exactly.
labels = np.repeat(np.repeat(np.arange(1, 5, dtype=np.int32).reshape(2, 2), 32, 0), 32, 1)
print({label: geometry.bounds for label, geometry in trace_labels(labels).items()})
