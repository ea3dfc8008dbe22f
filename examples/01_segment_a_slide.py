"""Segment one structure of a slide in this process: no server, no QuPath."""

from qupath_sam import Box, LocalClient, demo_slide_path

with LocalClient() as sam:
    # Level-0 pixels, as QuPath shows them: left, top, right, bottom.
    gland = sam.open(demo_slide_path()).segment(Box(1190, 1960, 1350, 2185))

print(f"score {gland.score:.2f}, {gland.area_um2:.0f} µm²")
window = gland.result.window
print(f"seen in {window.region.bounds} at downsample {window.downsample:g}")
assert gland.geometry.is_valid
