"""What every `Segmenter` promises. Subclass `SegmenterContract` beside the tests of an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from qupath_sam.errors import InvalidPrompt, UnsupportedPrompt
from qupath_sam.models.base import LOW_RES_SIZE, Embedding, MaskSet, Segmenter, WindowPrompts
from qupath_sam.models.jobs import EncodeJob, Job, Stages, decoding_of

T = TypeVar("T")

#: Height and width of the window most tests use: not square, not even.
WINDOW = (151, 203)


def picture(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """A bright field with dark blobs of several sizes."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), (236.0, 220.0, 232.0))
    for _ in range(6):
        cx, cy = random.uniform(0, width), random.uniform(0, height)
        radius = random.uniform(0.05, 0.2) * max(height, width)
        image[np.hypot(x - cx, y - cy) < radius] = random.uniform(60, 180, 3)
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def clicks(*points: tuple[float, float], labels: tuple[int, ...] | None = None) -> WindowPrompts:
    """Clicks in window px; positive where nothing else is said."""
    return WindowPrompts(
        points=np.array(points, np.float32).reshape(-1, 2),
        labels=np.array(labels if labels is not None else (1,) * len(points), np.int64),
    )


def box(*corners: float) -> WindowPrompts:
    """A box in window px: min_x, min_y, max_x, max_y."""
    return WindowPrompts(
        np.zeros((0, 2), np.float32), np.zeros(0, np.int64), box=(corners[0], corners[1], corners[2], corners[3])
    )


def with_logits(prompt: WindowPrompts, logits: NDArray[np.float32]) -> WindowPrompts:
    """The same prompt with an earlier mask."""
    return WindowPrompts(prompt.points, prompt.labels, prompt.box, logits)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 for two empty masks."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def in_step(all_stages: Sequence[Stages[T]]) -> list[T]:
    """Run stages together: in each round, jobs of one key share a call, as the engine's worker has them do."""
    results: dict[int, T] = {}
    answers: dict[int, object] = dict.fromkeys(range(len(all_stages)))
    while answers:
        jobs: dict[int, Job[Any]] = {}
        for number, answer in answers.items():
            try:
                jobs[number] = all_stages[number].send(answer)
            except StopIteration as done:
                results[number] = done.value
        answers = {}
        for key in {job.key for job in jobs.values()}:
            some = {number: job for number, job in jobs.items() if job.key == key}
            first, *others = some.values()
            answers |= zip(some, first.run_with(others), strict=True)
    return [results[number] for number in range(len(all_stages))]


