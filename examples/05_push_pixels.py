"""Segment pixels that the server cannot open as a file: a numpy array, a stain-separated view, a microscope's frame."""

import numpy as np

from qupath_sam.client import SamClient
from qupath_sam.client.process import server_process
from qupath_sam.types.prompts import Box, ObjectPrompts
from qupath_sam.types.regions import Region

# A dark disc on a pale field stands for what you have: a part of an image of 4000 x 3000 px, at its full size.
side = 512
row, column = np.indices((side, side))
inside = np.hypot(row - 250, column - 260) < 90
pixels = np.where(inside[..., None], (90, 40, 120), (240, 225, 235)).astype(np.uint8)
region = Region(1000, 800, side, side)

with server_process() as address, SamClient(address) as client:
    pushed = client.push_pixels(
        pixels.tobytes(),
        pixel_format="raw",
        region=region,
        image_size=(4000, 3000),
        pixel_size=(side, side),
        mpp=0.5,
        rendering="made by an example",
    )
    # Prompts and answers are in level-0 pixels of the whole image, wherever its pixels came from.
    box = Box(1000 + 160, 800 + 150, 1000 + 360, 800 + 350)
    prediction = client.predict(pushed, [ObjectPrompts(box=box)])

outline = prediction.results[0].outlines[0]
truth = inside.sum()
print(f"{outline.area_px2:.0f} px², the disc has {truth}; centre {outline.geometry.centroid.wkt}")
print(f"pixels: {prediction.provenance.pixel_source}")
assert abs(outline.area_px2 / truth - 1) < 0.2
