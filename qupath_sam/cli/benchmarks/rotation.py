"""``qupath-sam bench rotation``: whether a click in a rotated or mirrored picture gives the same outline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.datasets.seen import check_unseen, groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.rotation import agreement_of_views
from qupath_sam.evaluation.run import Choices, Evaluation
from qupath_sam.machine.description import Json, report
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.models.weights.store import ModelStore


def run(
    datasets: Sequence[str],
    *,
    model: str = "",
    split: str = "validation",
    images: int = 8,
    objects_per_image: int = 2,
    window: WindowChoice = WindowChoice.AUTO,
    seed: int = 0,
    device: str = "auto",
    on_image: Callable[[], None] = lambda: None,
) -> Json:
    """Click objects once in each of eight views.

    Args:
        datasets: as `qupath_sam.datasets.open_dataset` takes them.
        model: empty takes the default.
        split: of data sets that name splits; "all" takes every tile.
        images: at most so many of each data set, drawn by the seed.
        objects_per_image: at most so many of an image, drawn by the seed.
        window: engine windows, or the whole image as one.
        seed: of all that is drawn.
        device: auto, cpu, cuda, cuda:1 or mps.
        on_image: called after each image.

    Returns:
        ``settings`` and ``datasets.<name>.{objects, iou_of_views, iou_of_views_worst}``.

    Raises:
        InvalidRequest: the model has seen a group, or a data set holds no object of the wanted size.
        ModelError: the model cannot be loaded.
    """
    model = model or DEFAULT_MODEL
    opened = [
        open_dataset(text).of_split(None if split == "all" else split).drawn(images, seed=seed) for text in datasets
    ]
    check_unseen(model, groups_seen(ModelStore().find(model), ModelStore()), opened)
    choices = Choices(window=window, per_tile=objects_per_image, seed=seed)
    found: dict[str, object] = {}
    with Evaluation(load_segmenter(model, device=device), protocol=Protocol(), choices=choices) as evaluation:
        for dataset in opened:
            selection = choices.selection(dataset)
            values: list[float] = []
            for tile in dataset.tiles:
                view = selection.view(tile)
                if view.objects:
                    mpp = view.mpp
                    values += agreement_of_views(
                        lambda pixels, mpp=mpp: evaluation.prompt(pixels, mpp),  # type: ignore[misc]
                        view.pixels,
                        [item.mask for item in view.objects],
                    )
                on_image()
            if not values:
                raise InvalidRequest(f"{dataset.name} holds no object of the wanted size; take more --images")
            found[dataset.name] = {
                "objects": len(values),
                "iou_of_views": round(fmean(values), 3),
                "iou_of_views_worst": round(min(values), 3),
            }
    settings: Json = {"model": model, "split": split, "images": images, "objects_per_image": objects_per_image}
    return report("bench-rotation", {"settings": settings | {"window": window.value, "seed": seed}, "datasets": found})
