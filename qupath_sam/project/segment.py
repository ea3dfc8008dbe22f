"""Outlines from the points and rectangles that a person has left in an image. Writes nothing.

Each point and each rectangle of a prompt class becomes one object; points of an annotation can be taken together as
one. Points of a class that QuPath ignores (its name ends with ``*``) say what does not belong to the object nearest to
them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import shapely
from shapely.geometry import Point

from qupath_sam.errors import InvalidPrompt
from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.failures import ask_together
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import Edit, ImageObject, Kind
from qupath_sam.project.predictor import ImageSource, Predictor, extent_of
from qupath_sam.project.refine import OBJECTS_PER_CALL, Proposal
from qupath_sam.project.selection import is_of_class
from qupath_sam.qupath.annotations import is_made_by_model, metadata_of
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Doubt, ObjectResult, Prediction

#: Answers that nobody has looked at are not taken with these doubts.
_REFUSALS = {Doubt.LARGE: Refusal.LARGE, Doubt.BACKGROUND: Refusal.BACKGROUND}


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """How prompts become outlines.

    Attributes:
        classes: class of the prompts to class of the outlines; the same where they shall keep it.
        together: all points of one annotation are one object.
        keep_prompts: leave the prompt annotations in the image.
        model: empty takes the server's default.
        window: scale.
        output: what is done to each mask.
        min_score: outlines below are not kept.
        provenance: note on each object what made its outline.
    """

    classes: Mapping[str, str]
    together: bool = False
    keep_prompts: bool = False
    model: str = ""
    window: WindowRequest = field(default_factory=WindowRequest)
    output: OutputOptions = field(default_factory=OutputOptions)
    min_score: float = 0.0
    provenance: bool = True


@dataclass(frozen=True, slots=True)
class PromptedObject:
    """One object to be segmented, the annotation that asks for it, and those whose points say what is not meant."""

    source: ImageObject
    prompts: ObjectPrompts
    negatives: tuple[str, ...] = ()


def prompted_objects(objects: Iterable[ImageObject], options: SegmentOptions) -> list[PromptedObject]:
    """Return the objects that an image's prompt annotations ask for, in order.

    What a model has outlined asks for nothing.
    """
    objects = [item for item in objects if item.kind is Kind.ANNOTATION]
    found: list[PromptedObject] = []
    for item in objects:
        if item.locked or is_ignored(item.path_class) or not is_of_class(item.path_class, options.classes):
            continue
        if is_made_by_model(item.metadata):
            continue
        if item.roi == "Points":
            points = [(float(x), float(y)) for x, y in shapely.get_coordinates(item.geometry)]
            groups = [points] if options.together else [[point] for point in points]
            found += [PromptedObject(item, ObjectPrompts((Click(tuple(group)),))) for group in groups if group]
        elif item.roi == "Rectangle":
            found.append(PromptedObject(item, ObjectPrompts(box=Box(*item.geometry.bounds))))
    return _with_negatives(found, [item for item in objects if item.roi == "Points" and is_ignored(item.path_class)])


def is_ignored(path_class: str | None) -> bool:
    """Return whether QuPath ignores a class: the name ends with ``*``."""
    return path_class is not None and path_class.endswith("*")


def segment_image(
    image: ImageEntry,
    objects: Sequence[ImageObject],
    options: SegmentOptions,
    predictor: Predictor,
    source: ImageSource,
) -> Proposal:
    """Ask for the outlines of an image's prompt annotations."""
    extent = extent_of(image)
    asked: list[PromptedObject] = []
    additions: list[ImageObject] = []
    decisions: list[Decision] = []
    answered: set[str] = set()
    failed: set[str] = set()
    model_ms = 0.0
    model = options.model
    for item in prompted_objects(objects, options):
        try:
            item.prompts.check_inside(extent)
        except InvalidPrompt as error:
            failed |= {item.source.object_id, *item.negatives}
            decisions.append(_refused(image, item.source, Refusal.PROMPT_OUTSIDE, str(error)))
        else:
            asked.append(item)
    for items, prediction in _answers(image, asked, options, predictor, source):
        if isinstance(prediction, str):
            for item in items:
                failed |= {item.source.object_id, *item.negatives}
                decisions.append(_refused(image, item.source, Refusal.FAILED, prediction))
            continue
        model_ms += prediction.timings.total
        model = prediction.provenance.model
        for item, result in zip(items, prediction.results, strict=True):
            reason = _refusal_of(result, options)
            if reason is not None:
                failed |= {item.source.object_id, *item.negatives}
                decisions.append(_refused(image, item.source, reason, "", result))
                continue
            best = result.outlines[0]
            answered |= {item.source.object_id, *item.negatives}
            added = ImageObject(
                object_id=str(uuid.uuid4()),
                kind=Kind.ANNOTATION,
                roi="Polygon",
                wkb=shapely.to_wkb(best.geometry, output_dimension=2),
                plane=item.source.plane,
                path_class=_class_of_outline(item.source.path_class, options.classes),
                name=item.source.name,
                parent_id=item.source.parent_id,
                measurements={"SAM score": best.score} if options.provenance else {},
                metadata=metadata_of(result, prediction.provenance) if options.provenance else {},
            )
            additions.append(added)
            decisions.append(
                Decision(
                    image.entry_id,
                    image.name,
                    Action.ADDED,
                    added.object_id,
                    new_wkb=added.wkb,
                    score=best.score,
                    remark=", ".join(doubt.value for doubt in result.doubts),
                )
            )
    by_id = {item.object_id: item for item in objects}
    removals = () if options.keep_prompts else tuple(sorted(_childless(answered - failed, by_id)))
    additions = [replace(added, parent_id=_staying_parent(added.parent_id, by_id, removals)) for added in additions]
    decisions += [
        Decision(image.entry_id, image.name, Action.REMOVED, object_id, before=by_id[object_id])
        for object_id in removals
    ]
    step = f"qupath-sam segmented {len(additions)} objects with {model}"
    edit = Edit(additions=tuple(additions), removals=removals, step=step) if additions else Edit()
    return Proposal(edit, tuple(decisions), model_ms / 1000)


