"""A model with a refinement head: a segmenter like any other, that keeps what lies outside its region."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_sam.models.adapters.lite_medsam import LiteMedSamSegmenter
from qupath_sam.models.base import Segmenter, WindowPrompts
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.frame import CANVAS_RGB
from qupath_sam.models.load import load_weights
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import Family, default_capabilities
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.canvas import CanvasClick, CanvasPrompts
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.network import Parts
from qupath_sam.networks.refinement_head import RefinementHead, refine
from qupath_sam.networks.refinement_region import (
    REGION_CELLS,
    RefinementRegion,
    choose_region,
    cut,
    paste,
    sampling_grid,
)
from qupath_sam.training.build import build_training_network
from tests.contracts.segmenters import SegmenterContract, box, clicks, iou, picture

PARTS = Parts(refinement_head=True)
CPU = torch.device("cpu")


def refined_lite(*, strength: float = 0.05) -> LiteMedSamSegmenter:
    """The packaged weights with a head that does something, though nothing useful."""
    tensors = load_weights(BUILT_IN["lite_medsam"], ModelStore()).tensors
    network = build_training_network(tensors, Family.LITE_MEDSAM, PARTS, seed=0)
    assert network.refinement_head is not None
    with torch.no_grad():
        network.refinement_head.out.weight.normal_(0, strength, generator=torch.Generator().manual_seed(0))
    capabilities = default_capabilities(Family.LITE_MEDSAM)
    return LiteMedSamSegmenter(network, capabilities=capabilities, execution=choose_execution("cpu"))


class TestRefinedLiteMedSam(SegmenterContract):
    tolerance: ClassVar[float] = (
        0.05  # of logits of up to ten: the head rounds to bf16 where the processor computes in it
    )
    keeps_masks: ClassVar[float | None] = 0.5

    @classmethod
    def make(cls) -> Segmenter:
        return refined_lite()


def test_embeddings_of_a_head_are_not_taken_for_others() -> None:
    plain, refined = BUILT_IN["lite_medsam"], refined_lite(strength=0)
    assert plain.capabilities.mask_count == refined.capabilities.mask_count == 1
    assert refined.preprocessing_version.endswith("+head")
    embedding = refined.embed(picture(90, 120))
    assert set(embedding.tensors) == {"image", CANVAS_RGB, "projected"}
    assert embedding.tensors[CANVAS_RGB].dtype == torch.uint8


def test_a_click_ends_on_its_side() -> None:
    segmenter = refined_lite()
    embedding = segmenter.embed(picture(256, 256))
    (first,) = segmenter.decode(embedding, [box(60, 60, 190, 190)])
    outside = np.argwhere(~first.masks[0])[1000]
    prompt = clicks((float(outside[1]) + 0.5, float(outside[0]) + 0.5))
    asked = WindowPrompts(prompt.points, prompt.labels, logits=first.logits[0], last_click=1)
    (second,) = segmenter.decode(embedding, [asked])
    assert second.masks[0][tuple(outside)]


def test_a_head_that_has_learnt_nothing_leaves_first_answers_as_they_were() -> None:
    """Gate one half between the decoder's answer and itself, and no residual."""
    segmenter = refined_lite(strength=0)
    embedding = segmenter.embed(picture(256, 256))
    asked = WindowPrompts(np.array([[100, 90]], np.float32), np.array([1]), box=(60, 60, 190, 190))
    (answer,) = segmenter.decode(embedding, [asked])
    segmenter.network.refinement_head = None
    (plain,) = segmenter.decode(embedding, [asked])
    assert iou(answer.masks[0], plain.masks[0]) > 0.999


regions = st.builds(
    lambda side, x, y: RefinementRegion(x * (256 - side), y * (256 - side), side),
    st.floats(48, 256),
    st.floats(0, 1),
    st.floats(0, 1),
)


