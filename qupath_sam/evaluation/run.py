"""The evaluation itself: every model, every object, one result each."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import EvaluationObject, Selection, Tile, TileView
from qupath_sam.datasets.options import Part, Target, WindowChoice
from qupath_sam.evaluation.ablation import without
from qupath_sam.evaluation.code_digest import code_digest
from qupath_sam.evaluation.engine_windows import OwnWindowsEngine
from qupath_sam.evaluation.protocol import PROTOCOL_VERSION, ObjectScores, Protocol, score_object
from qupath_sam.evaluation.results import ObjectResult, ResultStore, making, result_key
from qupath_sam.evaluation.sessions import PromptableImage, WholeImage, check_clickable
from qupath_sam.models.load import LoadedModel
from qupath_sam.types.prompts import Label


@dataclass(frozen=True, slots=True)
class Choices:
    """The caller's choices; None takes the data set's own value.

    Attributes:
        window: which pixels the model is shown.
        per_tile: at most this many objects of a tile.
        target: what counts as one object.
        min_area: px of the smallest object.
        crop: side of the top-left square that is shown, px; 0 shows whole tiles.
        seed: of the draw of objects.
        keep_parts: whether answers keep parts that no click points at, and pinholes.
        without: parts of the model that are left out.
    """

    window: WindowChoice = WindowChoice.IMAGE
    per_tile: int | None = None
    target: Target | None = None
    min_area: int | None = None
    crop: int | None = None
    seed: int = 0
    keep_parts: bool = False
    without: tuple[Part, ...] = ()

    def selection(self, dataset: Dataset) -> Selection:
        """Return which part of a data set's tiles is shown and scored; engine windows get whole tiles."""
        crop = dataset.crop if self.window is WindowChoice.IMAGE else None
        if self.crop is not None:
            crop = self.crop or None
        return Selection(
            target=self.target or dataset.target,
            min_area=dataset.min_area if self.min_area is None else self.min_area,
            crop=crop,
            per_tile=self.per_tile,
            seed=self.seed,
        )

    def answers(self) -> dict[str, object]:
        """Return what changes the answers of a model, as JSON values."""
        return {"keep_parts": self.keep_parts, "without": sorted(part.value for part in self.without)}


@dataclass(frozen=True, slots=True)
class _TileResults:
    """By object id, in the view's order: each object's key, and its result once there is one."""

    keys: dict[str, str]
    results: dict[str, ObjectResult | None]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name, result in self.results.items() if result is None)


#: Scores the named objects of a tile in another process.
Submit = Callable[[Tile, Selection, tuple[str, ...]], Future[list[ObjectResult]]]


