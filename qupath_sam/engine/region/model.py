"""The model as the tiles of a region use it: behind everybody who waits, and patient where the queue is full."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qupath_sam.engine.call import OBJECTS_PER_BATCH, OBJECTS_PER_TURN, OBJECTS_WHILE_OTHERS_WAIT, Call
from qupath_sam.engine.cancellation import check_wanted, pause
from qupath_sam.engine.embeddings.key import embedding_key
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.region.mirroring import mirrored
from qupath_sam.engine.running_jobs import RunningJobs
from qupath_sam.engine.urgency import Priority
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.errors import ServerBusy
from qupath_sam.models.base import Embedding, MaskSet, WindowPrompts
from qupath_sam.models.jobs import CallJob, EncodeJob, decoding_of
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Window

T = TypeVar("T")

#: Seconds to wait after each time that the queue had no place; then the run ends, and its token goes on.
BUSY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class RegionModel:
    """Encodes and decodes tiles on the inference thread.

    Args:
        worker: the thread.
        embeddings: asked for what is there; nothing is put in, so that a region pushes nobody's windows out.
        loaded: the model.
        slide: where pixels come from.
        call: who calls, how patient they are; the priority is `Priority.BATCH` whatever it says.
        mirrors: tiles show the image mirrored beyond its edges, and not white.
    """

    def __init__(
        self,
        *,
        worker: InferenceWorker,
        embeddings: EmbeddingStore,
        loaded: LoadedModel,
        slide: SlideReader,
        call: Call,
        mirrors: bool = False,
    ) -> None:
        self._worker = worker
        self._embeddings = embeddings
        self._loaded = loaded
        self._slide = slide
        self._call = call
        self._mirrors = mirrors
        self._jobs = RunningJobs(call, Priority.BATCH)
        self.timings = self._jobs.timings

    def check_wanted(self) -> None:
        """Raise `Cancelled` or `DeadlineExceeded` where nobody waits any more."""
        check_wanted(self._call.cancel, self._call.deadline)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return the pixels of a window, uint8 ``(S, S, 3)`` RGB; beyond the image white, or `mirrored`."""
        self.check_wanted()
        started = time.perf_counter()
        pixels = self._slide.read(window)
        if self._mirrors:
            pixels = mirrored(pixels, window, self._slide.info.extent)
        self.timings.read += _ms(started)
        return pixels

    def embedding(self, window: Window) -> Embedding:
        """Return the embedding of a window, held or made now."""
        if self._mirrors and not self._slide.info.extent.encloses(window.region):
            # What is held of such a window was made with white around the image.
            return self._encode(window)
        loaded = self._loaded
        version = loaded.segmenter.preprocessing_version
        key = embedding_key(self._slide.info.fingerprint, window, loaded.spec.name, loaded.weights_sha256, version)
        if self._embeddings.contains(key):
            made = partial(self._encode, window)
            return self._embeddings.get_or_compute(key, made, cancel=self._call.cancel, deadline=self._call.deadline)[0]
        return self._encode(window)

    def decode(
        self, embedding: Embedding, prompts: Sequence[WindowPrompts], *, several_masks: bool = False
    ) -> list[MaskSet]:
        """Return the masks of independent prompts, a few in one turn of the inference thread."""
        answers: list[MaskSet] = []
        segmenter = self._loaded.segmenter
        while len(answers) < len(prompts):
            some = prompts[len(answers) : len(answers) + self._turn()]

            def decode(some: Sequence[WindowPrompts] = some) -> list[MaskSet]:
                stages = decoding_of(segmenter, embedding, some, several_masks=several_masks)
                return self._jobs.run_stages([(self._worker, stages)])[0]

            answers.extend(self._patiently(decode))
        return answers

    def run(self, job: Callable[[], T]) -> T:
        """Return what ``job`` returns, run on the thread that calls the models."""
        return self._patiently(lambda: self._jobs.run(self._worker, CallJob(job)))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; it is tried again while the queue has no place."""
        for pause_s in BUSY_PAUSES_S:
            try:
                self.check_wanted()
                return work()
            except ServerBusy:
                pause(pause_s, self._call.cancel, self._call.deadline)
        self.check_wanted()
        return work()

    def _encode(self, window: Window) -> Embedding:
        job = EncodeJob(self._loaded.segmenter, self.read(window))
        return self._patiently(lambda: self._jobs.run(self._worker, job))

    def _turn(self) -> int:
        if self._worker.others_wait(self._call.client):
            return OBJECTS_WHILE_OTHERS_WAIT
        return OBJECTS_PER_TURN if self._loaded.device.startswith("cpu") else OBJECTS_PER_BATCH


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
