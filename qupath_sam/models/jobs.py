"""Work for the device as values. Jobs of one kind, for one model, may share a call of it: a batch.

A segmenter's answer to prompts takes turns between device and host: mask decoder, choice of the head's region, head,
rules of clicks. `Staged` segmenters are generators of that: they yield a job, are sent its answer, and do on the
caller's thread what needs no device. `alone` runs such a generator where it is called.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qupath_sam.models.base import Embedding, MaskSet, Segmenter, WindowPrompts

if TYPE_CHECKING:
    from qupath_sam.models.adapters.drafts import HeadInput, HeadOutput

T = TypeVar("T")
Kind = Literal["encode", "decode", "refine", "other"]


class Interrupted(Exception):
    """A job stopped before its end, because `Job.interrupt` was called. It never leaves the inference worker."""


class Job(abc.ABC, Generic[T]):
    """What a model is to do in one call."""

    #: What the job does, for counts.
    kind: ClassVar[Kind] = "other"

    @property
    def items(self) -> int:
        """Windows or objects that the job is about."""
        return 1

    @property
    def most_items(self) -> int:
        """Items up to which a call with other jobs gains; 1 where it never does."""
        return 1

    @property
    def key(self) -> Hashable:
        """Jobs of one key can share a call; None for those that share none."""
        return None

    @abc.abstractmethod
    def run_with(self, others: Sequence[Any]) -> list[T]:
        """Return the answers of this job and of ``others``, which have its key."""

    def halves(self) -> tuple[Job[T], Job[T]] | None:
        """Return two jobs that do the same in less memory; their answers are sequences. None where there are none."""
        return None

    def interrupt(self) -> None:
        """Stop the job, which runs on another thread, where it can stop: it raises `Interrupted` and may run again."""
        return

    def forget_interrupt(self) -> None:
        """Take back an `interrupt` that came too late for this job: it stops no other one."""
        return

    def __call__(self) -> T:
        """Return the answer of this job alone."""
        return self.run_with(())[0]


@dataclass(frozen=True, slots=True, eq=False)
class CallJob(Job[T]):
    """Any other call of a model; it shares with no other.

    Attributes:
        call: takes nothing.
        does: what it counts as.
        count: objects or windows that it is about.
    """

    call: Callable[[], T]
    does: Kind = "other"
    count: int = 1

    @property
    def kind(self) -> Kind:  # type: ignore[override]
        """What the call counts as."""
        return self.does

    @property
    def items(self) -> int:
        """Windows or objects that the call is about."""
        return self.count

    def run_with(self, others: Sequence[Any]) -> list[T]:
        """Return the answers, one after the other."""
        return [self.call(), *(other.call() for other in others)]


@runtime_checkable
class EncodesTogether(Protocol):
    """A model that encodes several windows in one call."""

    @property
    def windows_per_batch(self) -> int:
        """Windows up to which one call gains."""
        ...

    def embed_together(self, windows: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Encode windows; each as `Segmenter.embed` would."""
        ...


@runtime_checkable
class StopsEncoding(Protocol):
    """A model whose encode stops half-way."""

    def stop_encoding(self) -> None:
        """Let the encode that runs on another thread, or else the next one, raise `Interrupted`."""
        ...

    def forget_stop(self) -> None:
        """Take back a `stop_encoding` that no encode has stopped for."""
        ...


class DraftsTogether(Protocol):
    """A model whose mask decoder answers prompts of several windows in one call."""

    @property
    def prompts_per_batch(self) -> int:
        """Prompts up to which one call gains."""
        ...

    def draft_together(self, jobs: Sequence[DecodeJob]) -> list[list[Any]]:
        """Answer each job: for each of its prompts what the model goes on from."""
        ...


