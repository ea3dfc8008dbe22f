"""From prompts to outlines: the one file that knows the whole chain. No gRPC, no command line.

An `Engine` owns the parts that live long: a lane a device (models, the thread that calls them, embeddings), and states.
A call brings a slide and prompts and takes values away; nothing of a call stays behind but cache entries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.call import Call, RunningCall, scales_of
from qupath_sam.engine.description import describe_image
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.lanes import Lane, Lanes
from qupath_sam.engine.model_choice import model_for
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.prefetch import Prefetcher
from qupath_sam.engine.refine import RefineContext, refine_objects
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.engine.region.start import start_region
from qupath_sam.engine.settings import MIB
from qupath_sam.engine.states import StateStore
from qupath_sam.engine.tissue import TissueEstimates
from qupath_sam.engine.tracking import MemoryBanks, begin_tracking, track_objects
from qupath_sam.engine.tracking_call import TrackingCall
from qupath_sam.engine.urgency import Priority
from qupath_sam.engine.warm_up import ChoicesAhead, warm_up
from qupath_sam.engine.windows import Scales
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.errors import InvalidPrompt, RequestTooLarge
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideInfo, SlideReader
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.region_requests import RegionRequest
from qupath_sam.types.region_results import RegionBatch
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import ObjectResult, Prediction, Timings, WindowStatus
from qupath_sam.types.service import ImageDescription


class Engine:
    """Segments objects of slides. Safe to call from many threads; one thread a device calls the models.

    Args:
        lanes: one a device.
        states: cache of what the next clicks continue from.
        max_objects: most objects of one call.
        max_points: most points in the clicks of one object.
        memories: what models remember of objects that are carried through stacks; new ones where None.
    """

    def __init__(
        self,
        *,
        lanes: Sequence[Lane],
        states: StateStore,
        max_objects: int = 1024,
        max_points: int = 1024,
        memories: MemoryBanks | None = None,
    ) -> None:
        self.lanes = Lanes(lanes)
        self.states = states
        self.memories = memories if memories is not None else MemoryBanks(512 * MIB)
        self.max_objects = max_objects
        self.max_points = max_points
        self.tissue = TissueEstimates()
        self._prefetcher = Prefetcher()
        self._choices = ChoicesAhead(self.lanes.all, self._prefetcher)

    @property
    def models(self) -> ModelPool:
        """The models of the first lane; the others load the same."""
        return self.lanes.first.models

    @property
    def worker(self) -> InferenceWorker:
        """The thread of the first lane."""
        return self.lanes.first.worker

    @property
    def embeddings(self) -> EmbeddingStore:
        """The embeddings of the first lane."""
        return self.lanes.first.embeddings

    def loaded_models(self) -> tuple[str, ...]:
        """Return names of the models in the memory of any device, least recently used first."""
        return tuple(dict.fromkeys(name for lane in self.lanes.all for name in lane.models.loaded()))

    def on_models(self, callback: Callable[[tuple[str, ...]], None]) -> None:
        """Have ``callback`` called with `loaded_models` whenever these change."""
        for lane in self.lanes.all:
            lane.models.on_change(lambda _: callback(self.loaded_models()))

    def resize_embeddings(self, max_bytes: int) -> None:
        """Change the limit of the embeddings in memory, of all devices together."""
        for lane in self.lanes.all:
            lane.embeddings.memory.resize(max_bytes // len(self.lanes.all))

    def close(self) -> None:
        """Stop prefetching and the inference thread; write embeddings that wait for it. Calls end with `Cancelled`."""
        self._prefetcher.close()
        for lane in self.lanes.all:
            lane.close()

    def warm_up(self) -> None:
        """Load the default model and run it once, so that no click pays for what libraries prepare at first use.

        Raises:
            ModelError, OutOfMemory: the model cannot be loaded or run.
        """
        for lane in self.lanes.all:
            warm_up(lane, lane.models.get())

    def load_choices(self) -> None:
        """Have the models loaded in the background among which `AUTO` chooses; see `ChoicesAhead`."""
        self._choices.begin()

    def predict(
        self,
        slide: SlideReader,
        objects: Sequence[ObjectRequest],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
        call: Call | None = None,
    ) -> Prediction:
        """Segment independent objects of one image.

        Args:
            slide: where pixels come from.
            objects: at least one; prompts in level-0 px.
            model: name; the pool's default where empty, the one for the scale of ``window`` where `AUTO`.
            window: which pixels to use; the engine chooses where None.
            output: what to do to the masks.
            refine: the objects have an outline each and nothing else; it is to be replaced by a better one, or, with a
                token of such an answer about the plane before, by that of this plane.
            call: who calls, how patient they are and how urgent it is.

        Raises:
            InvalidPrompt, InvalidRegion, RequestTooLarge: the request is wrong.
            SlideUnreadable: the pixels cannot be read.
            ModelError: the model cannot be had, or not take these prompts.
            OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy: the work could not be done.
        """
        started = time.perf_counter()
        window, output, call = window or WindowRequest(), output or OutputOptions(), call or Call()
        if refine is None:
            self._check(slide.info, objects)
        window.check_pixel_size(slide.info.mpp)
        name = model_for(model, mpp=slide.info.mpp, window=window) or self.models.default
        if not self.models.has(name):
            call.notice(f"The server is loading the model {name}")
        loaded = self.models.get(name)
        run = RunningCall(self, slide, loaded, window, output, call)
        if refine is None:
            results = run.predict(objects)
        else:
            self.check_amount([0 for _ in objects])
            size = loaded.segmenter.capabilities.input_size
            context = RefineContext(slide.info.extent, slide.info.mpp, size, output.clean_share)
            in_window = partial(self._predict_window, run, slide, loaded, call)

            def refined(some: Sequence[ObjectRequest]) -> list[ObjectResult]:
                return refine_objects(some, refine, context, run.predict, in_window)

            tracking = TrackingCall.of(run, loaded, slide.info.fingerprint, window)
            if refine.remember:
                results = begin_tracking(objects, refine, context, tracking, self.memories)
            elif tracking is not None and any(item.token for item in objects):
                results = track_objects(objects, refine, context, tracking, self.memories, refined)
            else:
                results = refined(objects)
        run.timings.total = _ms(started)
        return Prediction(tuple(results), run.provenance(), run.timings)

    def _predict_window(
        self,
        whole: RunningCall,
        slide: SlideReader,
        loaded: LoadedModel,
        call: Call,
        item: ObjectRequest,
        region: Region,
        downsample: float,
    ) -> ObjectResult:
        """Segment the part of an object that a window shows; its times count for the ``whole`` call."""
        # What is small in a window need not be so beside the whole outline.
        output = OutputOptions(clean_share=0)
        window = WindowRequest(region=region, downsample=downsample)
        run = RunningCall(self, slide, loaded, window, output, call, timings=whole.timings)
        return run.predict([item])[0]

    def segment_region(
        self, slide: SlideReader, request: RegionRequest, *, model: str = "", call: Call | None = None
    ) -> Iterator[RegionBatch]:
        """Find all objects of a region; the work is done while the batches are taken, at `Priority.BATCH`.

        Args:
            slide: where pixels come from; open until the last batch.
            request: which objects of which region.
            model: name; the pool's default where empty.
            call: who calls, and how patient they are.

        Raises:
            InvalidRequest: the region does not meet the image, or the token is not of this request.
            InvalidPrompt: an example lies outside the image, or a click shows no object.
            SlideUnreadable: the pixels cannot be read.
            ModelError: the model cannot be had, or not prompt that way.
            OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy (while batches are taken): the work could not be done.
        """
        call = call or Call()
        lane = self.lanes.of_region(slide.info.fingerprint, (request.place or slide.info.extent).bounds)
        loaded = lane.models.get(model_for(model))

        def outline_clicks(points: Sequence[tuple[float, float]]) -> list[Polygon | MultiPolygon | None]:
            window = WindowRequest(downsample=request.downsample, mpp=request.mpp)
            objects = [ObjectRequest(ObjectPrompts((Click.at(x, y),))) for x, y in points]
            self._check(slide.info, objects)
            first = self.models.get(model_for(model))
            run = RunningCall(self, slide, first, window, OutputOptions(), call, Priority.BATCH)
            return [_example_of(each) for each in run.predict(objects)]

        return iter(
            start_region(
                slide,
                request,
                loaded,
                worker=lane.worker,
                embeddings=lane.embeddings,
                call=call,
                outline_clicks=outline_clicks,
            )
        )

    def embed(
        self,
        slide: SlideReader,
        windows: Sequence[Window],
        *,
        model: str = "",
        call: Call | None = None,
        priority: Priority | None = None,
    ) -> tuple[list[WindowStatus], Timings]:
        """Encode windows that are not yet at hand, in order.

        Args:
            priority: that of the call where None.

        Raises: as `predict`.
        """
        started = time.perf_counter()
        loaded = self.models.get(model_for(model))
        run = RunningCall(self, slide, loaded, WindowRequest(), OutputOptions(), call or Call(), priority)
        sources = {window: source for window, _, source in run.embed(windows)}
        statuses = [WindowStatus(window, ready=True, source=sources[window]) for window in windows]
        run.timings.total = _ms(started)
        return statuses, run.timings

    def embedded(self, slide: SlideReader, windows: Sequence[Window], *, model: str = "") -> list[WindowStatus]:
        """Say which windows are at hand, without encoding."""
        loaded = self.models.get(model_for(model))
        run = RunningCall(self, slide, loaded, WindowRequest(), OutputOptions(), Call())
        return [WindowStatus(w, ready=run.is_embedded(w), source=None) for w in windows]

    def prefetch(self, encode: Callable[[Call], None], *, owner: str) -> None:
        """Run ``encode`` in the background. A newer call of the same owner cancels the older one.

        Args:
            encode: calls `embed` with the call it is given and `Priority.BACKGROUND`.
            owner: names who asked, and for which image.
        """
        self._prefetcher.start(lambda token: encode(Call(cancel=token)), owner=owner)

    def scales(self, info: SlideInfo, *, model: str = "") -> Scales:
        """Return the scales at which a model may look at a slide."""
        return scales_of(info, self.models.get(model_for(model)))

    def describe(self, slide: SlideReader) -> ImageDescription:
        """Return what is made of an image: size, pixel size, channels, and the default model's scales."""
        return describe_image(slide.info, self.scales(slide.info))

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


def _example_of(result: ObjectResult) -> Polygon | MultiPolygon | None:
    """Return the outline that a click gives as an example; None where it shows no object, or one that ran away."""
    refused = any(doubt.is_refusal for doubt in result.doubts)
    return result.outlines[0].geometry if result.outlines and not refused else None


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
