"""Encode what a person looks at before the first click, so that the click finds its embedding ready."""

from qupath_sam import EmbedMode, Region, SamClient, demo_slide_path
from qupath_sam.client.process import server_process

view, pointer = Region(1000, 1800, 500, 500), (1265.5, 2080.5)

with server_process(["--model", "fake"]) as address, SamClient(address) as sam:
    slide = sam.open(demo_slide_path())
    before = sam.embed(slide.ref, view=view, focus=pointer, mode=EmbedMode.QUERY)
    print(f"{sum(s.ready for s in before)} of {len(before)} windows of the view are there")
    # START would answer at once and encode in the background; clicks go first.
    after = sam.embed(slide.ref, view=view, focus=pointer, mode=EmbedMode.WAIT)
    print(f"{sum(s.ready for s in after)} of {len(after)} are there now")
    source = slide.click(*pointer).result.embedding_source

print(f"the click's embedding came from: {source.value}")
assert all(status.ready for status in after)
assert source.value == "memory"
