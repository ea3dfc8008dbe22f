"""Many boxes in one call, and a GeoJSON that QuPath imports unchanged (drag it onto the slide)."""

import tempfile
from pathlib import Path

from qupath_sam import LocalClient, OutputOptions, demo_slide_path
from qupath_sam.qupath.geojson import read_geojson

# Left, top, right, bottom of nuclei that a detector found, level-0 pixels.
boxes = [(1215, 906, 1240, 926), (1209, 871, 1233, 893), (1190, 925, 1212, 951), (1219, 980, 1239, 1004)]

with LocalClient() as sam, tempfile.TemporaryDirectory() as folder:
    output = OutputOptions(min_area=5.0, simplify_tolerance=0.1)
    nuclei = sam.open(demo_slide_path()).segment_many(boxes, path_class="Nucleus", output=output)
    file = Path(folder) / "nuclei.geojson"
    nuclei.to_geojson(file)
    for feature in read_geojson(file):
        print(f"{feature.measurements['Area µm^2']:.1f} µm², score {feature.measurements['SAM score']:.2f}")

assert len(nuclei) == len(boxes)
