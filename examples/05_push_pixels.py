"""Segment pixels that the server cannot open as a file: a numpy array, a stain-separated view, a microscope's frame."""

import numpy as np

from qupath_sam import Box, SamClient
from qupath_sam.client.process import server_process

# A dark disc on a pale field stands for what you have.
row, column = np.indices((512, 512))
inside = np.hypot(row - 250, column - 260) < 90
pixels = np.where(inside[..., None], (90, 40, 120), (240, 225, 235)).astype(np.uint8)

with server_process() as address, SamClient(address) as sam:
    # `SamClient.push_pixels` sends a part of a larger image, and JPEG or PNG.
    disc = sam.open(pixels, mpp=0.5).segment(Box(160, 150, 360, 350))

print(f"{disc.area_px2:.0f} px², the disc has {inside.sum()}; centre {disc.geometry.centroid.wkt}")
assert abs(disc.area_px2 / inside.sum() - 1) < 0.2
