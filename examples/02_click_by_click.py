"""Start a server and refine one object click by click. The token carries the last answer's mask to the next click.

The model is the fake, which paints a disc round every click: this shows the protocol, not a segmentation.
"""

from qupath_sam import Click, Label, ObjectPrompts, SamClient, demo_slide_path
from qupath_sam.client.process import server_process

with server_process(["--model", "fake"]) as address, SamClient(address) as sam:
    slide = sam.open(demo_slide_path())
    first = slide.click(700.5, 600.5)
    # Each click gives a new object and leaves the old one as it was, so that it can be taken back.
    second = first.click(760.5, 620.5)
    third = second.click(650.5, 560.5, positive=False)
    for count, answer in enumerate((first, second, third), 1):
        print(f"click {count}: {answer.area_um2:.0f} µm², {answer.result.resumed_steps} steps taken from the token")

    clicks = (Click.at(700.5, 600.5), Click.at(760.5, 620.5), Click.at(650.5, 560.5, Label.NEGATIVE))
    at_once = slide.segment(ObjectPrompts(clicks))

assert at_once.geometry.equals(third.geometry)
