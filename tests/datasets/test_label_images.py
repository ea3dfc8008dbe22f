"""Label images and masks as people save them: with alpha, in colour, as JPEG, with smooth edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from qupath_sam.datasets.dsb2018 import read_nuclei
from qupath_sam.datasets.label_images import read_components, read_labels
from qupath_sam.errors import InvalidRequest
from tests.evaluation.pictures import save, two_discs

LABELS = two_discs().astype(np.uint8)
MASK = ((LABELS > 0) * 255).astype(np.uint8)


def numbers(labels: np.ndarray) -> list[int]:
    return sorted(np.unique(labels).tolist())


def saved(image: Image.Image, path: Path, **options: int) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [50, 90])
def test_a_mask_saved_as_jpeg_is_a_mask(tmp_path, mode, quality) -> None:
    image = Image.fromarray(MASK).convert(mode)
    path = saved(image, tmp_path / "a.jpg", quality=quality)
    assert len(np.unique(np.asarray(Image.open(path)))) > 10, "as JPEG has it"
    as_png = saved(Image.open(path), tmp_path / "a.png")
    for each in (path, as_png):
        labels = read_components(each)
        assert numbers(labels) == [0, 1, 2]
        assert ((labels > 0) != (MASK > 0)).mean() < 0.005


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_labels_saved_as_jpeg_are_refused(tmp_path, mode) -> None:
    path = saved(Image.fromarray(LABELS * 40).convert(mode), tmp_path / "a.jpg", quality=90)
    with pytest.raises(InvalidRequest, match="labels as PNG or TIFF"):
        read_labels(path)


@pytest.mark.parametrize(
    "smoothed",
    [
        lambda image: image.resize((96, 96), Image.Resampling.BILINEAR),
        lambda image: image.resize((40, 40), Image.Resampling.LANCZOS),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    ],
    ids=["enlarged", "made smaller", "blurred"],
)
def test_a_mask_with_smooth_edges_is_a_mask(tmp_path, smoothed) -> None:
    image = smoothed(Image.fromarray(MASK))
    labels = read_components(saved(image, tmp_path / "a.png"))
    assert numbers(labels) == [0, 1, 2]
    assert np.array_equal(labels > 0, np.asarray(image) > 127)


@pytest.mark.parametrize("values", [(1, 2), (1, 255), (254, 255), (128, 255), (85, 170)])
def test_a_label_image_stays_one_whatever_its_numbers(tmp_path, values) -> None:
    labels = np.array([0, *values], np.uint8)[LABELS]
    save(labels, tmp_path / "a.png")
    assert np.array_equal(read_components(tmp_path / "a.png"), labels)


def test_255_small_objects_stay_255(tmp_path) -> None:
    labels = np.zeros((160, 160), np.uint8)
    for number in range(255):
        row, column = divmod(number, 16)
        labels[row * 10 : row * 10 + 6, column * 10 : column * 10 + 6] = number + 1
    save(labels, tmp_path / "a.png")
    assert np.array_equal(read_components(tmp_path / "a.png"), labels)


def test_alpha_is_no_foreground(tmp_path) -> None:
    opaque = np.full(LABELS.shape, 255, np.uint8)
    for name, channels in (("grey", (LABELS, opaque)), ("colour", (MASK, MASK, MASK, opaque))):
        save(np.dstack(channels), tmp_path / name / "a.png")
        labels = read_labels(tmp_path / name / "a.png")
        assert np.array_equal(labels > 0, LABELS > 0)
        assert np.array_equal(read_components(tmp_path / name / "a.png") > 0, LABELS > 0)
        assert np.array_equal(read_nuclei(tmp_path / name) > 0, LABELS > 0)
    assert numbers(read_labels(tmp_path / "grey" / "a.png")) == [0, 1, 2]


def test_colours_are_no_labels(tmp_path) -> None:
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    save(palette[LABELS], tmp_path / "a.png")
    with pytest.raises(InvalidRequest, match=r"a\.png tells objects by 3 colours; save one number an object"):
        read_labels(tmp_path / "a.png")
    assert np.array_equal(read_components(tmp_path / "a.png"), ndimage.label(LABELS)[0])
    save(palette[(LABELS > 0).astype(int)], tmp_path / "two.png")
    assert np.array_equal(read_labels(tmp_path / "two.png"), LABELS > 0)


def test_numbers_of_a_palette_are_labels(tmp_path) -> None:
    image = Image.fromarray(LABELS).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.putdata(LABELS.ravel().tolist())
    assert np.array_equal(read_labels(saved(image, tmp_path / "a.png")), LABELS)