@dataclass(frozen=True, slots=True)
class _Call:
    reference: object
    items: Sequence[PromptedObject]


def _answers(
    image: ImageEntry,
    asked: Sequence[PromptedObject],
    options: SegmentOptions,
    predictor: Predictor,
    source: ImageSource,
) -> Iterator[tuple[Sequence[PromptedObject], Prediction | str]]:
    """Yield objects with the answer to them, or why there is none."""
    window = options.window
    if window.mpp is not None and not image.mpp:
        window = WindowRequest(downsample=window.mpp)

    for call in _calls(image, asked, source):

        def ask(items: Sequence[PromptedObject], reference: object = call.reference) -> Prediction:
            requests = [ObjectRequest(item.prompts) for item in items]
            return predictor.predict(reference, requests, model=options.model, window=window, output=options.output)

        yield from ask_together(call.items, ask)


def _calls(image: ImageEntry, asked: Sequence[PromptedObject], source: ImageSource) -> Iterable[_Call]:
    """Yield objects that can share a call, in order."""
    waiting: list[PromptedObject] = []
    last: object = None
    for item in asked:
        reference = source.reference(image, item.source.plane, item.prompts.bounds)
        if waiting and (reference != last or len(waiting) >= OBJECTS_PER_CALL):
            yield _Call(last, waiting)
            waiting = []
        last = reference
        waiting.append(item)
    if waiting:
        yield _Call(last, waiting)


def _with_negatives(found: list[PromptedObject], ignored: Sequence[ImageObject]) -> list[PromptedObject]:
    """Give each negative point to the object of its plane that lies nearest to it."""
    points: dict[int, list[tuple[float, float]]] = {}
    givers: dict[int, list[str]] = {}
    places = [shapely.box(*item.prompts.bounds) for item in found]
    for item in ignored:
        same_plane = [index for index, other in enumerate(found) if other.source.plane == item.plane]
        for x, y in shapely.get_coordinates(item.geometry) if same_plane else ():
            nearest = min(same_plane, key=lambda index: places[index].distance(Point(x, y)))
            points.setdefault(nearest, []).append((float(x), float(y)))
            givers.setdefault(nearest, []).append(item.object_id)
    return [
        _with_click(item, Click(tuple(points[index]), Label.NEGATIVE), givers[index]) if index in points else item
        for index, item in enumerate(found)
    ]


def _with_click(item: PromptedObject, click: Click, givers: Sequence[str]) -> PromptedObject:
    prompts = replace(item.prompts, clicks=(*item.prompts.clicks, click))
    return replace(item, prompts=prompts, negatives=tuple(dict.fromkeys(givers)))


def _childless(prompts: Collection[str], by_id: Mapping[str, ImageObject]) -> set[str]:
    """Return the prompts that contain no other objects than prompts: removing others would move their children up."""
    going = set(prompts)
    while True:
        inside = Counter(by_id[object_id].parent_id for object_id in going)
        staying = {object_id for object_id in going if by_id[object_id].children > inside[object_id]}
        if not staying:
            return going
        going -= staying


def _staying_parent(parent_id: str | None, by_id: Mapping[str, ImageObject], removals: Sequence[str]) -> str | None:
    """Return the nearest ancestor that is not itself a prompt which goes."""
    while parent_id is not None and parent_id in removals:
        parent_id = by_id[parent_id].parent_id
    return parent_id


def _class_of_outline(path_class: str | None, classes: Mapping[str, str]) -> str | None:
    name = path_class or "Unclassified"
    base = max((base for base in classes if is_of_class(name, (base,))), key=len)
    wanted = classes[base]
    if wanted == base:
        return path_class
    return None if wanted == "Unclassified" else wanted


def _refusal_of(result: ObjectResult, options: SegmentOptions) -> Refusal | None:
    """Return why an answer is not taken; None where it is. A low score alone is one where the caller sets a bound."""
    if not result.outlines:
        return Refusal.EMPTY
    if result.outlines[0].score < options.min_score:
        return Refusal.LOW_SCORE
    return next((_REFUSALS[doubt] for doubt in result.doubts if doubt.is_refusal), None)


def _refused(
    image: ImageEntry, item: ImageObject, refusal: Refusal, remark: str, result: ObjectResult | None = None
) -> Decision:
    """Return the decision to leave a prompt as it is, with the outline that is not taken, where there is one."""
    best = result.outlines[0] if result is not None and result.outlines else None
    return Decision(
        image.entry_id,
        image.name,
        Action.REFUSED,
        item.object_id,
        before=item,
        new_wkb=b"" if best is None else shapely.to_wkb(best.geometry, output_dimension=2),
        refusal=refusal,
        score=float("nan") if best is None else best.score,
        remark=remark,
    )
