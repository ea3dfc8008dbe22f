"""Live clicking: one stream that stays open; of two clicks on one object only the newest has to be answered."""

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.client.sam import predict_request
from qupath_sam.errors import Cancelled
from qupath_sam.types.prompts import Click, ObjectPrompts

with server_process(["--model", "fake"]) as address, SamClient(address) as client, client.live() as live:
    slide = Slide(demo_slide_path())
    # A pointer that moves: each place replaces the one before, unless that was answered already.
    answers = [
        live.predict(predict_request(slide, [ObjectPrompts((Click.at(x, 600.5),))]), supersedes_key="hover")
        for x in (700.5, 720.5, 740.5, 760.5)
    ]
    for number, answer in enumerate(answers, 1):
        try:
            outline = answer.result(timeout=60).results[0].outlines[0]
            print(f"place {number}: {outline.area_um2:.0f} µm²")
        except Cancelled:
            print(f"place {number}: replaced by a newer one")
    assert answers[-1].result().results[0].outlines
