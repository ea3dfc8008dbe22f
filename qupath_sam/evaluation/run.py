"""The evaluation itself: every model, every object, one result each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qupath_sam.evaluation.datasets.base import Dataset
from qupath_sam.evaluation.objects import EvaluationObject, Selection, Tile, TileView
from qupath_sam.evaluation.options import Target, WindowChoice
from qupath_sam.evaluation.own_windows import OwnWindowsEngine
from qupath_sam.evaluation.protocol import PROTOCOL_VERSION, ObjectScores, Protocol, score_object
from qupath_sam.evaluation.results import ObjectResult, ResultStore, result_key
from qupath_sam.evaluation.sessions import PromptableImage, WholeImage, check_clickable
from qupath_sam.models.load import LoadedModel
from qupath_sam.prompts import Label


@dataclass(frozen=True, slots=True)
class Choices:
    """What the caller chose; None takes what the data set says of itself.

    Attributes:
        window: which pixels the model is shown.
        per_tile: at most this many objects of a tile.
        target: what counts as one object.
        min_area: px of the smallest object.
        crop: side of the top-left square that is shown, px; 0 shows whole tiles.
        seed: of the draw of objects.
    """

    window: WindowChoice = WindowChoice.IMAGE
    per_tile: int | None = None
    target: Target | None = None
    min_area: int | None = None
    crop: int | None = None
    seed: int = 0

    def selection(self, dataset: Dataset) -> Selection:
        """What is shown and scored of the tiles of a data set; the engine's own windows get whole tiles."""
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


class Evaluation:
    """One model on data sets, object by object. A context manager: the engine's thread ends with it.

    Args:
        model: loaded and able to take clicks.
        protocol: its settings.
        choices: of the caller.
        store: where results are kept and looked up; None keeps nothing.

    Raises:
        UnsupportedPrompt: the model takes no clicks.
    """

    def __init__(
        self, model: LoadedModel, *, protocol: Protocol, choices: Choices, store: ResultStore | None = None
    ) -> None:
        check_clickable(model.segmenter, model.spec.name)
        self._model = model
        self._protocol = protocol
        self.choices = choices
        self._store = store
        self._warm = False
        self._engine = OwnWindowsEngine(model) if choices.window is WindowChoice.AUTO else None

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
        self, datasets: Sequence[Dataset], *, on_tile: Callable[[int], None] = lambda objects: None
    ) -> list[ObjectResult]:
        """Results of all objects of the data sets, in their order.

        Args:
            datasets: to evaluate.
            on_tile: called after each tile with the number of its objects.
        """
        results: list[ObjectResult] = []
        for dataset in datasets:
            selection = self.choices.selection(dataset)
            for tile in dataset.tiles:
                of_tile = self._run_tile(tile, selection)
                results += of_tile
                on_tile(len(of_tile))
        return results

    def prompt(self, pixels: NDArray[np.uint8], mpp: float | None) -> PromptableImage:
        """An image that is ready for prompts, in the windows that were chosen.

        Args:
            pixels: uint8 ``(H, W, 3)`` RGB.
            mpp: um per px, or None.
        """
        if self._engine is not None:
            return self._engine.image(pixels, mpp)
        return WholeImage(self._model.segmenter, pixels)

    def _run_tile(self, tile: Tile, selection: Selection) -> list[ObjectResult]:
        self._warm_up()
        started = time.perf_counter()
        view = selection.view(tile)
        reading = time.perf_counter() - started
        results: list[ObjectResult] = []
        image: PromptableImage | None = None
        for item in view.objects:
            key = self._key(item)
            result = self._store.get(key) if self._store is not None else None
            if result is None:
                setup = 0.0
                if image is None:
                    image, encoding = self._encode(view)
                    setup = reading + encoding
                result = self._score(item, image, setup)
                if self._store is not None:
                    self._store.add(key, result)
            results.append(result)
        return results

    def _encode(self, view: TileView) -> tuple[PromptableImage, float]:
        started = time.perf_counter()
        image = self.prompt(view.pixels, view.mpp)
        return image, time.perf_counter() - started

    def _score(self, item: EvaluationObject, image: PromptableImage, setup_seconds: float) -> ObjectResult:
        scores = score_object(
            image,
            item.mask,
            self._protocol,
            capabilities=self._model.segmenter.capabilities,
            digest=item.digest,
        )
        return _result(item, scores, setup_seconds)

    def _key(self, item: EvaluationObject) -> str:
        model = self._model
        return result_key(
            {
                "object": [item.dataset, item.image_id, item.object_id, item.group, item.mpp, item.digest],
                "model": [model.spec.name, model.weights_sha256, model.segmenter.preprocessing_version],
                "execution": [model.device, model.precision, model.spec.default_mpp, asdict(model.spec.capabilities)],
                "protocol": [PROTOCOL_VERSION, asdict(self._protocol), self.choices.window.value],
            }
        )

    def _warm_up(self) -> None:
        """One throw-away click: the first call of a network pays for what later ones do not."""
        if not self._warm:
            self._warm = True
            blank = np.full((64, 64, 3), 255, dtype=np.uint8)
            self.prompt(blank, None).start().click((32.5, 32.5), Label.POSITIVE)


def describe(datasets: Sequence[Dataset], choices: Choices, *, split: str | None) -> dict[str, object]:
    """What was chosen beside the protocol's settings, as JSON values for the report."""
    return {
        "window": choices.window.value,
        "split": split or "all",
        "datasets": {
            d.name: {**_json(choices.selection(d)), "tiles": len(d.tiles), "groups": len(d.groups)} for d in datasets
        },
    }


def _json(selection: Selection) -> dict[str, object]:
    return {**asdict(selection), "target": selection.target.value}


def _result(item: EvaluationObject, scores: ObjectScores, setup_seconds: float) -> ObjectResult:
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
        seconds=scores.seconds + setup_seconds,
        box_iou=scores.box_iou,
        refine_gain=scores.refine_gain,
        jitter=scores.jitter,
    )
