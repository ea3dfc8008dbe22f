"""SAM through our adapter is SAM through its own predictor; MobileSAM and MedSAM differ from it where they should."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from qupath_sam.models.adapters.medsam import MedSamSegmenter
from qupath_sam.models.adapters.sam import PIXEL_MEAN, PIXEL_STD, SamSegmenter
from qupath_sam.models.base import Segmenter, WindowPrompts
from qupath_sam.models.devices import Precision, choose_execution
from qupath_sam.models.spec import Family, default_capabilities
from tests.contracts.segmenters import SegmenterContract, box, clicks, picture, with_logits
from tests.models.networks import random_mobile_sam, small_sam, small_sam_network


class TestSmallSam(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return small_sam()


class TestRandomMobileSam(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return random_mobile_sam()


@pytest.fixture(scope="module")
def eager() -> SamSegmenter:
    return small_sam(Precision.FP32_EAGER)


KINDS = ("click", "clicks", "box", "box_and_click", "mask")


def _prompt(kind: str, height: int, width: int) -> WindowPrompts:
    x, y = 0.4 * width, 0.6 * height
    match kind:
        case "click":
            return clicks((x, y))
        case "clicks":
            return clicks((x, y), (x / 2, y / 3), labels=(1, 0))
        case "box":
            return box(x / 2, y / 2, x, y)
        case "box_and_click":
            return WindowPrompts(np.array([[x, y]], np.float32), np.array([1]), (x / 2, y / 2, x, y))
        case _:
            return with_logits(clicks((x, y)), np.random.default_rng(0).normal(0, 4, (256, 256)).astype(np.float32))


@pytest.mark.parametrize("size", [(1024, 1024), (350, 512), (300, 190)])
def test_equals_segment_anything(eager: SamSegmenter, size: tuple[int, int]) -> None:
    network = small_sam_network()
    parts = (network.image_encoder, network.prompt_encoder, network.mask_decoder)
    predictor = SamPredictor(Sam(*parts, list(PIXEL_MEAN), list(PIXEL_STD)).eval())
    pixels, frame = picture(*size), eager.frame(size)
    predictor.set_image(pixels)
    embedding = eager.embed(pixels)
    np.testing.assert_allclose(
        embedding.tensors["image"], predictor.get_image_embedding(), atol=2e-2 if size != (1024, 1024) else 1e-4
    )
    # Both see the same embedding below; rounding of resized pixels is not what is tested there.
    predictor.features = embedding.tensors["image"]
    for kind, several in itertools.product(KINDS, (False, True)):
        prompt = _prompt(kind, *size)
        # The rule of one object is ours.
        (answer,) = eager.decode(embedding, [replace(prompt, keep_parts=True)], several_masks=several)
        _, scores, low_res = predictor.predict(
            **_as_segment_anything_has_it(prompt, size, eager), multimask_output=several
        )
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(answer.scores, scores[order].clip(0, 1), atol=1e-4, err_msg=kind)
        expected = frame.logits_over_window(torch.from_numpy(low_res[order]))
        np.testing.assert_allclose(answer.logits, expected, atol=1e-3, err_msg=kind)


def _as_segment_anything_has_it(
    prompt: WindowPrompts, size: tuple[int, int], segmenter: SamSegmenter
) -> dict[str, NDArray[np.float32] | NDArray[np.int64] | None]:
    """Its predictor scales what it takes for pixel indices, then adds one half in model px."""
    frame = segmenter.frame(size)
    scale = np.array(frame.content_size[::-1]) / np.array(size[::-1])
    corners = None if prompt.box is None else np.array(prompt.box).reshape(2, 2)
    mask = None
    if prompt.logits is not None:
        mask = frame.logits_over_square(torch.from_numpy(prompt.logits)[None]).numpy()
    return {
        "point_coords": prompt.points - 0.5 / scale if len(prompt.points) else None,
        "point_labels": prompt.labels if len(prompt.points) else None,
        "box": None if corners is None else (corners - 0.5 / scale).reshape(4),
        "mask_input": mask,
    }


def test_batches_answer_as_single_prompts_do(eager: SamSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an accelerator does, done on the CPU."""
    embedding = eager.embed(picture(151, 203))
    (earlier,) = eager.decode(embedding, [box(20, 20, 90, 80)])
    prompts = [
        clicks((100, 70)),
        box(20, 20, 90, 80),
        clicks((50, 60)),
        with_logits(clicks((60, 50)), earlier.logits[0]),
        clicks((100, 70), (20.5, 30.5), labels=(1, 0)),
        box(30, 20, 70, 80),
        WindowPrompts(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), logits=earlier.logits[0]),
        WindowPrompts(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), logits=-earlier.logits[0]),
    ]
    singly = eager.decode(embedding, prompts, several_masks=True)
    monkeypatch.setattr(type(eager.execution), "batches_prompts", property(lambda self: True))
    monkeypatch.setattr("qupath_sam.models.adapters.promptable.PROMPTS_PER_BATCH", 2)
    together = eager.decode(embedding, prompts, several_masks=True)
    for alone, batched in zip(singly, together, strict=True):
        np.testing.assert_allclose(batched.logits, alone.logits, atol=1e-3)
        np.testing.assert_allclose(batched.scores, alone.scores, atol=1e-4)


def test_bf16_is_near_fp32() -> None:
    pixels = picture(151, 203)
    exact = small_sam(Precision.FP32).embed(pixels).tensors["image"]
    near = small_sam(Precision.BF16).embed(pixels).tensors["image"]
    assert near.dtype == torch.bfloat16
    assert (near.float() - exact).norm() / exact.norm() < 0.05


def test_medsam_stretches_and_spreads_its_input() -> None:
    segmenter = MedSamSegmenter(
        small_sam(Precision.FP32).network,
        capabilities=default_capabilities(Family.MEDSAM_VIT_B),
        execution=choose_execution("cpu", "fp32"),
    )
    assert segmenter.frame((100, 300)).fills_square
    image = segmenter.normalise(torch.tensor([40.0, 90, 240]).view(1, 3, 1, 1))
    torch.testing.assert_close(image.flatten(), torch.tensor([0, 0.25, 1]))
    assert (segmenter.normalise(torch.full((1, 3, 4, 4), 255.0)) == 0).all()
