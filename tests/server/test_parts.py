"""More objects than one call takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import SamClient, Slide
from qupath_sam.client.local import LocalClient
from qupath_sam.client.parts import in_parts
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import RequestTooLarge
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Box, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.types.results import Prediction, Provenance, Timings

SLIDE = Slide(str(demo_slide_path()))
MANY = [ObjectRequest(ObjectPrompts(box=Box(600 + n, 500, 640 + n, 540)), f"object {n}") for n in range(7)]


def _named(prediction: Prediction) -> list[str]:
    return [result.object_id for result in prediction.results]


def test_a_server_that_takes_fewer_is_asked_several_times() -> None:
    with (
        start_server(ServerSettings(port=0, model="fake", device="cpu", max_objects=3)) as server,
        SamClient(server.address) as client,
    ):
        several = client.predict(SLIDE, MANY)
        single = [client.predict(SLIDE, [request]).results[0].outlines for request in MANY]
    assert _named(several) == [request.object_id for request in MANY]
    assert [result.outlines for result in several.results] == single
    assert several.timings.total > 0
    assert several.provenance.remarks == tuple(dict.fromkeys(several.provenance.remarks))


def test_the_engine_here_takes_any_number() -> None:
    with LocalClient(EngineSettings(model="fake", device="cpu", max_objects=3)) as local:
        assert _named(local.predict(SLIDE, MANY)) == [request.object_id for request in MANY]


def _answer(count: int, remark: str) -> Prediction:
    made = Provenance("fake", "", "1", "0.1.0", "f", "test", "cpu", None, ("always", remark))
    return Prediction(tuple(range(count)), made, Timings(total=1.0))  # type: ignore[arg-type]


def test_what_is_too_large_is_halved() -> None:
    calls: list[int] = []

    def ask(part: Sequence[int]) -> Prediction:
        calls.append(len(part))
        if sum(part) > 10:
            raise RequestTooLarge("too many bytes")
        return _answer(len(part), f"{part[0]}")

    answer = in_parts([4, 4, 4, 4, 9], ask, most=4)
    assert calls == [4, 2, 2, 1]
    assert len(answer.results) == 5
    assert answer.provenance.remarks == ("always", "4", "9")
    assert answer.timings.total == 3.0
    with pytest.raises(RequestTooLarge):
        in_parts([4, 11], ask, most=4)