class RefinesTogether(Protocol):
    """A model whose refinement head corrects masks of several windows in one call."""

    @property
    def prompts_per_batch(self) -> int:
        """Masks up to which one call gains."""
        ...

    def refine_together(self, jobs: Sequence[RefineJob]) -> list[list[HeadOutput]]:
        """Correct the masks of each job."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class EncodeJob(Job[Embedding]):
    """Encode a window.

    Attributes:
        model: that encodes.
        pixels: uint8 ``(H, W, 3)`` RGB.
    """

    kind = "encode"
    model: Segmenter
    pixels: NDArray[np.uint8]

    @property
    def most_items(self) -> int:
        """Windows up to which one call gains."""
        return self.model.windows_per_batch if isinstance(self.model, EncodesTogether) else 1

    @property
    def key(self) -> Hashable:
        """The model."""
        return "encode", id(self.model)

    def run_with(self, others: Sequence[EncodeJob]) -> list[Embedding]:
        """Encode all windows."""
        windows = [self.pixels, *(other.pixels for other in others)]
        if isinstance(self.model, EncodesTogether):
            return self.model.embed_together(windows)
        return [self.model.embed(pixels) for pixels in windows]

    def interrupt(self) -> None:
        """Stop the encode; see `Job.interrupt`."""
        if isinstance(self.model, StopsEncoding):
            self.model.stop_encoding()

    def forget_interrupt(self) -> None:
        """See `Job.forget_interrupt`."""
        if isinstance(self.model, StopsEncoding):
            self.model.forget_stop()


@dataclass(frozen=True, slots=True, eq=False)
class DecodeJob(Job[list[Any]]):
    """Run the mask decoder for objects of one window.

    Attributes:
        model: whose decoder runs.
        embedding: of the window.
        prompts: of the objects; their logits are the masks so far.
        several_masks: see `Segmenter.decode`.
    """

    kind = "decode"
    model: DraftsTogether
    embedding: Embedding
    prompts: tuple[WindowPrompts, ...]
    several_masks: bool = False

    @property
    def items(self) -> int:
        """Objects."""
        return len(self.prompts)

    @property
    def most_items(self) -> int:
        """Objects up to which one call gains."""
        return self.model.prompts_per_batch

    @property
    def key(self) -> Hashable:
        """The model, and how many masks it answers."""
        return "decode", id(self.model), self.several_masks

    def run_with(self, others: Sequence[DecodeJob]) -> list[list[Any]]:
        """Draft all jobs."""
        return self.model.draft_together([self, *others])

    def halves(self) -> tuple[DecodeJob, DecodeJob] | None:
        """Return the job with the first half of the objects, and the one with the others."""
        middle = len(self.prompts) // 2
        if not middle:
            return None
        return replace(self, prompts=self.prompts[:middle]), replace(self, prompts=self.prompts[middle:])


@dataclass(frozen=True, slots=True, eq=False)
class RefineJob(Job["list[HeadOutput]"]):
    """Run the refinement head on masks of one window.

    Attributes:
        model: whose head runs.
        embedding: of the window.
        inputs: one a mask.
    """

    kind = "refine"
    model: RefinesTogether
    embedding: Embedding
    inputs: tuple[HeadInput, ...]

    @property
    def items(self) -> int:
        """Masks."""
        return len(self.inputs)

    @property
    def most_items(self) -> int:
        """Masks up to which one call gains."""
        return self.model.prompts_per_batch

    @property
    def key(self) -> Hashable:
        """The model."""
        return "refine", id(self.model)

    def run_with(self, others: Sequence[RefineJob]) -> list[list[HeadOutput]]:
        """Refine all jobs."""
        return self.model.refine_together([self, *others])

    def halves(self) -> tuple[RefineJob, RefineJob] | None:
        """Return the job with the first half of the masks, and the one with the others."""
        middle = len(self.inputs) // 2
        if not middle:
            return None
        return replace(self, inputs=self.inputs[:middle]), replace(self, inputs=self.inputs[middle:])


#: Yields jobs, is sent their answers, and returns a result.
Stages = Generator[Job[Any], Any, T]


@runtime_checkable
class Staged(Protocol):
    """A segmenter that says which of its work needs the device."""

    def decoding(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> Stages[list[MaskSet]]:
        """See `Segmenter.decode`."""
        ...


def decoding_of(
    segmenter: Segmenter, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
) -> Stages[list[MaskSet]]:
    """Return the stages of `Segmenter.decode`: the segmenter's own, or one call of it."""
    if isinstance(segmenter, Staged):
        return (yield from segmenter.decoding(embedding, prompts, several_masks=several_masks))

    def decode() -> list[MaskSet]:
        return segmenter.decode(embedding, prompts, several_masks=several_masks)

    answers: list[MaskSet] = yield CallJob(decode, "decode", len(prompts))
    return answers


def alone(stages: Stages[T]) -> T:
    """Run all jobs in this thread, one at a time; return the result. A job's error ends the stages."""
    answer: Any = None
    with closing(stages):
        try:
            while True:
                answer = stages.send(answer)()
        except StopIteration as done:
            result: T = done.value
            return result
