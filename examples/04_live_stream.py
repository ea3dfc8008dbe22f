"""Live clicking: one stream that stays open; of two clicks on one object only the newest has to be answered."""

from qupath_sam import Click, ObjectPrompts, SamClient, Slide, demo_slide_path
from qupath_sam.client.process import server_process
from qupath_sam.errors import Cancelled

with server_process(["--model", "fake"]) as address, SamClient(address) as sam, sam.live() as live:
    slide = Slide(demo_slide_path())
    # A pointer that moves: each place replaces the one before, unless that was answered already.
    answers = [
        live.predict(slide, [ObjectPrompts((Click.at(x, 600.5),))], supersedes_key="hover")
        for x in (700.5, 720.5, 740.5, 760.5)
    ]
    for number, answer in enumerate(answers, 1):
        try:
            print(f"place {number}: {answer.result(timeout=60).results[0].outlines[0].area_um2:.0f} µm²")
        except Cancelled:
            print(f"place {number}: replaced by a newer one")
    assert answers[-1].result().results[0].outlines
