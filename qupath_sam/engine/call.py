"""One call under way: its objects are taken from step to step together, and their masks become outlines.

Nothing of a call stays behind but cache entries.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from qupath_sam import __version__
from qupath_sam.engine.cancellation import CancelToken, check_wanted
from qupath_sam.engine.doubts import doubts_of
from qupath_sam.engine.embedded_windows import EmbeddedWindows
from qupath_sam.engine.embeddings.key import embedding_key
from qupath_sam.engine.outlines import outlines_of
from qupath_sam.engine.read_ahead import ReadAhead
from qupath_sam.engine.running_jobs import RunningJobs
from qupath_sam.engine.states import Resumed, StateStore, StepsContext, tokens
from qupath_sam.engine.step import DecodeRequest, State, Step, steps_of
from qupath_sam.engine.step_bounds import touches_edge
from qupath_sam.engine.steps import run_step
from qupath_sam.engine.urgency import Priority, Urgency
from qupath_sam.engine.windows import Scales
from qupath_sam.errors import UnsupportedPrompt
from qupath_sam.models.base import Embedding, MaskSet, WindowPrompts
from qupath_sam.models.jobs import CallJob, EncodeJob, decoding_of
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.slides.tissue import TissueEstimate
from qupath_sam.types.regions import Window
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import EmbeddingSource, ObjectResult, Provenance, Timings

if TYPE_CHECKING:
    from qupath_sam.engine.engine import Engine
    from qupath_sam.engine.lanes import Lane

T = TypeVar("T")

#: Objects that one turn of the inference thread decodes on a CPU, where it loops over them: others wait no longer.
OBJECTS_PER_TURN = 8
#: The same where the model decodes them as one batch.
OBJECTS_PER_BATCH = 32
#: The same while another client waits: a click comes between two turns.
OBJECTS_WHILE_OTHERS_WAIT = 2


@dataclass(frozen=True, slots=True)
class Call:
    """The caller: name, priority, deadline and a token that cancels.

    Attributes:
        cancel: ends the call.
        deadline: on `time.monotonic`'s clock.
        client: name of the caller; clients take turns, and what is held for a client counts for it.
        priority: of a predict. No state is held of `Priority.BATCH`: no click follows.
        notice: is given a sentence for a person when the answer takes longer than usual.
    """

    cancel: CancelToken = field(default_factory=CancelToken)
    deadline: float | None = None
    client: str = ""
    priority: Priority = Priority.INTERACTIVE
    notice: Callable[[str], None] = lambda _: None


class RunningCall:
    """One call: what its steps need in common."""

    def __init__(
        self,
        engine: Engine,
        slide: SlideReader,
        loaded: LoadedModel,
        window: WindowRequest,
        output: OutputOptions,
        call: Call,
        priority: Priority | None = None,
        *,
        timings: Timings | None = None,
    ) -> None:
        self._engine = engine
        self._slide = slide
        self._loaded = loaded
        self._output = output
        self._mpp = slide.info.mpp
        self._call = call
        self._priority = call.priority if priority is None else priority
        if self._priority is Priority.BATCH:
            # Its answers depend on the request alone, and on no state of a call that prefers.
            window = replace(window, prefer_embedded=False)
        self.scales = scales_of(slide.info, loaded)
        self._sources: dict[Window, EmbeddingSource] = {}
        self._jobs = RunningJobs(call, self._priority, timings)
        self.timings = self._jobs.timings
        self._devices: set[str] = set()
        self._context = StepsContext(
            image=slide.info.fingerprint,
            model=(loaded.spec.name, loaded.weights_sha256, loaded.segmenter.preprocessing_version),
            mpp=slide.info.mpp,
            request=window,
            choice=output.choice,
            keep_parts=output.keep_parts,
        )

    def predict(self, objects: Sequence[ObjectRequest]) -> list[ObjectResult]:
        """Take the steps of a few objects at a time: those that look at one window are decoded in one call.

        A few, because each holds masks and logits of its window until its outline is traced.
        """
        owner = None if self._priority is Priority.BATCH else self._call.client
        states, context = self._engine.states, self._context
        embedded = self._preferred()
        running = [
            RunningObject(states, context, item, self.scales, owner=owner, embedded=embedded) for item in objects
        ]
        results: dict[RunningObject, ObjectResult] = {}
        neighbours = deque(sorted(running, key=RunningObject.place))
        while neighbours:
            some = [neighbours.popleft() for _ in range(min(self._turn(), len(neighbours)))]
            self._step_together(some)
            for item in some:
                check_wanted(self._call.cancel, self._call.deadline)
                results[item] = self._result(item)
                item.forget()
        return [results[item] for item in running]

    def _preferred(self) -> EmbeddedWindows | None:
        """Return the windows to be preferred."""
        if not self._context.request.prefer_embedded:
            return None
        return EmbeddedWindows(self.scales, self.is_embedded)

    def is_embedded(self, window: Window) -> bool:
        """Return whether a window's embedding is at hand."""
        return self._engine.lanes.has_embedding(self._slide.info.fingerprint, window, self.key(window))

    def _turn(self) -> int:
        """Return how many objects the inference thread takes at once now."""
        if self._engine.lanes.others_wait(self._call.client):
            return OBJECTS_WHILE_OTHERS_WAIT
        return OBJECTS_PER_TURN if self._loaded.device.startswith("cpu") else OBJECTS_PER_BATCH

    def _step_together(self, running: Sequence[RunningObject]) -> None:
        """Take all objects through all their steps, those that look at one window together."""
        while True:
            groups: dict[tuple[Window, bool], list[tuple[RunningObject, WindowPrompts]]] = {}
            for item in running:
                if (wanted := item.wanted) is not None:
                    group = groups.setdefault((wanted.window, wanted.several_masks), [])
                    group.append((item, self._fitting(wanted)))
            if not groups:
                return
            self._decode(groups)

    def _decode(self, groups: Mapping[tuple[Window, bool], Sequence[tuple[RunningObject, WindowPrompts]]]) -> None:
        """Decode the objects of each window; those of several windows share a turn where the model gains by that."""
        embeddings: dict[Window, Embedding] = {}
        for window, embedding, source in self.embed([window for window, _ in groups]):
            embeddings[window], self._sources[window] = embedding, source
        all_stages = []
        for (window, several), group in groups.items():
            lane = self._lane(window)
            prompts = [prompts for _, prompts in group]
            segmenter = self._model_on(lane).segmenter
            all_stages.append((lane.worker, decoding_of(segmenter, embeddings[window], prompts, several_masks=several)))
        answers = self._jobs.run_stages(all_stages)
        for group, made in zip(groups.values(), answers, strict=True):
            for (item, _), answer in zip(group, made, strict=True):
                item.send(answer)

    def _lane(self, window: Window) -> Lane:
        return self._engine.lanes.of_window(self._slide.info.fingerprint, window)

    def _model_on(self, lane: Lane) -> LoadedModel:
        """Return the call's model on a lane."""
        loaded = self._loaded if lane is self._engine.lanes.first else lane.models.get(self._loaded.spec.name)
        self._devices.add(loaded.device)
        return loaded

    def _fitting(self, wanted: DecodeRequest) -> WindowPrompts:
        """Return prompts without what the model cannot take; refuse where nothing would be left of what was meant."""
        can = self._loaded.segmenter.capabilities
        prompts = replace(wanted.prompts, keep_parts=self._output.keep_parts)
        if len(prompts.points) and not can.points:
            raise UnsupportedPrompt(f"model {self._loaded.spec.name!r} takes no clicks; give it a box")
        if prompts.logits is not None and not can.mask_prompt:
            prompts = replace(prompts, logits=None)
        if prompts.box is not None and not can.boxes:
            prompts = replace(prompts, box=None)
        if prompts.box is None and prompts.logits is None and not len(prompts.points):
            raise UnsupportedPrompt(f"model {self._loaded.spec.name!r} cannot take these prompts; give it a click")
        return prompts

    def embed(self, windows: Sequence[Window]) -> Iterator[tuple[Window, Embedding, EmbeddingSource]]:
        """Yield windows with their embeddings, each once; the next one is read while one is encoded."""
        wanted = list(dict.fromkeys(windows))
        with ReadAhead(self._slide, [window for window in wanted if not self.is_embedded(window)]) as reads:
            for window in wanted:
                yield window, *self.embedding(window, reads=reads)

    def embedding(
        self, window: Window, lane: Lane | None = None, *, reads: ReadAhead | None = None
    ) -> tuple[Embedding, EmbeddingSource]:
        """Return the window's embedding, from the cache or made now."""
        urgency = Urgency(self._priority)
        lane = lane or self._lane(window)
        return lane.embeddings.get_or_compute(
            self.key(window),
            lambda: self._encode(window, lane, urgency, reads or ReadAhead(self._slide)),
            cancel=self._call.cancel,
            deadline=self._call.deadline,
            urgency=urgency,
        )

    def key(self, window: Window) -> str:
        """Return the cache key of a window's embedding."""
        loaded = self._loaded
        return embedding_key(
            self._slide.info.fingerprint,
            window,
            loaded.spec.name,
            loaded.weights_sha256,
            loaded.segmenter.preprocessing_version,
        )

    def _encode(self, window: Window, lane: Lane, urgency: Urgency, reads: ReadAhead) -> Embedding:
        check_wanted(self._call.cancel, self._call.deadline)
        started = time.perf_counter()
        pixels = reads.read(window)
        self.timings.read += _ms(started)
        return self._jobs.run(lane.worker, EncodeJob(self._model_on(lane).segmenter, pixels), urgency=urgency)

    def _result(self, item: RunningObject) -> ObjectResult:
        return replace(self.result(item.request, item.state), token=item.token, resumed_steps=item.resumed.steps)

    def result(self, request: ObjectRequest, state: State) -> ObjectResult:
        """Return what is answered to an object in this state; without a token."""
        started = time.perf_counter()
        outlines = outlines_of(state, request.prompts, self._output, extent=self.scales.extent, mpp=self._mpp)
        self.timings.trace += _ms(started)
        window = self._context.request
        doubts = doubts_of(outlines, request.prompts, request=window, scales=self.scales, tissue=self._tissue)
        return ObjectResult(
            object_id=request.object_id,
            outlines=outlines,
            window=state.window,
            touches_window_edge=touches_edge(state.mask, state.window, self.scales.extent),
            token=b"",
            resumed_steps=0,
            embedding_source=self._sources.get(state.window),
            doubts=doubts,
        )

    def _tissue(self) -> TissueEstimate | None:
        """Return the image's tissue; a first call reads a small picture of it."""
        started = time.perf_counter()
        estimate = self._engine.tissue.of(self._slide)
        self.timings.read += _ms(started)
        return estimate

    def on_embedding(self, window: Window, job: Callable[[Embedding], T]) -> T:
        """Run a job of the model on a window's embedding, on the inference thread, as the decoding of one object.

        Always on the first lane: what a model remembers of an object lies on one device.
        """
        check_wanted(self._call.cancel, self._call.deadline)
        lane = self._engine.lanes.first
        embedding, self._sources[window] = self.embedding(window, lane)
        return self._jobs.run(lane.worker, CallJob(lambda: job(embedding), "decode"))

    def provenance(self) -> Provenance:
        """Return what made this call's results."""
        info = self._slide.info
        return Provenance(
            model=self._loaded.spec.name,
            weights_sha256=self._loaded.weights_sha256,
            preprocessing_version=self._loaded.segmenter.preprocessing_version,
            server_version=__version__,
            image_fingerprint=info.fingerprint,
            pixel_source=info.reader,
            device=", ".join(sorted(self._devices)) or self._loaded.device,
            mpp=self._mpp,
            remarks=info.all_remarks,
        )


