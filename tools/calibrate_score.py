"""Fit the mask decoder's score to the IoU of the answers on training groups, and write the checkpoint again.

The decoder learns its score beside the masks, on augmented views and hard targets, so it is too low on plain tissue. A
line ``IoU = gain * score + offset``, fitted by least squares over simulated clicks, goes into the last layer of the
score's head: nothing else of the answers changes, and the order of several masks stays as it is where the gain is
positive. Groups of the split ``train`` are used, which the model has seen; so the score stays a little too high on new
tissue.

Usage: python -m tools.calibrate_score CHECKPOINT DATASET... --out calibrated.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.options import WindowChoice
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.evaluation.protocol import Protocol, run_clicks
from qupath_sam.evaluation.run import Choices, Evaluation
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore

_LAST_LAYER = "mask_decoder.iou_prediction_head.layers.2"


def scores_and_ious(
    checkpoint: Path, datasets: Sequence[str], *, images: int, clicks: int, window: WindowChoice
) -> tuple[list[float], list[float]]:
    """Return the model's score and the IoU of each answer to clicks on objects of training groups.

    Args:
        checkpoint: whole weights, as `qupath-sam train` writes them.
        datasets: as `qupath_sam.datasets.open_dataset` takes them.
        images: at most so many of each, two objects of each image.
        clicks: on each object.
        window: whole images or engine windows.
    """
    scores: list[float] = []
    ious: list[float] = []
    choices = Choices(window=window, per_tile=2, seed=1)
    with TemporaryDirectory() as folder:
        store = ModelStore(Path(folder))
        add("to_calibrate", checkpoint, store, copy=False)
        model = load_segmenter("to_calibrate", home=store.home)
        with Evaluation(model, protocol=Protocol(), choices=choices) as evaluation:
            for text in datasets:
                dataset = open_dataset(text).of_split("train").drawn(images, seed=1)
                selection = choices.selection(dataset)
                for tile in dataset.tiles:
                    view = selection.view(tile)
                    image = evaluation.prompt(view.pixels, view.mpp) if view.objects else None
                    for item in view.objects if image is not None else ():
                        run = run_clicks(image.start(), item.mask, max_clicks=clicks)
                        for score, iou in zip(run.scores, run.iou, strict=False):
                            if score is not None:
                                scores.append(score)
                                ious.append(iou)
    if len(set(scores)) < 2:
        raise InvalidRequest("too few answers to fit a line; give more data sets or --images")
    return scores, ious


def calibrate(checkpoint: Path, out: Path, *, gain: float, offset: float) -> None:
    """Write the checkpoint with ``gain * score + offset`` as its score.

    Args:
        checkpoint: safetensors with a whole SAM mask decoder; its metadata go along.
        out: to write.
        gain, offset: the line.

    Raises:
        InvalidRequest: the gain is not positive, so that the order of several masks would be turned round.
    """
    if gain <= 0:
        raise InvalidRequest(
            f"the score does not rise with the IoU (gain {gain:.3f}); train the score's head for longer"
        )
    tensors = load_file(checkpoint)
    for name, shift in (("weight", 0.0), ("bias", offset)):
        tensor = tensors[f"{_LAST_LAYER}.{name}"]
        tensors[f"{_LAST_LAYER}.{name}"] = (tensor.float() * gain + shift).to(tensor.dtype)
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, out, metadata)


def main() -> int:
    """Fit and write; print the line and how far the score was and is off, on average."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--window", type=WindowChoice, default=WindowChoice.IMAGE)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    try:
        scores, ious = scores_and_ious(
            asked.checkpoint, asked.datasets, images=asked.images, clicks=asked.clicks, window=asked.window
        )
        gain, offset = np.polyfit(scores, ious, 1)
        calibrate(asked.checkpoint, asked.out, gain=float(gain), offset=float(offset))
    except QupathSamError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    before = np.abs(np.subtract(ious, scores)).mean()
    after = np.abs(np.subtract(ious, np.clip(gain * np.asarray(scores) + offset, 0, 1))).mean()
    line = f"IoU = {gain:.3f} * score + {offset:.3f} over {len(ious)} answers"
    sys.stdout.write(f"{line}; off by {before:.3f} before, {after:.3f} now\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