class Evaluation:
    """One model on data sets, object by object. A context manager: the engine's thread ends with it.

    Args:
        model: loaded and able to take clicks.
        protocol: its settings.
        choices: of the caller.
        store: where results are kept and looked up; None keeps nothing.
        workers: processes that score objects, this one or others; goes into the results.

    Raises:
        UnsupportedPrompt: the model takes no clicks.
        InvalidRequest: the model has not the parts that are to be left out.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        protocol: Protocol,
        choices: Choices,
        store: ResultStore | None = None,
        workers: int = 1,
    ) -> None:
        check_clickable(model.segmenter, model.spec.name)
        self._model = model = without(model, choices.without) if choices.without else model
        self._protocol = protocol
        self.choices = choices
        self._store = store
        self._workers = workers
        self._warm = False
        self._engine = (
            OwnWindowsEngine(model, keep_parts=choices.keep_parts) if choices.window is WindowChoice.AUTO else None
        )
        self._made_by = making(code_digest(self._answering_modules()), model.device) if store is not None else ""

    def close(self) -> None:
        """End the engine's thread, where there is one."""
        if self._engine is not None:
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        datasets: Sequence[Dataset],
        *,
        on_tile: Callable[[int], None] = lambda objects: None,
        submit: Submit | None = None,
    ) -> list[ObjectResult]:
        """Run the sessions of all objects of the data sets; return their results in the objects' order.

        Args:
            datasets: to evaluate.
            on_tile: called after each tile with the number of its objects.
            submit: has objects scored elsewhere, several tiles at once; None scores them here.
        """
        tiles: list[_TileResults] = []
        under_way: dict[Future[list[ObjectResult]], _TileResults] = {}

        def take(done: Iterable[Future[list[ObjectResult]]]) -> None:
            for future in done:
                of_tile = under_way.pop(future)
                for result in future.result():
                    self._take(of_tile, result)
                on_tile(len(of_tile.results))

        for dataset in datasets:
            selection = self.choices.selection(dataset)
            for tile in dataset.tiles:
                started = time.perf_counter()
                view = selection.view(tile)
                reading = time.perf_counter() - started
                of_tile = self._kept(view)
                tiles.append(of_tile)
                missing = of_tile.missing
                if missing and submit is not None:
                    under_way[submit(tile, selection, missing)] = of_tile
                    # Now, and not when all tiles have been read: a run that is stopped meanwhile keeps them.
                    take([future for future in under_way if future.done()])
                    continue
                for result in self.score(view, missing, reading_s=reading):
                    self._take(of_tile, result)
                on_tile(len(of_tile.results))
        take(as_completed(list(under_way)))
        return [result for of_tile in tiles for result in of_tile.results.values() if result is not None]

    def score(self, view: TileView, object_ids: Collection[str], *, reading_s: float) -> Iterator[ObjectResult]:
        """Yield the results of the named objects of a view, in its order; kept ones are not looked up.

        Args:
            view: of a tile.
            object_ids: of some of its objects.
            reading_s: what reading the view took.
        """
        setup = reading_s
        image: PromptableImage | None = None
        for item in view.objects:
            if item.object_id not in object_ids:
                continue
            if image is None:
                self._warm_up()
                started = time.perf_counter()
                image = self.prompt(view.pixels, view.mpp)
                setup += time.perf_counter() - started
            yield self._score(item, image, setup)

    def prompt(self, pixels: NDArray[np.uint8], mpp: float | None) -> PromptableImage:
        """Prepare an image for prompts, in the windows that were chosen.

        Args:
            pixels: uint8 ``(H, W, 3)`` RGB.
            mpp: um per px, or None.
        """
        if self._engine is not None:
            return self._engine.image(pixels, mpp)
        return WholeImage(self._model.segmenter, pixels, keep_parts=self.choices.keep_parts)

    def _kept(self, view: TileView) -> _TileResults:
        """Return places for the results of a view, those that are kept in theirs."""
        keys = {item.object_id: self._key(item) for item in view.objects}
        get = self._store.get if self._store is not None else lambda key, made_by: None
        return _TileResults(keys, {name: get(key, self._made_by) for name, key in keys.items()})

    def _take(self, of_tile: _TileResults, result: ObjectResult) -> None:
        of_tile.results[result.object_id] = result
        if self._store is not None:
            self._store.add(of_tile.keys[result.object_id], self._made_by, result)

    def _score(self, item: EvaluationObject, image: PromptableImage, setup_s: float) -> ObjectResult:
        scores = score_object(
            image,
            item.mask,
            self._protocol,
            capabilities=self._model.segmenter.capabilities,
            digest=item.digest,
        )
        return _result(item, scores, setup_s=setup_s, workers=self._workers)

    def _key(self, item: EvaluationObject) -> str:
        model = self._model
        return result_key(
            {
                "object": [item.dataset, item.image_id, item.object_id, item.group, item.mpp, item.digest],
                "model": [
                    *(model.spec.name, model.weights_sha256, model.segmenter.preprocessing_version),
                    *(model.spec.boxes_checked_by, model.spec.first_clicks_with),
                ],
                "execution": [model.device, model.precision, model.spec.default_mpp, asdict(model.spec.capabilities)],
                "protocol": [PROTOCOL_VERSION, self._protocol.as_json(), self.choices.window.value],
                "answers": self.choices.answers(),
            }
        )

    def _answering_modules(self) -> tuple[str, ...]:
        """Return the modules that decide about an answer, with all that they import."""
        windows = "engine_windows" if self._engine is not None else "sessions"
        names = ("evaluation.protocol", f"evaluation.{windows}", "models.load")
        return (type(self._model.segmenter).__module__, *(f"qupath_sam.{name}" for name in names))

    def _warm_up(self) -> None:
        """Make one throw-away click: the first call of a network pays for what later ones do not."""
        if not self._warm:
            self._warm = True
            blank = np.full((64, 64, 3), 255, dtype=np.uint8)
            self.prompt(blank, None).start().click((32.5, 32.5), Label.POSITIVE)


def describe(datasets: Sequence[Dataset], choices: Choices, *, split: str | None) -> dict[str, object]:
    """Return the choices beside the protocol's settings, as JSON values for the report."""
    return {
        "window": choices.window.value,
        **choices.answers(),
        "split": split or "all",
        "datasets": {d.name: _described(d, choices.selection(d)) for d in datasets},
    }


def _described(dataset: Dataset, selection: Selection) -> dict[str, object]:
    return {
        **asdict(selection),
        "kind": dataset.kind.value,
        "target": selection.target.value,
        "tiles": len(dataset.tiles),
        "groups": len(dataset.groups),
        "left_out": [asdict(each) for each in dataset.left_out],
    }


def _result(item: EvaluationObject, scores: ObjectScores, *, setup_s: float, workers: int) -> ObjectResult:
    run = scores.run
    return ObjectResult(
        dataset=item.dataset,
        image_id=item.image_id,
        object_id=item.object_id,
        group=item.group,
        area=int(np.count_nonzero(item.mask)),
        iou=run.iou,
        harm=run.harm,
        locality=run.locality,
        clicks=tuple((c.x, c.y, c.label.value) for c in run.clicks),
        click_ms=tuple(1000 * s for s in run.click_seconds),
        scores=run.scores,
        first_parts=run.first_parts,
        first_best_iou=run.first_best_iou,
        squares=run.squares,
        seconds=scores.seconds,
        setup_s=setup_s,
        workers=workers,
        box_iou=scores.box_iou,
        refine_gain=scores.refine_gain,
        jitter=scores.jitter,
    )
