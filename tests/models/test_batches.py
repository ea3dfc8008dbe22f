"""What an accelerator does, done on the CPU: several prompts and windows in one pass give the answers of each alone."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.models.adapters import promptable
from qupath_sam.models.base import MaskSet, Segmenter, WindowPrompts
from qupath_sam.models.devices import Execution
from qupath_sam.models.jobs import DecodeJob, RefineJob, decoding_of
from qupath_sam.models.load import load_segmenter
from tests.contracts.segmenters import box, clicks, in_step, iou, picture, with_logits


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    # fp32: in bf16 a batch rounds its sums in another order.
    return load_segmenter("lite_medsam_histology", device="cpu", precision="fp32", runtime="torch").segmenter


def answers(segmenter: Segmenter, *, batched: bool) -> list[MaskSet]:
    embeddings = [segmenter.embed(picture(256, 256, seed=seed)) for seed in (0, 1)]
    (earlier,) = segmenter.decode(embeddings[0], [clicks((60, 50))])
    asked: list[tuple[int, list[WindowPrompts]]] = [
        (0, [clicks((100, 70)), clicks((50, 60)), box(20, 20, 90, 80)]),
        (1, [clicks((100, 70)), box(30, 40, 120, 150)]),
        (1, [with_logits(clicks((60, 50)), earlier.logits[0])]),
    ]
    stages = [decoding_of(segmenter, embeddings[which], prompts, several_masks=True) for which, prompts in asked]
    made = in_step(stages) if batched else [each for one in stages for each in in_step([one])]
    return [answer for group in made for answer in group]


def test_batches_over_windows_answer_as_single_jobs_do(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = answers(segmenter, batched=False)
    monkeypatch.setattr(Execution, "batches_prompts", property(lambda self: True))
    passes: list[int] = []
    decode_batch = promptable.PromptableSegmenter._decode_batch

    def counted(self, image, prompts, masks, frames):  # type: ignore[no-untyped-def]
        passes.append(len(prompts))
        return decode_batch(self, image, prompts, masks, frames)

    monkeypatch.setattr(promptable.PromptableSegmenter, "_decode_batch", counted)
    together = answers(segmenter, batched=True)
    assert max(passes) >= 3, "clicks of two windows shared a pass"
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.logits, one.logits, atol=2e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
        assert other.decoders == one.decoders
        assert all(iou(*masks) > 0.999 for masks in zip(one.masks, other.masks, strict=True))


def test_jobs_know_what_they_hold(segmenter: Segmenter) -> None:
    embedding = segmenter.embed(picture(256, 256))
    stages = decoding_of(segmenter, embedding, [clicks((100, 70)), clicks((50, 60))])
    job = next(stages)
    assert isinstance(job, DecodeJob)
    assert job.items == 2
    halves = job.halves()
    assert halves is not None
    assert [half.items for half in halves] == [1, 1]
    assert halves[0].halves() is None
    head = stages.send(job())
    assert isinstance(head, RefineJob)
    assert head.items == 2
