"""Two mask decoders on one embedding: both answer a first click, and the one whose score is higher goes on.

A decoder tuned on one kind of object forgets another, and the score of each says when it is lost. Their encoder is the
same, so a second decoder costs a first click some ten milliseconds and later clicks nothing
(docs/science/experiments.md, "Two decoders").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qupath_sam.models.adapters.drafts import Draft
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.base import Capabilities, Embedding, MaskSet, WindowPrompts
from qupath_sam.models.jobs import Stages, alone


class TwoDecoderSegmenter:
    """A `Segmenter` of two that have one encoder.

    A click without a mask before it gets one mask from each, the one with the higher score first; of a stroke's answer,
    the score is the model's own times the share of the stroke that it holds by itself. Each other prompt
    goes to the decoder that `WindowPrompts.decoder` names, 0 ``first`` or 1 ``second``; where it names none, a box goes
    to the first and an outline to the second.

    Args:
        first: makes the embeddings.
        second: takes over the encoder of ``first``; its own weights must be the same.
    """

    def __init__(self, first: PromptableSegmenter, second: PromptableSegmenter) -> None:
        second.network.image_encoder = first.network.image_encoder
        second.decodes_for_another = True
        # Some of its answers to outlines go astray; for others the rule is of no use (docs/science/experiments.md).
        second.click_rules = replace(second.click_rules, outlines=True)
        self.first = first
        self.second = second

    @property
    def capabilities(self) -> Capabilities:
        """Those of the first, and a mask from each decoder."""
        return replace(self.first.capabilities, mask_count=2)

    @property
    def preprocessing_version(self) -> str:
        """See `PromptableSegmenter.preprocessing_version`: the embeddings are those of the first alone."""
        return self.first.preprocessing_version

    def embed(self, pixels: NDArray[np.uint8]) -> Embedding:
        """Encode a window; see `Segmenter.embed`."""
        return self.first.embed(pixels)

    def blank_embedding(self) -> Embedding | None:
        """See `HasReadyEncoder`."""
        return self.first.blank_embedding()

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Decode the masks of several objects; see `Segmenter.decode`.

        With ``several_masks``, both decoders answer clicks.
        """
        return alone(self.decoding(embedding, prompts, several_masks=several_masks))

    def decoding(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> Stages[list[MaskSet]]:
        """Return the stages of `decode`; see `Staged`."""
        both = [i for i, prompt in enumerate(prompts) if several_masks and _is_first_click(prompt)]
        answers = dict(zip(both, (yield from self._by_both(embedding, [prompts[i] for i in both])), strict=True))
        for number, decoder in enumerate((self.first, self.second)):
            own = [i for i, prompt in enumerate(prompts) if i not in answers and _decoder_for(prompt) == number]
            for i, answer in zip(own, (yield from decoder.decoding(embedding, [prompts[i] for i in own])), strict=True):
                answers[i] = replace(answer, decoders=(number,) * len(answer.masks))
        return [answers[i] for i in range(len(prompts))]

    @property
    def windows_per_batch(self) -> int:
        """Windows up to which one call of the encoder gains."""
        return self.first.windows_per_batch

    def embed_together(self, windows: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Encode windows in one call; see `EncodesTogether`."""
        return self.first.embed_together(windows)

    def stop_encoding(self) -> None:
        """Stop the encode that runs; see `StopsEncoding`."""
        self.first.stop_encoding()

    def forget_stop(self) -> None:
        """Take back a `stop_encoding`; see `StopsEncoding`."""
        self.first.forget_stop()

    def bare_decoder(self, embedding: Embedding, prompt: WindowPrompts) -> Callable[[], object]:
        """See `PromptableSegmenter.bare_decoder`, of the decoder that the prompt names."""
        return (self.first, self.second)[_decoder_for(prompt)].bare_decoder(embedding, prompt)

    def _by_both(self, embedding: Embedding, prompts: Sequence[WindowPrompts]) -> Stages[list[MaskSet]]:
        decoders = self.first, self.second
        drafts: list[list[Draft]] = []
        for decoder in decoders:
            made = yield from decoder.drafting(embedding, prompts, several_masks=True)
            best = [draft.only_best() for draft in made]
            shares = [decoder.covered(embedding, *each) for each in zip(prompts, best, strict=True)]
            drafts.append(
                [replace(draft, scores=draft.scores * share) for draft, share in zip(best, shares, strict=True)]
            )
        scores = np.array([[draft.scores[0] for draft in by] for by in drafts]).reshape(2, -1)
        answers: list[list[MaskSet]] = [[] for _ in prompts]
        for number, decoder in enumerate(decoders):
            # A head costs as much as a decoder, so it refines what is shown first, or all where all are shown.
            wins = scores[number] > scores[1 - number] if number else scores[0] >= scores[1]
            refined = [bool(won) or prompt.refine_all for won, prompt in zip(wins, prompts, strict=True)]
            for refines in (True, False):
                some = [i for i, each in enumerate(refined) if each is refines]
                own = [drafts[number][i] for i in some]
                found = yield from decoder.finishing(embedding, [prompts[i] for i in some], own, refines=refines)
                for i, answer in zip(some, found, strict=True):
                    answers[i].append(replace(answer, decoders=(number,)))
        return [_together(*each) for each in answers]


def _decoder_for(prompt: WindowPrompts) -> int:
    """Return the decoder of a prompt that one answers.

    The score of an outline's answer does not say whose is better.
    """
    if prompt.decoder is not None:
        return prompt.decoder
    return 0 if prompt.logits is None else 1


def _is_first_click(prompt: WindowPrompts) -> bool:
    return prompt.decoder is None and prompt.box is None and prompt.logits is None and len(prompt.points) > 0


def _together(one: MaskSet, other: MaskSet) -> MaskSet:
    """Return both answers, that with the higher score first."""
    ordered = (one, other) if one.scores[0] >= other.scores[0] else (other, one)
    return MaskSet(
        masks=np.concatenate([each.masks for each in ordered]),
        scores=np.concatenate([each.scores for each in ordered]),
        logits=np.concatenate([each.logits for each in ordered]),
        decoders=tuple(number for each in ordered for number in each.decoders),
    )