@settings(max_examples=25)
@given(region=regions)
def test_cut_and_paste_meet_where_they_should(region: RefinementRegion) -> None:
    """A plane survives both; outside the region nothing is pasted."""
    at = torch.arange(256, dtype=torch.float32) / 256
    canvas = (at[None, :] + 2 * at[:, None])[None, None]
    pasted = paste(cut(canvas, sampling_grid([region], device=CPU)), [region])
    centres = torch.arange(256) + 0.5
    x_in, y_in = ((centres >= o) & (centres <= o + region.side) for o in (region.x, region.y))
    inside = y_in[:, None] & x_in[None, :]
    # Within half a cell of the region's edge the outermost cell is repeated.
    assert (pasted[0, 0] - canvas[0, 0]).abs()[inside].max() < 3 * (0.5 * region.side / REGION_CELLS + 0.51) / 256
    assert pasted[0, 0][~inside].abs().max() == 0 if (~inside).any() else True


@settings(max_examples=25)
@given(
    x=st.integers(0, 255), y=st.integers(0, 255), size=st.integers(1, 120), jitter=st.one_of(st.none(), st.integers(0))
)
def test_the_region_holds_mask_and_click(x: int, y: int, size: int, jitter: int | None) -> None:
    mask = np.zeros((256, 256), bool)
    mask[y : y + size, x : x + size] = True
    click = CanvasClick(float(min(x + size // 2, 255)), float(min(y + size // 2, 255)), True)
    random = None if jitter is None else np.random.default_rng(jitter)
    for prompts in (
        CanvasPrompts((click,), 1),
        CanvasPrompts((click,), 1, previous=torch.zeros(256, 256)),
        CanvasPrompts(previous=torch.zeros(256, 256)),
    ):
        region = choose_region(prompts, mask, jitter=random)
        assert 48 <= region.side <= 256
        assert 0 <= region.x <= 256 - region.side + 1e-3
        assert 0 <= region.y <= 256 - region.side + 1e-3
        if random is None:
            rows, columns = np.nonzero(mask)
            assert region.x <= columns.min() + 1e-3
            assert region.x + region.side >= columns.max() + 1 - 1e-3
            assert region.y <= rows.min() + 1e-3
            assert region.y + region.side >= rows.max() + 1 - 1e-3


@pytest.mark.parametrize("several", [False, True])
@torch.no_grad()
def test_prompts_of_a_batch_do_not_know_each_other(several: bool) -> None:
    torch.manual_seed(0)
    head = RefinementHead().eval()
    head.out.weight.normal_(0, 0.05)
    logits, features = torch.randn(2, 1, 256, 256) * 3, torch.randn(2, 32, 256, 256)
    image, projected = torch.rand(1, 3, 256, 256), torch.randn(1, 32, 64, 64)
    prompts = [
        CanvasPrompts((CanvasClick(40, 50, True),), 1),
        CanvasPrompts((CanvasClick(40, 50, True), CanvasClick(90, 190, False)), 1, previous=torch.randn(256, 256)),
    ]
    prompts = prompts if several else [replace(prompts[0], newest=0), prompts[1]]
    together = refine(head, image, projected, Decoded(logits, torch.zeros(2, 1), features), prompts)
    for i, prompt in enumerate(prompts):
        decoded = Decoded(logits[i : i + 1], torch.zeros(1, 1), features[i : i + 1])
        alone = refine(head, image, projected, decoded, [prompt])
        torch.testing.assert_close(together.logits[i : i + 1], alone.logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_outside_the_region_the_mask_so_far_stays() -> None:
    torch.manual_seed(0)
    head = RefinementHead().eval()
    head.out.weight.normal_(0, 0.5)
    previous = torch.full((256, 256), -4.0)
    previous[20:40, 20:40] = 4
    prompts = [CanvasPrompts((CanvasClick(30, 30, True),), 1, previous=previous)]
    decoded = Decoded(torch.full((1, 1, 256, 256), 9.0), torch.zeros(1, 1), torch.randn(1, 32, 256, 256))
    refined = refine(head, torch.rand(1, 3, 256, 256), torch.randn(1, 32, 64, 64), decoded, prompts)
    assert torch.equal(refined.logits[0, 0, 80:], previous[80:])
    assert not torch.equal(refined.logits[0, 0, :60, :60], previous[:60, :60])
