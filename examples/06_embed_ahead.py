"""Encode what a person looks at before the first click, so that the click finds its embedding ready."""

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region

view, pointer = Region(1000, 1800, 500, 500), (1265.5, 2080.5)

with server_process(["--model", "fake"]) as address, SamClient(address) as client:
    slide = Slide(demo_slide_path())
    before = client.embed(slide, view=view, focus=pointer, mode="query")
    print(f"{sum(s.ready for s in before)} of {len(before)} windows of the view are there")
    # "start" would answer at once and encode in the background; clicks go first.
    client.embed(slide, view=view, focus=pointer, mode="wait")
    after = client.embed(slide, view=view, focus=pointer, mode="query")
    print(f"{sum(s.ready for s in after)} of {len(after)} are there now")
    result = client.predict(slide, [ObjectPrompts((Click.at(*pointer),))]).results[0]

print(f"the click's embedding came from: {result.embedding_source.value}")
assert all(status.ready for status in after)
assert result.embedding_source.value == "memory"
