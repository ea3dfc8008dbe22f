"""The default model behind the real server, on the demo slide and on real slides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import shapely

from qupath_sam import errors
from qupath_sam.client import SamClient, Slide
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import Box, Click, ObjectPrompts
from qupath_sam.types.requests import ObjectRequest, WindowRequest
from qupath_sam.types.results import EmbeddingSource

SCALE = WindowRequest(downsample=2.0)


@pytest.fixture(scope="module")
def default_server() -> Iterator[RunningServer]:
    with start_server(ServerSettings(port=0, device="cpu")) as running:
        yield running


@pytest.fixture
def default_client(default_server: RunningServer) -> Iterator[SamClient]:
    with SamClient(default_server.address) as connected:
        yield connected


def test_a_box_gives_an_outline_that_fills_much_of_it(default_client, slide):
    box = Box(1000, 1000, 1200, 1300)
    prediction = default_client.predict(slide, [ObjectPrompts(box=box)])
    (outline,) = prediction.results[0].outlines
    assert prediction.provenance.model == DEFAULT_MODEL
    assert len(prediction.provenance.weights_sha256) == 64
    overlap = outline.geometry.intersection(shapely.box(*box.bounds)).area
    assert overlap > 0.8 * outline.geometry.area
    assert overlap > 0.2 * shapely.box(*box.bounds).area


def test_sixteen_clients_get_what_one_gets(default_server, default_client, slide):
    places = [(1000 + 150 * i, 1000 + 120 * i) for i in range(8)]
    boxes = [ObjectPrompts((Click.at(x + 40, y + 40),), Box(x, y, x + 90, y + 80)) for x, y in places]
    expected = [default_client.predict(slide, [b], window=SCALE).results[0].outlines for b in boxes]
    default_server.engine.embeddings.memory.clear()
    default_server.engine.states.clear()
    wrong: list[str] = []
    start = threading.Barrier(16)

    def work(number: int) -> None:
        try:
            with SamClient(default_server.address) as client:
                start.wait(20)
                got = client.predict(slide, [boxes[number % 8]], window=SCALE).results[0].outlines
            if got != expected[number % 8]:
                wrong.append(str(number))
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_objects_of_one_window_share_its_embedding(default_client, slide):
    boxes = [ObjectPrompts(box=Box(1860 + 20 * i, 2500, 1875 + 20 * i, 2530)) for i in range(4)]
    first = default_client.predict(slide, boxes, window=WindowRequest(downsample=1.0))
    assert {result.window for result in first.results} == {first.results[0].window}
    another = [ObjectPrompts(box=Box(1861, 2501, 1880, 2530))]
    again = default_client.predict(slide, another, window=WindowRequest(downsample=1.0))
    assert first.timings.encode > 0 == again.timings.encode


def test_a_token_continues_the_default_models_logits(default_client, slide):
    clicks = (Click.at(1500, 1000), Click.at(1520, 1010), Click.at(1540, 1020))
    box = Box(1400, 950, 1600, 1100)
    at_once = default_client.predict(slide, [ObjectPrompts(clicks, box)]).results[0]
    token = b""
    for count in range(4):
        request = ObjectRequest(ObjectPrompts(clicks[:count], box), token=token)
        result = default_client.predict(slide, [request]).results[0]
        token = result.token
    assert result.outlines == at_once.outlines
    assert result.embedding_source in (EmbeddingSource.MEMORY, None)


def test_a_real_aperio_slide_gives_what_its_pyramid_gives(default_client, slide, shared_data: Path):
    original = Slide(shared_data / "slides" / "CMU-1-Small-Region.svs", size=(2220, 2967))
    described = default_client.describe(original)
    assert (described.width, described.height) == (2220, 2967)
    assert described.mpp == pytest.approx(0.499)
    prompts = [ObjectPrompts(box=Box(1500, 1500, 1620, 1600))]
    (ours,) = default_client.predict(slide, prompts, window=WindowRequest(downsample=1.0)).results
    (theirs,) = default_client.predict(original, prompts, window=WindowRequest(downsample=1.0)).results
    a, b = ours.outlines[0].geometry, theirs.outlines[0].geometry
    assert a.intersection(b).area / a.union(b).area > 0.9


def test_an_implausible_pixel_size_is_told_and_not_believed(default_client, shared_data: Path):
    boxes = Slide(shared_data / "slides" / "openslide-py-boxes.tiff")
    described = default_client.describe(boxes)
    assert described.mpp is None
    assert any("352" in remark for remark in described.remarks)
    prediction = default_client.predict(boxes, [ObjectPrompts(box=Box(20, 20, 120, 120))])
    assert prediction.provenance.mpp is None
    assert prediction.provenance.remarks


def test_a_fluorescence_slide_is_segmented_at_its_own_scales(default_client, shared_data: Path):
    slide = Slide(shared_data / "slides" / "test3-DAPI-2-387.ndpi", size=(3968, 4864))
    described = default_client.describe(slide)
    assert described.mpp == pytest.approx(0.228, abs=1e-3)
    assert described.scales[0] * described.mpp >= 0.12
    prediction = default_client.predict(slide, [ObjectPrompts(box=Box(1900, 2400, 1990, 2490))])
    assert prediction.results[0].window.downsample in described.scales


def test_a_slide_that_fails_on_reading_is_unreadable(default_client, shared_data: Path):
    broken = Slide(shared_data / "slides" / "openslide-py-unreadable.svs")
    with pytest.raises((errors.SlideUnreadable, errors.SlideUnsupported)):
        default_client.predict(broken, [ObjectPrompts((Click.at(1, 1),))])
