"""From prompts to outlines: the one file that knows the whole chain. No gRPC, no command line.

An `Engine` owns the parts that live long: models, the thread that calls them, embeddings, states. A call brings a
slide and prompts and takes values away; nothing of a call stays behind but cache entries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from qupath_sam import __version__
from qupath_sam.engine.call import Fold
from qupath_sam.engine.cancellation import check_wanted
from qupath_sam.engine.embeddings.key import embedding_key
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.outlines import outlines_of
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.prefetch import Prefetcher
from qupath_sam.engine.states import FoldContext, StateStore
from qupath_sam.engine.steps import DecodeRequest, touches_edge
from qupath_sam.engine.windows import Ladder, WindowRequest
from qupath_sam.engine.worker import CancelToken, InferenceWorker, Priority, Urgency
from qupath_sam.errors import InvalidPrompt, RequestTooLarge, UnsupportedPrompt
from qupath_sam.models.base import Embedding, WindowPrompts
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.types.regions import Window
from qupath_sam.types.results import (
    EmbeddingSource,
    ObjectRequest,
    ObjectResult,
    OutputOptions,
    Prediction,
    Provenance,
    Timings,
    WindowStatus,
)

T = TypeVar("T")

#: Objects that one turn of the inference thread decodes on a CPU, where it loops over them: others wait no longer.
OBJECTS_PER_TURN = 8
#: The same where the model decodes them as one batch.
OBJECTS_PER_BATCH = 32


@dataclass(frozen=True, slots=True)
class Call:
    """The caller's patience: a token that cancels, and a deadline on `time.monotonic`'s clock."""

    cancel: CancelToken = field(default_factory=CancelToken)
    deadline: float | None = None


class Engine:
    """Segments objects of slides. Safe to call from many threads; one thread inside calls the models.

    Args:
        models: loads models by name.
        worker: the thread that calls them.
        embeddings: cache of what the encoders made.
        states: cache of what the next clicks continue from.
        max_objects: most objects of one call.
        max_points: most points in the clicks of one object.
    """

    def __init__(
        self,
        *,
        models: ModelPool,
        worker: InferenceWorker,
        embeddings: EmbeddingStore,
        states: StateStore,
        max_objects: int = 1024,
        max_points: int = 1024,
    ) -> None:
        self.models = models
        self.worker = worker
        self.embeddings = embeddings
        self.states = states
        self.max_objects = max_objects
        self.max_points = max_points
        self._prefetcher = Prefetcher()

    def close(self) -> None:
        """Stop prefetching and the inference thread. Calls under way end with `Cancelled`."""
        self._prefetcher.close()
        self.worker.close()

    def warm_up(self) -> None:
        """Load the default model and run it once, so that no click pays for what libraries prepare at first use.

        Raises:
            ModelError, OutOfMemory: the model cannot be loaded or run.
        """
        segmenter = self.models.get().segmenter
        size = segmenter.capabilities.input_size
        middle = WindowPrompts(np.full((1, 2), size / 2, np.float32), np.ones(1, np.int64), last_click=1)

        def once() -> None:
            segmenter.decode(segmenter.embed(np.zeros((size, size, 3), np.uint8)), [middle])

        self.worker.run(once)

    def predict(
        self,
        slide: SlideReader,
        objects: Sequence[ObjectRequest],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        call: Call | None = None,
    ) -> Prediction:
        """Segment independent objects of one image.

        Args:
            slide: where pixels come from.
            objects: at least one; prompts in level-0 px.
            model: name; the pool's default where empty.
            window: which pixels to use; the engine chooses where None.
            output: what to do to the masks.
            call: the caller's patience.

        Raises:
            InvalidPrompt, InvalidRegion, RequestTooLarge: the request is wrong.
            SlideUnreadable: the pixels cannot be read.
            ModelError: the model cannot be had, or not take these prompts.
            OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy: the work could not be done.
        """
        started = time.perf_counter()
        window, output, call = window or WindowRequest(), output or OutputOptions(), call or Call()
        self._check(slide.info, objects)
        loaded = self.models.get(model)
        run = _Run(self, slide, loaded, window, output, call)
        results = run.predict(objects)
        run.timings.total = _ms(started)
        return Prediction(tuple(results), run.provenance(), run.timings)

    def embed(
        self,
        slide: SlideReader,
        windows: Sequence[Window],
        *,
        model: str = "",
        call: Call | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> tuple[list[WindowStatus], Timings]:
        """Encode windows that are not yet at hand, in order.

        Raises: as `predict`.
        """
        started = time.perf_counter()
        loaded = self.models.get(model)
        run = _Run(self, slide, loaded, WindowRequest(), OutputOptions(), call or Call(), priority)
        statuses = []
        for window in windows:
            _, source = run.embedding(window)
            statuses.append(WindowStatus(window, ready=True, source=source))
        run.timings.total = _ms(started)
        return statuses, run.timings

    def embedded(self, slide: SlideReader, windows: Sequence[Window], *, model: str = "") -> list[WindowStatus]:
        """Say which windows are at hand, without encoding."""
        loaded = self.models.get(model)
        run = _Run(self, slide, loaded, WindowRequest(), OutputOptions(), Call())
        return [WindowStatus(w, ready=self.embeddings.contains(run.key(w)), source=None) for w in windows]

    def prefetch(self, encode: Callable[[Call], None], *, owner: str) -> None:
        """Run ``encode`` in the background. A newer call of the same owner cancels the older one.

        Args:
            encode: calls `embed` with the call it is given and `Priority.BACKGROUND`.
            owner: names who asked, and for which image.
        """
        self._prefetcher.start(lambda token: encode(Call(cancel=token)), owner=owner)

    def ladder(self, info: SlideInfo, *, model: str = "") -> Ladder:
        """The scales at which a model may look at a slide."""
        return _ladder(info, self.models.get(model))

    def check_amount(self, points: Sequence[int]) -> None:
        """Refuse a call of more than is allowed, before anything is done about it.

        Args:
            points: how many each object has in its clicks.

        Raises:
            InvalidPrompt: no object at all.
            RequestTooLarge: more objects than `max_objects`, or more points of one than `max_points`.
        """
        if not points:
            raise InvalidPrompt("a call needs at least one object; add its clicks, box or outline")
        if len(points) > self.max_objects:
            raise RequestTooLarge(f"{len(points)} objects in one call; send at most {self.max_objects}")
        if max(points) > self.max_points:
            raise RequestTooLarge(
                f"an object with {max(points)} points; send at most {self.max_points}, a scribble needs few"
            )

    def _check(self, info: SlideInfo, objects: Sequence[ObjectRequest]) -> None:
        self.check_amount([sum(len(click.points) for click in item.prompts.clicks) for item in objects])
        for index, item in enumerate(objects):
            try:
                item.prompts.check_inside(info.extent)
            except InvalidPrompt as error:
                name = item.object_id or str(index)
                raise InvalidPrompt(f"object {name}: {error}") from error


class _Run:
    """One call: what its steps need in common."""

    def __init__(
        self,
        engine: Engine,
        slide: SlideReader,
        loaded: LoadedModel,
        window: WindowRequest,
        output: OutputOptions,
        call: Call,
        priority: Priority = Priority.INTERACTIVE,
    ) -> None:
        self._engine = engine
        self._slide = slide
        self._loaded = loaded
        self._output = output
        self._mpp = slide.info.mpp
        self._call = call
        self._priority = priority
        self._ladder = _ladder(slide.info, loaded)
        self._sources: dict[Window, EmbeddingSource] = {}
        self.timings = Timings()
        self._context = FoldContext(
            image=slide.info.fingerprint,
            model=(loaded.spec.name, loaded.weights_sha256, loaded.segmenter.preprocessing_version),
            mpp=slide.info.mpp,
            request=window,
            choice=output.choice,
        )

    def predict(self, objects: Sequence[ObjectRequest]) -> list[ObjectResult]:
        """Run the folds a few at a time: objects that look at one window are decoded in one call.

        A few, because each holds masks and logits of its window until its outline is traced.
        """
        folds = [Fold(self._engine.states, self._context, item, self._ladder) for item in objects]
        results: dict[Fold, ObjectResult] = {}
        turn = OBJECTS_PER_TURN if self._loaded.device.startswith("cpu") else OBJECTS_PER_BATCH
        neighbours = sorted(folds, key=Fold.place)
        for start in range(0, len(neighbours), turn):
            some = neighbours[start : start + turn]
            self._fold_together(some)
            for fold in some:
                check_wanted(self._call.cancel, self._call.deadline)
                results[fold] = self._result(fold)
                fold.forget()
        return [results[fold] for fold in folds]

    def _fold_together(self, folds: Sequence[Fold]) -> None:
        """Take the folds to their ends in lock-step."""
        while True:
            groups: dict[tuple[Window, bool], list[tuple[Fold, WindowPrompts]]] = {}
            for fold in folds:
                if (wanted := fold.wanted) is not None:
                    group = groups.setdefault((wanted.window, wanted.several_masks), [])
                    group.append((fold, self._fitting(wanted)))
            if not groups:
                return
            for (window, several), group in groups.items():
                self._decode(window, group, several_masks=several)

    def _decode(self, window: Window, group: Sequence[tuple[Fold, WindowPrompts]], *, several_masks: bool) -> None:
        embedding, self._sources[window] = self.embedding(window)
        prompts = [prompts for _, prompts in group]
        decode = partial(self._loaded.segmenter.decode, embedding, prompts, several_masks=several_masks)
        answers = self._on_worker(decode, "decode", Urgency(self._priority))
        for (fold, _), answer in zip(group, answers, strict=True):
            fold.send(answer)

    def _fitting(self, wanted: DecodeRequest) -> WindowPrompts:
        """Prompts without what the model cannot take; refused where nothing would be left of what was meant."""
        can = self._loaded.segmenter.capabilities
        prompts = wanted.prompts
        if len(prompts.points) and not can.points:
            raise UnsupportedPrompt(f"model {self._loaded.spec.name!r} takes no clicks; give it a box")
        if prompts.logits is not None and not can.mask_prompt:
            prompts = replace(prompts, logits=None)
        if prompts.box is not None and not can.boxes:
            prompts = replace(prompts, box=None)
        if prompts.box is None and prompts.logits is None and not len(prompts.points):
            raise UnsupportedPrompt(f"model {self._loaded.spec.name!r} cannot take these prompts; give it a click")
        return prompts

    def embedding(self, window: Window) -> tuple[Embedding, EmbeddingSource]:
        """The window's embedding, from the cache or made now."""
        urgency = Urgency(self._priority)
        return self._engine.embeddings.get_or_compute(
            self.key(window),
            lambda: self._encode(window, urgency),
            cancel=self._call.cancel,
            deadline=self._call.deadline,
            urgency=urgency,
        )

    def key(self, window: Window) -> str:
        """The cache key of a window's embedding."""
        loaded = self._loaded
        return embedding_key(
            self._slide.info.fingerprint,
            window,
            loaded.spec.name,
            loaded.weights_sha256,
            loaded.segmenter.preprocessing_version,
        )

    def _encode(self, window: Window, urgency: Urgency) -> Embedding:
        check_wanted(self._call.cancel, self._call.deadline)
        started = time.perf_counter()
        pixels = self._slide.read(window)
        self.timings.read += _ms(started)
        return self._on_worker(lambda: self._loaded.segmenter.embed(pixels), "encode", urgency)

    def _on_worker(self, job: Callable[[], T], kind: Literal["encode", "decode"], urgency: Urgency) -> T:
        submitted = time.perf_counter()
        began = submitted

        def timed() -> T:
            nonlocal began
            began = time.perf_counter()
            return job()

        answer = self._engine.worker.run(
            timed, priority=urgency, cancel=self._call.cancel, deadline=self._call.deadline
        )
        self.timings.queue += (began - submitted) * 1e3
        setattr(self.timings, kind, getattr(self.timings, kind) + _ms(began))
        return answer

    def _result(self, fold: Fold) -> ObjectResult:
        started = time.perf_counter()
        state = fold.state
        outlines = outlines_of(state, fold.request.prompts, self._output, extent=self._ladder.extent, mpp=self._mpp)
        self.timings.trace += _ms(started)
        return ObjectResult(
            object_id=fold.request.object_id,
            outlines=outlines,
            window=state.window,
            touches_window_edge=touches_edge(state.mask, state.window, self._ladder.extent),
            token=fold.token,
            resumed_steps=fold.resumed.steps,
            embedding_source=self._sources.get(state.window),
        )

    def provenance(self) -> Provenance:
        """What made this call's results."""
        info = self._slide.info
        return Provenance(
            model=self._loaded.spec.name,
            weights_sha256=self._loaded.weights_sha256,
            preprocessing_version=self._loaded.segmenter.preprocessing_version,
            server_version=__version__,
            image_fingerprint=info.fingerprint,
            pixel_source=info.reader,
            device=self._loaded.device,
            mpp=self._mpp,
            remarks=info.all_remarks,
        )


def _ladder(info: SlideInfo, loaded: LoadedModel) -> Ladder:
    return Ladder.of(
        extent=info.extent,
        mpp=info.mpp,
        input_size=loaded.segmenter.capabilities.input_size,
        default_mpp=loaded.spec.default_mpp,
        finest_downsample=info.finest_downsample,
    )


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