class SegmenterContract:
    """Tests of one segmenter. Override `make`; loosen the class attributes only with a reason."""

    #: Largest difference of logits between two ways to the same answer.
    tolerance: ClassVar[float] = 1e-3
    #: Least IoU of a mask and what the model makes of that mask as its only news; None where weights are random.
    keeps_masks: ClassVar[float | None] = None

    @classmethod
    def make(cls) -> Segmenter:
        """The segmenter under test; made once for the class."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls) -> Segmenter:
        return cls.make()

    @pytest.fixture(scope="class")
    @classmethod
    def embedding(cls, segmenter: Segmenter) -> Embedding:
        return segmenter.embed(picture(*WINDOW))

    @pytest.mark.parametrize("size", [(1, 1), (1, 90), (37, 53), (256, 256)])
    def test_answers_have_the_promised_form(self, segmenter: Segmenter, size: tuple[int, int]) -> None:
        height, width = size
        embedding = segmenter.embed(picture(height, width))
        prompts = [clicks((width / 2, height / 2))]
        prompts.append(box(0, 0, width, height) if segmenter.capabilities.boxes else clicks((0.5, 0.5)))
        for several, count in ((False, 1), (True, segmenter.capabilities.mask_count)):
            answers = segmenter.decode(embedding, prompts, several_masks=several)
            assert len(answers) == 2
            for answer in answers:
                assert answer.masks.dtype == np.bool_
                assert answer.masks.shape == (count, height, width)
                assert answer.scores.dtype == np.float32
                assert answer.scores.shape == (count,)
                assert answer.logits.dtype == np.float32
                assert answer.logits.shape == (count, LOW_RES_SIZE, LOW_RES_SIZE)
                assert np.isfinite(answer.logits).all()
                assert ((answer.scores >= 0) & (answer.scores <= 1)).all()
                assert (np.diff(answer.scores) <= 0).all()

    def test_embedding_knows_its_window_and_leaves_the_pixels_alone(self, segmenter: Segmenter) -> None:
        pixels = picture(*WINDOW)
        before = pixels.copy()
        pixels.flags.writeable = False
        embedding = segmenter.embed(pixels)
        assert embedding.window_size == WINDOW
        assert embedding.size_bytes > 0
        np.testing.assert_array_equal(pixels, before)

    def test_same_input_same_answer(self, segmenter: Segmenter, embedding: Embedding) -> None:
        again = segmenter.embed(picture(*WINDOW))
        assert again.tensors.keys() == embedding.tensors.keys()
        for name, tensor in again.tensors.items():
            assert torch.equal(tensor, embedding.tensors[name])
        prompt = clicks((100, 70), (20.5, 30.5), labels=(1, 0))
        (first,), (second,) = (segmenter.decode(e, [prompt], several_masks=True) for e in (embedding, again))
        np.testing.assert_array_equal(first.logits, second.logits)
        np.testing.assert_array_equal(first.scores, second.scores)

    def test_other_pixels_other_answer(self, segmenter: Segmenter, embedding: Embedding) -> None:
        other = segmenter.embed(picture(*WINDOW, seed=1))
        (first,), (second,) = (segmenter.decode(e, [clicks((100, 70))]) for e in (embedding, other))
        assert not (np.array_equal(first.scores, second.scores) and np.array_equal(first.logits, second.logits))

    def test_order_of_points_does_not_matter(self, segmenter: Segmenter, embedding: Embedding) -> None:
        points, labels = ((100.0, 70.0), (20.5, 30.5), (150.0, 100.0)), (1, 0, 1)
        (forward,) = segmenter.decode(embedding, [clicks(*points, labels=labels)])
        (backward,) = segmenter.decode(embedding, [clicks(*points[::-1], labels=labels[::-1])])
        self.assert_close(forward, backward)

    def test_answer_does_not_depend_on_its_companions(self, segmenter: Segmenter, embedding: Embedding) -> None:
        prompts = [clicks((100, 70)), clicks((50, 60)), clicks((100, 70), (20.5, 30.5), labels=(1, 0))]
        if segmenter.capabilities.boxes:
            prompts.append(box(20, 20, 90, 80))
            prompts.append(WindowPrompts(np.array([[60, 50]], np.float32), np.array([1]), box=(20, 20, 90, 80)))
        if segmenter.capabilities.mask_prompt:
            (earlier,) = segmenter.decode(embedding, [clicks((60, 50))])
            prompts.append(with_logits(clicks((60, 50)), earlier.logits[0]))
        together = segmenter.decode(embedding, prompts)
        for prompt, answer in zip(prompts, together, strict=True):
            (alone,) = segmenter.decode(embedding, [prompt])
            self.assert_close(answer, alone)

    def test_jobs_of_several_windows_share_a_call(self, segmenter: Segmenter, embedding: Embedding) -> None:
        """What an accelerator gains by: whatever shares a call, each answer is that of the window and prompt alone."""
        other = segmenter.embed(picture(*WINDOW, seed=1))
        asked = [(embedding, clicks((100, 70))), (other, clicks((100, 70))), (other, clicks((50, 60), (90, 30)))]
        stages = [decoding_of(segmenter, each, [prompt], several_masks=True) for each, prompt in asked]
        for (each, prompt), (together,) in zip(asked, in_step(stages), strict=True):
            (alone,) = segmenter.decode(each, [prompt], several_masks=True)
            self.assert_close(together, alone)
            assert all(iou(*masks) > 0.999 for masks in zip(together.masks, alone.masks, strict=True))

    def test_windows_share_a_call(self, segmenter: Segmenter, embedding: Embedding) -> None:
        pixels = [picture(*WINDOW), picture(64, 80, seed=1), picture(*WINDOW, seed=2)]
        jobs = [EncodeJob(segmenter, each) for each in pixels]
        for made, each in zip(jobs[0].run_with(jobs[1:]), pixels, strict=True):
            alone = segmenter.embed(each)
            assert made.window_size == alone.window_size
            assert made.tensors.keys() == alone.tensors.keys()
            for name, tensor in alone.tensors.items():
                torch.testing.assert_close(made.tensors[name].float(), tensor.float(), atol=0.02, rtol=0.02)

    def test_no_prompts_no_answers(self, segmenter: Segmenter, embedding: Embedding) -> None:
        assert segmenter.decode(embedding, []) == []

    def test_may_be_called_from_another_thread(self, segmenter: Segmenter, embedding: Embedding) -> None:
        with ThreadPoolExecutor(1) as other:
            made = other.submit(segmenter.embed, picture(*WINDOW)).result()
            (there,) = other.submit(segmenter.decode, made, [clicks((100, 70))]).result()
        (here,) = segmenter.decode(embedding, [clicks((100, 70))])
        self.assert_close(there, here)

    def test_masks_are_the_logits_above_zero(self, segmenter: Segmenter, embedding: Embedding) -> None:
        # All parts: what a click does not point at is dropped from the window's own px too.
        prompt = replace(clicks((100, 70)), keep_parts=True)
        (answer,) = segmenter.decode(embedding, [prompt], several_masks=True)
        upsampled = F.interpolate(torch.from_numpy(answer.logits)[None], size=WINDOW, mode="bilinear")[0].numpy() > 0
        for mask, expected in zip(answer.masks, upsampled, strict=True):
            assert iou(mask, expected) > 0.95

    def test_earlier_mask_is_kept(self, segmenter: Segmenter, embedding: Embedding) -> None:
        if self.keeps_masks is None or not segmenter.capabilities.mask_prompt:
            pytest.skip("these weights make nothing of an earlier mask")
        prompt = box(30, 20, 120, 110) if segmenter.capabilities.boxes else clicks((75, 65))
        (first,) = segmenter.decode(embedding, [prompt])
        (second,) = segmenter.decode(embedding, [with_logits(prompt, first.logits[0])])
        assert iou(first.masks[0], second.masks[0]) >= self.keeps_masks

    def test_refuses_what_it_cannot_use(self, segmenter: Segmenter, embedding: Embedding) -> None:
        can = segmenter.capabilities
        logits = np.zeros((LOW_RES_SIZE, LOW_RES_SIZE), np.float32)
        refused = [clicks(), with_logits(clicks((5, 5)), np.zeros((7, 7), np.float32))]
        refused += [] if can.points else [clicks((5, 5))]
        refused += [] if can.boxes else [box(1, 1, 5, 5)]
        refused += [] if can.mask_prompt else [with_logits(clicks((5, 5)), logits)]
        refused += [] if can.outlines else [with_logits(clicks(), logits)]
        for prompt in refused:
            with pytest.raises(UnsupportedPrompt):
                segmenter.decode(embedding, [clicks((100, 70)), prompt])

    def test_refuses_what_is_no_number(self, segmenter: Segmenter, embedding: Embedding) -> None:
        can, nan = segmenter.capabilities, float("nan")
        logits = np.full((LOW_RES_SIZE, LOW_RES_SIZE), np.nan, np.float32)
        refused = [clicks((nan, 5))] if can.points else []
        refused += [box(1, 1, nan, 5), box(1, 1, float("inf"), 5)] if can.boxes else []
        refused += [with_logits(clicks((5, 5)), logits)] if can.mask_prompt and can.points else []
        for prompt in refused:
            with pytest.raises(InvalidPrompt, match="finite"):
                segmenter.decode(embedding, [prompt])

    def test_preprocessing_has_a_version(self, segmenter: Segmenter) -> None:
        assert segmenter.preprocessing_version == type(self).make().preprocessing_version != ""

    def assert_close(self, a: MaskSet, b: MaskSet) -> None:
        """Two ways to the same answer."""
        np.testing.assert_allclose(a.logits, b.logits, atol=self.tolerance)
        np.testing.assert_allclose(a.scores, b.scores, atol=self.tolerance)
