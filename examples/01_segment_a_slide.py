"""Segment one structure of a slide in this process: no server, no QuPath."""

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import Slide
from qupath_sam.client.local import LocalClient
from qupath_sam.types.prompts import Box, ObjectPrompts

# Level-0 pixels, as QuPath shows them: left, top, right, bottom.
prompts = ObjectPrompts(box=Box(1190, 1960, 1350, 2185))

with LocalClient() as client:
    prediction = client.predict(Slide(demo_slide_path()), [prompts])

result = prediction.results[0]
outline = result.outlines[0]
print(f"{prediction.provenance.model}: score {outline.score:.2f}, {outline.area_um2:.0f} µm²")
print(f"seen in {result.window.region.bounds} at downsample {result.window.downsample:g}")
assert outline.geometry.is_valid
