"""Answers to boxes that come alone, held against those of another model.

Tuning on some tissues makes a model better there, and lets it forget how to outline others
(docs/science/experiments.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from qupath_sam.models.base import Embedding, MaskSet, WindowPrompts
from qupath_sam.models.devices import out_of_memory_mapped
from qupath_sam.models.frame import CANVAS_RGB
from qupath_sam.models.jobs import CallJob, Stages
from qupath_sam.networks.canvas import CANVAS_SIZE
from qupath_sam.types.masks import intersection_over_union

if TYPE_CHECKING:
    from qupath_sam.models.adapters.promptable import PromptableSegmenter

#: Two models' answers to a box are about one object from this IoU on; below, the surer one is taken, if it is surer by
#: this much (docs/science/experiments.md).
BOX_AGREEMENT, SURER = 0.75, 0.1
#: Windows whose embedding for the box checker is kept, some hundred KB each.
BOX_EMBEDDINGS = 32


class BoxChecker:
    """Another model that checks the answers of one.

    It is made when the first box comes alone, as many people never give one, and so is its embedding of a window, from
    the `CANVAS_RGB` that is kept for the refinement head.

    Args:
        own: the model whose answers are checked.
        make: makes the other one, of the same family. Its answer is taken where the two have less than `BOX_AGREEMENT`
            in common and it gives itself a score that is higher by more than `SURER`.
    """

    def __init__(self, own: PromptableSegmenter, make: Callable[[], PromptableSegmenter]) -> None:
        self._own = own
        self._make = make
        self._made: PromptableSegmenter | None = None
        #: The other model's embeddings by the identity of the own ones, which are held so that they stay the same.
        self._embeddings: OrderedDict[int, tuple[Embedding, Embedding]] = OrderedDict()

    def checking(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], answers: Sequence[MaskSet]
    ) -> Stages[list[MaskSet]]:
        """Return the answers, those to boxes that come alone as the surer model gives them.

        Args:
            embedding: of the own model.
            prompts: all of a call.
            answers: the own model's, one a prompt.
        """
        checked = list(answers)
        boxes = [i for i, prompt in enumerate(prompts) if _is_box_alone(prompt)]
        if not boxes:
            return checked
        # Within a job: the models' own thread makes the other model, once.
        other: PromptableSegmenter
        theirs: Embedding
        other, theirs = yield CallJob(partial(self._embedded, embedding), "decode", 0)
        checks = yield from other.decoding(theirs, [prompts[i] for i in boxes])
        for i, check in zip(boxes, checks, strict=True):
            if _is_surer(checked[i], check):
                checked[i] = check
        return checked

    def _other(self) -> PromptableSegmenter:
        """Return the other model; it is made at the first call.

        Raises:
            ValueError: the canvas is not what it sees.
        """
        if self._made is None:
            other = self._make()
            sees_canvas = type(other) is type(self._own) and other.network.input_size == CANVAS_SIZE
            if not sees_canvas or self._own.network.refinement_head is None:
                raise ValueError(
                    "boxes can be checked by a model of the same family that sees the refinement head's canvas"
                )
            self._made = other
        return self._made

    def _embedded(self, embedding: Embedding) -> tuple[PromptableSegmenter, Embedding]:
        """Return the other model and its embedding of the same window; the last ones are kept: people go to and fro."""
        other = self._other()
        kept = self._embeddings.get(id(embedding))
        if kept is None:
            frame, device = self._own.frame(embedding.window_size), self._own.execution.device
            height, width = frame.content_size
            with out_of_memory_mapped(device), torch.inference_mode():
                content = embedding.tensors[CANVAS_RGB][..., :height, :width].to(device).float()
                made = other.encode_image(frame.fill_up(other.normalise(content)))
            kept = self._embeddings[id(embedding)] = embedding, Embedding(made, embedding.window_size)
            while len(self._embeddings) > BOX_EMBEDDINGS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(id(embedding))
        return other, kept[1]


def _is_surer(own: MaskSet, check: MaskSet) -> bool:
    """Return whether the answer of the model that checks is to be taken."""
    agreement = intersection_over_union(own.masks[0], check.masks[0])
    return bool(agreement < BOX_AGREEMENT and check.scores[0] > own.scores[0] + SURER)


def _is_box_alone(prompt: WindowPrompts) -> bool:
    return prompt.box is not None and prompt.logits is None and not len(prompt.points)
