"""``qupath-sam bench refine``: how much refining gains on crude outlines, for each way to prompt the model.

Objects whose truth is known are given outlines as a person in a hurry leaves them (`perturbed_outline`), and
`qupath_sam.project.refine` redraws these, in engine windows and with the guards, once for each way to ask.
The default of ``project refine`` is the best of these ways. With another model, this says whether it still is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.client.images import Slide
from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import EvaluationObject, TileView
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.datasets.painting import paint
from qupath_sam.datasets.perturbed_outlines import perturbed_outline
from qupath_sam.datasets.seen import check_unseen, groups_seen
from qupath_sam.engine.build import build_engine
from qupath_sam.engine.engine import Engine
from qupath_sam.engine.refine_options import PromptOptions
from qupath_sam.engine.refine_options import RefineOptions as EngineOptions
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.bootstrap import bootstrap_interval
from qupath_sam.evaluation.run import Choices
from qupath_sam.machine.description import Json, report
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.polygons.tracing import trace_mask
from qupath_sam.project.decisions import Action, Decision, Tally
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import ImageObject, Kind, Plane
from qupath_sam.project.refine import RefineOptions, refine_image
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.masks import Mask, intersection_over_union
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction

#: Ways to ask, by the options of ``project refine`` that choose them.
WAYS: Mapping[str, PromptOptions] = {
    "--interior-points 0": PromptOptions(interior=0),
    "--interior-points 1": PromptOptions(interior=1),
    "--interior-points 3": PromptOptions(interior=3),
    "--interior-points 3 --exterior-points 3": PromptOptions(interior=3, exterior=3),
    "--no-box --interior-points 1": PromptOptions(box=False, interior=1),
    "--no-mask --interior-points 0": PromptOptions(outline=False, interior=0),
    "--no-mask --interior-points 1": PromptOptions(outline=False, interior=1),
    "--no-mask --interior-points 3 --exterior-points 3": PromptOptions(outline=False, interior=3, exterior=3),
}

#: Outlines that came out further from the truth than this by bending are left out: the object has too few pixels.
_IOU_SLACK = 0.05
#: A refined outline counts as worse where its IoU with the truth is lower by more than this.
_WORSE_BY = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """One object, asked about in one way.

    Attributes:
        group: patient or case.
        before: IoU of the crude outline with the truth.
        after: IoU of the model's outline with the truth; 0 where it found nothing.
        decision: what refining decided, with the IoU of the crude outline and the model's.
    """

    group: str
    before: float
    after: float
    decision: Decision

    @property
    def kept(self) -> float:
        """IoU of what the project would then hold: the crude outline where the new one was refused."""
        return self.after if self.decision.action is Action.REFINED else self.before


def run(
    datasets: Sequence[str],
    *,
    model: str = "",
    split: str = "validation",
    images: int | None = 40,
    objects_per_image: int | None = 1,
    outline_iou: tuple[float, float] = (0.6, 0.8),
    seed: int = 0,
    device: str = "auto",
    seen: bool = False,
    on_image: Callable[[], None] = lambda: None,
) -> Json:
    """Refine crude outlines of each data set in each way.

    Args:
        datasets: as `qupath_sam.datasets.open_dataset` takes them.
        model: empty takes the default.
        split: of data sets that name splits; "all" takes every tile.
        images: at most so many of each data set, drawn by the seed.
        objects_per_image: at most so many of an image, drawn by the seed.
        outline_iou: least and most IoU of crude outlines with the truth; each object's is drawn between.
        seed: of all that is drawn.
        device: auto, cpu, cuda, cuda:1 or mps.
        seen: take groups that the model was trained on too: good for choosing a way, not for telling how good it is.
        on_image: called after each image.

    Returns:
        ``settings`` and ``datasets.<name>.{objects, groups, iou_before, ways}``, with ``ways.<options>.{iou, gain
        {mean, low, high, median}, gain_kept, iou_with_old, worse, refused {reason: n}}``: IoU of the model's outlines
        with the truth and what they gain (95 % interval over groups), the gain that is left once the guards have
        refused some, IoU with the crude outline (None where nothing was found), and the share of objects left worse by
        more than 0.05.

    Raises:
        InvalidRequest: the model has seen a group, or no object is left.
        ModelError: the model cannot be loaded.
    """
    low, high = outline_iou
    if not 0 < low <= high < 1:
        raise InvalidRequest(f"outlines of IoU {low:g} to {high:g} cannot be made; give two numbers between 0 and 1")
    model = model or DEFAULT_MODEL
    opened = [_drawn(text, split, images, seed) for text in datasets]
    if not seen:
        check_unseen(model, groups_seen(ModelStore().find(model), ModelStore()), opened)
    choices = Choices(window=WindowChoice.AUTO, per_tile=objects_per_image, seed=seed)
    results: dict[str, object] = {}
    engine = build_engine(EngineSettings(model=model, device=device))
    try:
        for dataset in opened:
            selection = choices.selection(dataset)
            trials: dict[str, list[Trial]] = {way: [] for way in WAYS}
            for tile in dataset.tiles:
                for way, found in trials_of(engine, selection.view(tile), outline_iou=outline_iou, seed=seed).items():
                    trials[way] += found
                on_image()
            results[dataset.name] = summary(dataset.name, trials)
    finally:
        engine.close()
    settings: Json = {"model": model, "split": split, "images": images, "objects_per_image": objects_per_image}
    settings |= {"outline_iou": [low, high], "seed": seed, "seen": seen}
    return report("bench-refine", {"settings": settings, "datasets": results})


def trials_of(
    engine: Engine, view: TileView, *, outline_iou: tuple[float, float], seed: int = 0
) -> dict[str, list[Trial]]:
    """Refine every object of a view in every way, by the way's name.

    Args:
        engine: with the model as its default.
        view: pixels, taken as level 0, and the objects in them.
        outline_iou: least and most IoU of crude outlines with the truth.
        seed: of the outlines, together with what each object is.
    """
    crude = {item.object_id: (item, outline) for item, outline in _crude_outlines(view, outline_iou, seed)}
    if not crude:
        return {way: [] for way in WAYS}
    asked = _AskedView(engine, view.pixels, view.mpp)
    objects = [_annotation(object_id, trace_mask(outline)) for object_id, (_, outline) in crude.items()]
    window_px = engine.models.get().segmenter.capabilities.input_size
    found: dict[str, list[Trial]] = {}
    for way, prompts in WAYS.items():
        proposal = refine_image(asked.entry, objects, RefineOptions(prompts=prompts, window_px=window_px), asked, asked)
        found[way] = [_trial(*crude[decision.object_id], decision) for decision in proposal.decisions]
    return found


def summary(name: str, trials: Mapping[str, Sequence[Trial]]) -> Json:
    """Return one data set's part of the report; see `run`.

    Raises:
        InvalidRequest: there is no object.
    """
    first = next(iter(trials.values()))
    if not first:
        raise InvalidRequest(f"{name} holds no object of the wanted size; take more --images")
    return {
        "objects": len(first),
        "groups": len({trial.group for trial in first}),
        "iou_before": _rounded(np.mean([trial.before for trial in first])),
        "ways": {way: _figures(found) for way, found in trials.items()},
    }


def _figures(trials: Sequence[Trial]) -> Json:
    before, after, kept = (
        np.array([getattr(trial, name) for trial in trials], np.float64) for name in ("before", "after", "kept")
    )
    with_old = [trial.decision.iou for trial in trials if not math.isnan(trial.decision.iou)]
    low, high = bootstrap_interval(after - before, [trial.group for trial in trials])
    return {
        "iou": _rounded(after.mean()),
        "gain": {
            "mean": _rounded((after - before).mean()),
            "low": _rounded(low),
            "high": _rounded(high),
            "median": _rounded(np.median(after - before)),
        },
        "gain_kept": _rounded((kept - before).mean()),
        "iou_with_old": _rounded(np.mean(with_old)) if with_old else None,
        "worse": _rounded((kept < before - _WORSE_BY).mean()),
        "refused": dict(Tally.of(trial.decision for trial in trials).refusals),
    }


class _AskedView:
    """A view as the one image of a project, with an engine that answers for it."""

    def __init__(self, engine: Engine, pixels: NDArray[np.uint8], mpp: float | None) -> None:
        height, width = pixels.shape[:2]
        self.entry = ImageEntry("view", "view", {}, width, height, mpp, Path())
        self._engine = engine
        self._reader = PushedReader.of_image(pixels, mpp)

    def reference(self, image: ImageEntry, plane: Plane, bounds: tuple[float, float, float, float]) -> Slide:
        return Slide(image.name)

    def predict(
        self,
        image: object,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: EngineOptions | None = None,
    ) -> Prediction:
        requests = [item if isinstance(item, ObjectRequest) else ObjectRequest(item) for item in objects]
        return self._engine.predict(self._reader, requests, model=model, window=window, output=output, refine=refine)


def _drawn(text: str, split: str, images: int | None, seed: int) -> Dataset:
    return open_dataset(text).of_split(None if split == "all" else split).drawn(images, seed=seed)


def _crude_outlines(
    view: TileView, outline_iou: tuple[float, float], seed: int
) -> Iterator[tuple[EvaluationObject, Mask]]:
    """Yield objects with crude outlines.

    Each outline's IoU with the truth is drawn by the seed and what the object is.
    """
    for item in view.objects:
        own_seed = seed, int(item.digest[:16], 16)
        wanted = float(np.random.default_rng(own_seed).uniform(*outline_iou))
        outline = perturbed_outline(item.mask, seed=own_seed, iou=wanted)
        if abs(intersection_over_union(outline, item.mask) - wanted) <= _IOU_SLACK:
            yield item, outline


def _annotation(object_id: str, outline: Polygon | MultiPolygon) -> ImageObject:
    return ImageObject(object_id, Kind.ANNOTATION, "Polygon", shapely.to_wkb(outline))


def _trial(item: EvaluationObject, outline: Mask, decision: Decision) -> Trial:
    after = 0.0
    if decision.new_wkb:
        height, width = item.mask.shape
        painted = paint(list(shapely.get_parts(shapely.from_wkb(decision.new_wkb))), (height, width)) > 0
        after = intersection_over_union(painted, item.mask)
    return Trial(item.group, intersection_over_union(outline, item.mask), after, decision)


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)
