"""Many boxes in one call, and a GeoJSON that QuPath imports unchanged (drag it onto the slide)."""

import tempfile
from pathlib import Path

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import Slide
from qupath_sam.client.local import LocalClient
from qupath_sam.qupath.annotations import annotations_of
from qupath_sam.qupath.geojson import PathClass, read_geojson, write_geojson
from qupath_sam.types.prompts import Box, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest, OutputOptions

# Left, top, right, bottom of nuclei that a detector found, level-0 pixels.
boxes = [(1215, 906, 1240, 926), (1209, 871, 1233, 893), (1190, 925, 1212, 951), (1219, 980, 1239, 1004)]
objects = [ObjectRequest(ObjectPrompts(box=Box(*box)), f"nucleus {i}") for i, box in enumerate(boxes, 1)]

with LocalClient() as client:
    prediction = client.predict(
        Slide(demo_slide_path()), objects, output=OutputOptions(min_area=5.0, simplify_tolerance=0.1)
    )

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "nuclei.geojson"
    write_geojson(file, annotations_of(prediction, path_class=PathClass.of("Nucleus")))
    for feature in read_geojson(file):
        area, score = feature.measurements["Area µm^2"], feature.measurements["SAM score"]
        print(f"{feature.name}: {area:.1f} µm², score {score:.2f}")
assert len(prediction.results) == len(boxes)