class RunningObject:
    """One object of a running call: what it wants decoded next, and in the end its state and token.

    Args:
        owner: on whose account the states are held; None holds none, and there is no token.
        embedded: windows to be preferred; None prefers none.
    """

    def __init__(
        self,
        states: StateStore,
        context: StepsContext,
        request: ObjectRequest,
        scales: Scales,
        *,
        owner: str | None = "",
        embedded: EmbeddedWindows | None = None,
    ) -> None:
        self.request = request
        self._owner = owner
        self._embedded = embedded
        self._states = states
        self._context = context
        self._steps: tuple[Step, ...] = steps_of(request.prompts)
        self.resumed: Resumed = states.resume(context, self._steps, request.token)
        self.wanted: DecodeRequest | None = None
        self.token = b""
        self._state = self.resumed.state
        self._done = self.resumed.steps
        self._generator = self._run(scales)
        self._advance(None)

    @property
    def state(self) -> State:
        """After the last step."""
        assert self._state is not None
        return self._state

    def place(self) -> tuple[float, ...]:
        """Sort objects that look at one window together."""
        if self.wanted is None:
            return ()
        region = self.wanted.window.region
        return self.wanted.window.downsample, region.y, region.x

    def forget(self) -> None:
        """Let go of masks and logits: the result has been taken."""
        self._state = None

    def send(self, answer: MaskSet) -> None:
        """Give the answer to what was wanted."""
        self._advance(answer)

    def _advance(self, answer: MaskSet | None) -> None:
        try:
            self.wanted = next(self._generator) if answer is None else self._generator.send(answer)
        except StopIteration:
            self.wanted = None

    def _run(self, scales: Scales) -> Generator[DecodeRequest, MaskSet, None]:
        """Run the steps that are not done. Each state is held at once, so that a newer call can go on from it."""
        chain = tokens(self.resumed.root, self._steps) if self._owner is not None else []
        self.token = chain[-1] if chain else b""
        for done in range(self.resumed.steps, len(self._steps)):
            self._state = yield from run_step(
                self._steps[: done + 1],
                self._state,
                scales=scales,
                request=self._request_of(done),
                choice=self._context.choice,
                embedded=self._embedded,
            )
            if self._owner is not None:
                self._states.keep(
                    self._context, self.resumed, chain[done], self._state, done=done + 1, owner=self._owner
                )

    def _request_of(self, step: int) -> WindowRequest:
        """Return the window options of a step: one that is made again has the mask that the next click names.

        That mask may have come from a closer look in a window that was embedded then, and is no longer.
        """
        request = self.resumed.request
        is_mask_named = step + 1 < len(self._steps) and self._steps[step + 1].from_mask is not None
        return replace(request, closer_look=True) if is_mask_named else request


def scales_of(info: SlideInfo, loaded: LoadedModel) -> Scales:
    """Return the scales at which a model may look at a slide."""
    return Scales.of(
        extent=info.extent,
        mpp=info.mpp,
        input_size=loaded.segmenter.capabilities.input_size,
        default_mpp=loaded.spec.default_mpp,
        finest_downsample=info.finest_downsample,
    )


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
