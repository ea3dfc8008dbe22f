"""Better outlines for the annotations of one image: prompts, a model's answer, guards, an edit. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.client.images import ImageRef
from qupath_sam.engine.boundary import BoundaryOptions, is_too_large, refine_boundary
from qupath_sam.engine.refine import RefineContext, judged
from qupath_sam.engine.refine_guards import Guards, old_refusal
from qupath_sam.engine.refine_options import PromptOptions
from qupath_sam.engine.refine_options import RefineOptions as EngineOptions
from qupath_sam.engine.refine_prompts import prompts_from_outline
from qupath_sam.errors import QupathSamError
from qupath_sam.polygons.cleaning import clean_against
from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.failures import OF_AN_OBJECT, ask_together, reason_of
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import Edit, ImageObject, ShapeChange
from qupath_sam.project.predictor import ImageSource, Predictor, extent_of
from qupath_sam.project.selection import ObjectSelection
from qupath_sam.qupath.annotations import metadata_of, without_provenance
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import ObjectResult, Outline, Prediction, Provenance

#: Most objects of one call: small enough that a call takes seconds, large enough that its overhead does not count.
OBJECTS_PER_CALL = 64


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """How annotations are refined.

    Attributes:
        selection: which.
        prompts: which prompts the old outline becomes.
        guards: what the new outline has to fulfil.
        model: empty takes the server's default.
        output: what is done to each mask.
        mpp: um per window px; None lets the server choose by the size of the object.
        coarsest_mpp: outlines too large for one window at ``mpp`` (or, where the server chooses, at this scale) are
            refined along their border. On images without a pixel size it is a downsample.
        window_px: side of the model's window.
        clean_share: holes and parts below this share of the old outline are filled and dropped; see
            `qupath_sam.polygons.clean_against`. Scraps beside the object go with them; 0 keeps all.
        provenance: note on each object what made its outline.
    """

    selection: ObjectSelection = field(default_factory=ObjectSelection)
    prompts: PromptOptions = field(default_factory=PromptOptions)
    guards: Guards = field(default_factory=Guards)
    model: str = ""
    output: OutputOptions = field(default_factory=OutputOptions)
    mpp: float | None = None
    coarsest_mpp: float = 2.0
    window_px: int = 256
    clean_share: float = OutputOptions().clean_share
    provenance: bool = True

    def window(self, image: ImageEntry) -> WindowRequest:
        """Return the window request to the server."""
        if self.mpp is None:
            return WindowRequest()
        return WindowRequest(mpp=self.mpp) if image.mpp else WindowRequest(downsample=self.mpp)

    def boundary(self, image: ImageEntry) -> BoundaryOptions:
        """Return the scale of the windows along the border of large outlines, and from which size on these are used."""
        scale = self.mpp if self.mpp is not None else self.coarsest_mpp
        um = image.mpp or 1.0
        tolerance = self.output.simplify_tolerance / um
        return BoundaryOptions(scale / um, self.window_px, simplify_tolerance=tolerance)


@dataclass(frozen=True, slots=True)
class Proposal:
    """The proposed changes of one image.

    Attributes:
        edit: the changes; empty where nothing is to be done.
        decisions: about every object that was selected.
        model_s: seconds the server says it spent.
        skipped: objects that were there already (import).
    """

    edit: Edit
    decisions: tuple[Decision, ...]
    model_s: float
    skipped: int = 0


def refine_image(
    image: ImageEntry, objects: Iterable[ImageObject], options: RefineOptions, predictor: Predictor, source: ImageSource
) -> Proposal:
    """Ask for better outlines of an image's selected annotations.

    Raises:
        ServerUnavailable, DeadlineExceeded: the server has gone. Errors about single objects become refusals.
    """
    extent = extent_of(image)
    job = _Job(image, extent, options, predictor, source)
    objects = list(objects)
    times = Counter(item.object_id for item in objects)
    # A region that a person works in is of any class; who wants such a one redrawn says so.
    named = bool(options.selection.path_classes)
    for item in options.selection.select(objects, image):
        refusal = old_refusal(
            item.geometry,
            locked=item.locked and not options.selection.locked,
            extent=extent,
            has_children=item.children > 0 and not named,
        )
        if refusal is not None:
            job.refuse(item, refusal)
        elif times[item.object_id] > 1:  # QuPath makes such twins where one file is imported twice
            job.refuse(item, Refusal.SAME_ID)
        elif is_too_large(_area(item), options.boundary(image)):
            job.along_border(item) if named else job.refuse(item, Refusal.LARGER_THAN_WINDOW)
        else:
            job.queue(item)
    job.flush()
    count = len(job.changes)
    step = f"qupath-sam refined {count} annotation{'s' if count != 1 else ''} with {job.model}"
    return Proposal(Edit(changes=tuple(job.changes), step=step), tuple(job.decisions), job.model_ms / 1000)


class _Job:
    """The calls for one image, and what came of them."""

    def __init__(
        self,
        image: ImageEntry,
        extent: Region,
        options: RefineOptions,
        predictor: Predictor,
        source: ImageSource,
    ) -> None:
        self.changes: list[ShapeChange] = []
        self.decisions: list[Decision] = []
        self.model_ms = 0.0
        self.model = options.model
        self._image = image
        self._extent = extent
        self._options = options
        self._predictor = predictor
        self._source = source
        self._queued: list[ImageObject] = []
        self._reference: ImageRef | None = None

    def queue(self, item: ImageObject) -> None:
        """Ask about an object together with others of the same pixels."""
        try:
            reference = self._source.reference(self._image, item.plane, item.geometry.bounds)
        except OF_AN_OBJECT as error:
            self.refuse(item, Refusal.FAILED, remark=reason_of(error))
            return
        if reference != self._reference or len(self._queued) >= OBJECTS_PER_CALL:
            self.flush()
        self._reference = reference
        self._queued.append(item)

    def flush(self) -> None:
        """Send what is queued."""
        items, self._queued = self._queued, []
        if self._reference is None:
            return
        for part, prediction in ask_together(items, partial(self._ask, self._reference)):
            if isinstance(prediction, str):
                self.refuse(part[0], Refusal.FAILED, remark=prediction)
            else:
                self._take(part, prediction)

    def along_border(self, item: ImageObject) -> None:
        """Refine an outline that is larger than one window."""
        options = self._options.boundary(self._image)
        outline = _area(item)
        answers: list[tuple[ObjectResult, Provenance]] = []

        def refine(window: Region, part: Polygon | MultiPolygon) -> tuple[Polygon | MultiPolygon, float] | None:
            visible = window.intersection(self._extent)
            if visible is None:
                return None
            prompts = prompts_from_outline(part, visible, self._options.prompts)
            prediction = self._predict(
                self._source.reference(self._image, item.plane, window.bounds),
                [ObjectRequest(prompts, item.object_id)],
                WindowRequest(region=window, downsample=options.downsample),
                OutputOptions(clean_share=0),  # what is small in a window need not be so beside the whole outline
            )
            result = prediction.results[0]
            answers.append((result, prediction.provenance))
            best = result.outlines[0] if result.outlines else None
            return None if best is None else (best.geometry, best.score)

        with self._refusing(item):
            refined = refine_boundary(outline, self._extent, options, refine)
            remark = f"{refined.windows} windows along the border, {refined.left_out} left out"
            if refined.left_out == refined.windows:  # what is left is the old outline, drawn on a coarse grid
                found = any(result.outlines for result, _ in answers)
                self.refuse(item, Refusal.LOW_IOU if found else Refusal.EMPTY, remark=remark)
                return
            last, made = answers[-1]
            geometry = clean_against(refined.geometry, outline, self._options.clean_share)
            whole = replace(
                last,
                outlines=(Outline(geometry, refined.score, geometry.area, None),),
                touches_window_edge=False,
            )
            metadata = metadata_of(last, made)
            metadata |= {"qupath-sam.window": remark, "qupath-sam.touches_edge": "false"}
            context = RefineContext(self._extent, self._image.mpp, options.window_px, self._options.clean_share)
            self._decide(item, judged(whole, outline, self._options.guards, context), metadata, remark=remark)

    def refuse(self, item: ImageObject, refusal: Refusal, *, remark: str = "") -> None:
        """Leave an object as it is."""
        self._note(item, Action.REFUSED, b"", refusal, float("nan"), float("nan"), remark)

    @contextmanager
    def _refusing(self, item: ImageObject) -> Iterator[None]:
        """Leave an object as it is where something about it fails."""
        try:
            yield
        except OF_AN_OBJECT as error:
            self.refuse(item, Refusal.FAILED, remark=reason_of(error))

    def _ask(self, reference: ImageRef, items: Sequence[ImageObject]) -> Prediction:
        requests = [ObjectRequest(ObjectPrompts(outline=_area(item)), item.object_id) for item in items]
        output = replace(self._options.output, clean_share=self._options.clean_share)
        # Those that are too large for a window have been sorted out.
        refine = EngineOptions(self._options.prompts, self._options.guards, coarsest_mpp=0)
        return self._predict(reference, requests, self._options.window(self._image), output, refine)

    def _predict(
        self,
        reference: ImageRef,
        requests: Sequence[ObjectRequest],
        window: WindowRequest,
        output: OutputOptions,
        refine: EngineOptions | None = None,
    ) -> Prediction:
        prediction = self._predictor.predict(
            reference, requests, model=self._options.model, window=window, output=output, refine=refine
        )
        if len(prediction.results) != len(requests):
            raise QupathSamError("the server answered for another number of objects; install the same version on both")
        if refine is not None and any(result.refinement is None for result in prediction.results):
            raise QupathSamError("the server knows no refining; install the same version on both sides")
        self.model_ms += prediction.timings.total
        self.model = prediction.provenance.model
        return prediction

    def _take(self, items: Sequence[ImageObject], prediction: Prediction) -> None:
        for item, result in zip(items, prediction.results, strict=True):
            with self._refusing(item):
                self._decide(item, result, metadata_of(result, prediction.provenance))

    def _decide(self, item: ImageObject, result: ObjectResult, metadata: dict[str, str], *, remark: str = "") -> None:
        """Do as the verdict on a result says."""
        verdict = result.refinement
        assert verdict is not None
        if verdict.refusal is not None:
            self._note(item, Action.REFUSED, verdict.refused_wkb, verdict.refusal, verdict.iou, verdict.score, remark)
            return
        best = result.outlines[0]
        wkb = shapely.to_wkb(best.geometry, output_dimension=2)
        provenance = self._options.provenance
        metadata = metadata if provenance else {}
        kept = without_provenance(item.metadata)
        stale = item.metadata.keys() - kept.keys() - metadata.keys()
        self.changes.append(
            ShapeChange(
                item.object_id,
                item.wkb,
                wkb,
                measurements={"SAM score": best.score, "SAM IoU with old outline": verdict.iou} if provenance else {},
                metadata=metadata,
                exact_metadata=kept | metadata if stale else None,
            )
        )
        self._note(item, Action.REFINED, wkb, None, verdict.iou, best.score, remark)

    def _note(
        self,
        item: ImageObject,
        action: Action,
        wkb: bytes,
        refusal: Refusal | None,
        iou: float,
        score: float,
        remark: str,
    ) -> None:
        self.decisions.append(
            Decision(
                image_id=self._image.entry_id,
                image_name=self._image.name,
                action=action,
                object_id=item.object_id,
                before=item,
                new_wkb=wkb,
                refusal=refusal,
                iou=iou,
                score=score,
                remark=remark,
            )
        )


def _area(item: ImageObject) -> Polygon | MultiPolygon:
    """Return the shape of an object whose `old_refusal` is None."""
    geometry = item.geometry
    assert isinstance(geometry, Polygon | MultiPolygon)
    return geometry
