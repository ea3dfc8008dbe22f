"""Start a server and refine one object click by click. The token carries the last answer's mask to the next click.

The model is the fake, which paints a disc round every click: this shows the protocol, not a segmentation.
"""

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.process import server_process
from qupath_sam.types.prompts import Click, Label, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest

clicks = (Click.at(700.5, 600.5), Click.at(760.5, 620.5), Click.at(650.5, 560.5, Label.NEGATIVE))

with server_process(["--model", "fake"]) as address, SamClient(address) as client:
    slide = Slide(demo_slide_path())
    token = b""
    for count in range(1, len(clicks) + 1):
        # All clicks so far, every time: a token that the server has dropped costs a replay, never a wrong answer.
        request = ObjectRequest(ObjectPrompts(clicks[:count]), token=token)
        result = client.predict(slide, [request]).results[0]
        token = result.token
        print(
            f"click {count}: {result.outlines[0].area_um2:.0f} µm², {result.resumed_steps} steps taken from the token"
        )

    at_once = client.predict(slide, [ObjectPrompts(clicks)]).results[0]

assert at_once.outlines[0].geometry.equals(result.outlines[0].geometry)
