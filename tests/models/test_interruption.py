"""An encode stops half-way when it is asked to, and the next one gives what it always gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qupath_sam.engine.worker import InferenceWorker, Priority
from qupath_sam.models import kept_networks
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import Embedding
from qupath_sam.models.compiled import CompiledNetwork
from qupath_sam.models.devices import CompiledEncoder
from qupath_sam.models.interruption import EncoderStop
from qupath_sam.models.jobs import EncodeJob, Interrupted
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from tests.contracts.segmenters import picture

PATIENCE = 30.0
SIDE = 512


@pytest.fixture(params=["torch", "openvino"])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 16, 3, padding=1), *(nn.Conv2d(16, 16, 3, padding=1) for _ in range(30))]
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    if request.param == "torch":
        return network
    if not kept_networks.is_installed():
        pytest.skip("the extra [openvino] is not installed")
    run = CompiledNetwork(network, [[image(SIDE)]], [(1, 3, SIDE, SIDE)], bf16=False, threads=1, folder=tmp_path)
    return CompiledEncoder(run)


def image(side: int) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_an_encode_stops_and_the_next_is_whole(encoder: nn.Module) -> None:
    stop, large = EncoderStop(encoder), image(SIDE)
    expected = encoder(large)
    ended: list[BaseException | None] = []

    def encode() -> None:
        try:
            with stop.watching():
                encoder(large)
        except BaseException as error:
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=encode)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while thread.is_alive():  # once might be before the encode has begun
        assert time.monotonic() < deadline
        stop.ask()
        time.sleep(0.001)
    assert [type(each) for each in ended] == [Interrupted]
    stop.ask()  # it came too late
    stop.forget()
    with stop.watching():
        assert torch.equal(encoder(large), expected)


def test_an_encode_that_has_not_begun_stops_too(encoder: nn.Module) -> None:
    """What came while the pixels were made ready was lost: the click waited for the whole encode."""
    stop, small = EncoderStop(encoder), image(SIDE)
    expected = encoder(small)
    stop.ask()
    with pytest.raises(Interrupted), stop.watching():
        pytest.fail("it began")
    with pytest.raises(Interrupted):
        ask_and_encode(stop, encoder)
    with stop.watching():
        assert torch.equal(encoder(small), expected), "each wish stops one encode"


def ask_and_encode(stop: EncoderStop, encoder: nn.Module) -> None:
    with stop.watching():
        stop.ask()
        encoder(image(SIDE))


def test_an_interruption_between_the_last_look_and_the_start_waits_for_the_start(encoder: nn.Module) -> None:
    if not isinstance(encoder, CompiledEncoder):
        pytest.skip("torch looks before every layer")
    stop, large = EncoderStop(encoder), image(SIDE)
    look, asks = encoder.run.before_start, threading.Thread(target=stop.ask)

    def look_and_ask() -> None:
        look()
        asks.start()
        while not stop._asked.is_set():
            time.sleep(0.001)

    encoder.run.before_start = look_and_ask
    with pytest.raises(Interrupted), stop.watching():
        encoder(large)
    asks.join(PATIENCE)


def test_a_click_that_comes_before_the_encode_begins_goes_first() -> None:
    model = load_segmenter(DEFAULT_MODEL, device="cpu").segmenter
    order: list[str] = []
    with InferenceWorker() as worker:

        def click() -> None:
            worker.submit(lambda: order.append("click"))

        encode = worker.submit(EncodeJob(model, picture(300, 200, seed=1)), priority=Priority.BATCH, began=click)
        encode.add_done_callback(lambda _: order.append("encode"))
        assert encode.result(PATIENCE).window_size == (300, 200)
        worker.run(lambda: None)
    assert order == ["click", "encode"]


def test_a_click_that_comes_after_the_encode_stops_no_other() -> None:
    model = load_segmenter(DEFAULT_MODEL, device="cpu").segmenter
    turns: list[str] = []
    with InferenceWorker() as worker:

        class Click(EncodeJob):
            def run_with(self, others: Sequence[EncodeJob]) -> list[Embedding]:
                turns.append("click")
                return super().run_with(others)

        class Encode(EncodeJob):
            def run_with(self, others: Sequence[EncodeJob]) -> list[Embedding]:
                turns.append("encode")
                made = super().run_with(others)
                clicks.append(worker.submit(Click(model, picture(300, 200, seed=2))))
                return made

        clicks: list[Future[Embedding]] = []
        worker.run(Encode(model, picture(300, 200, seed=1)), priority=Priority.BATCH)
        assert clicks[0].result(PATIENCE).window_size == (300, 200)
    assert turns == ["encode", "click"]


def test_an_error_of_the_encoder_stays_what_it_is(encoder: nn.Module) -> None:
    stop = EncoderStop(encoder)
    with pytest.raises(RuntimeError), stop.watching():
        encoder(torch.zeros(1, 4, 16, 16))


def test_the_job_of_the_default_model_stops() -> None:
    model = load_segmenter(DEFAULT_MODEL, device="cpu").segmenter
    assert isinstance(model, TwoDecoderSegmenter)
    job = EncodeJob(model, picture(300, 200, seed=1))
    # The encoder's first layer asks, as a click would on another thread.
    hook = next(model.first.network.image_encoder.modules()).register_forward_pre_hook(lambda *_: job.interrupt())
    with pytest.raises(Interrupted):
        job()
    hook.remove()
    assert job().window_size == (300, 200)
