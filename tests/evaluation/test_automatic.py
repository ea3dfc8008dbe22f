"""All objects of an image, through the engine: a stand-in head that sees blobs as they are gets full marks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.datasets.base import Dataset
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest, UnsupportedPrompting
from qupath_sam.evaluation.automatic import AutomaticChoices, AutomaticEvaluation, painted
from qupath_sam.models.base import Embedding
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.training.dense.targets import dense_targets
from qupath_sam.types.choices import Effort, ObjectKind
from qupath_sam.types.region_results import RegionObject
from qupath_sam.types.results import Outline
from tests.engine.region.scene import blobs


class SeesBlobs:
    """In the place of `DenseMaps`: the maps of what is purple, for objects of the size that a head is made for."""

    sha256 = "5ee5" * 16
    objects = ObjectKind.NUCLEI
    scale = DENSE_SCALES[ObjectKind.NUCLEI]

    def __call__(self, pixels: np.ndarray, embedding: Embedding) -> np.ndarray:
        assert embedding.window_size == pixels.shape[:2]
        labels, count = ndimage.label(pixels[..., 1] < 148)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        right = (areas > 60) & (areas < 9000)
        right[0] = False
        return dense_targets(np.where(right[labels], labels, 0))


def model() -> LoadedModel:
    return replace(load_segmenter("fake"), dense={ObjectKind.NUCLEI: SeesBlobs()})  # type: ignore[dict-item]


@pytest.fixture
def evaluation() -> Iterator[AutomaticEvaluation]:
    with closing(AutomaticEvaluation(model(), AutomaticChoices(Effort.FAST))) as made:
        yield made


def labels_of(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.label(pixels[..., 1] < 128)[0], np.int32)


def tile(pixels: np.ndarray, *, mpp: float | None = 0.25) -> Tile:
    return Tile("blobs", "a", "case", "validation", mpp, lambda: pixels, lambda: labels_of(pixels))


def test_every_object_of_an_image_of_many_tiles_is_found_once(evaluation: AutomaticEvaluation) -> None:
    result = evaluation.score(tile(blobs(700, 500, sizes=(16, 40))))
    assert result.true_objects > 60
    assert result.scores.dq > 0.97
    assert result.scores.aji > 0.93
    assert result.downsample == 1.0


@pytest.mark.parametrize("size", [9, 26, 90])
def test_without_a_pixel_size_the_objects_say_the_scale(evaluation: AutomaticEvaluation, size: int) -> None:
    side = min(30 * size, 700)
    result = evaluation.score(tile(blobs(side, side - 50, sizes=(round(0.8 * size), round(1.2 * size))), mpp=None))
    assert size / result.downsample == pytest.approx(26, rel=0.6)
    assert result.scores.dq > 0.8


def test_an_image_of_nothing_is_no_mistake(evaluation: AutomaticEvaluation) -> None:
    white = np.full((300, 300, 3), 255, np.uint8)
    for mpp in (None, 0.25):
        result = evaluation.score(tile(white, mpp=mpp))
        assert result.found_objects == 0
        assert result.scores.pq == 1


def test_a_model_without_a_dense_head_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="--method dense"):
        AutomaticEvaluation(load_segmenter("fake"), AutomaticChoices())


def test_labels_of_another_size_are_refused(evaluation: AutomaticEvaluation) -> None:
    wrong = Tile("a", "b", "c", None, None, lambda: np.zeros((9, 9, 3), np.uint8), lambda: np.zeros((8, 9), int))
    with pytest.raises(InvalidRequest, match="same pixels"):
        evaluation.score(wrong)


def test_where_objects_overlap_the_surer_one_has_the_pixel() -> None:
    from shapely.geometry import box

    boxes = [(box(0, 0, 6, 6), 0.9), (box(4, 4, 10, 10), 0.6)]
    objects = [
        RegionObject(number, Outline(shape, score, shape.area, None), (0, 0))
        for number, (shape, score) in enumerate(boxes)
    ]
    labels = painted(objects, (10, 10))
    assert labels[5, 5] == labels[0, 0] != labels[9, 9]
    assert not painted([], (4, 4)).any()


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = blobs(256, 256, sizes=(16, 40))
    folder = tmp_path / "purple"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "images" / "a.png")
    Image.fromarray(labels_of(pixels).astype(np.uint16)).save(folder / "masks" / "a.png")
    given: dict[str, Any] = {}

    def load(name: str, *, device: str, dense: Path | None) -> LoadedModel:
        given.update(name=name, dense=dense)
        return model()

    monkeypatch.setattr("qupath_sam.models.load.load_segmenter", load)
    document, report = tmp_path / "table.md", tmp_path / "report.json"
    words = ["evaluate", str(folder), "--model", "fake", "--automatic", "--effort", "fast", "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--markdown", str(document), "--json", str(report)])
    assert result.exit_code == 0, result.output
    figures = json.loads(report.read_text())["results"]["fake, fast"]["purple"]
    assert figures["f1"]["mean"] > 0.9
    text = document.read_text()
    assert "<!-- begin: qupath-sam evaluate --automatic, table -->" in text
    assert "| purple | 1 (1)," in text
    assert "--automatic" in text.splitlines()[-2]
    refused = CliRunner().invoke(app, [*words, "--max-clicks", "3"])
    assert refused.exit_code != 0
    assert "--max-clicks" in str(refused.exception or refused.output)
    refused = CliRunner().invoke(app, ["evaluate", str(folder), "--model", "fake", "--effort", "fast"])
    assert "--effort" in str(refused.exception or refused.output)


class SeesGlands(SeesBlobs):
    """The same of a head for glands."""

    objects = ObjectKind.GLANDS
    scale = DENSE_SCALES[ObjectKind.GLANDS]


@pytest.mark.parametrize("side", [200, 700])
def test_no_tile_is_wider_than_an_image_of_glands(side: int) -> None:
    loaded = replace(load_segmenter("fake"), dense={ObjectKind.GLANDS: SeesGlands()})  # type: ignore[dict-item]
    with closing(AutomaticEvaluation(loaded, AutomaticChoices(Effort.FAST))) as evaluation:
        _, downsample = evaluation.find(blobs(side, side, sizes=(60, 80)), None, ObjectKind.GLANDS)
    assert 0 < downsample <= side / loaded.segmenter.capabilities.input_size


def test_automatic_prompts_are_refused_where_a_model_has_none() -> None:
    from qupath_sam.engine.region.proposers import prompting_of, proposer_of
    from qupath_sam.slides.pushed import PushedReader
    from qupath_sam.types.region_requests import Prompting, RegionRequest

    info = PushedReader.of_image(np.zeros((9, 9, 3), np.uint8), None).info
    assert prompting_of(load_segmenter("fake"), RegionRequest()) is Prompting.GRID
    assert prompting_of(model(), RegionRequest()) is Prompting.AUTOMATIC
    assert prompting_of(model(), RegionRequest(objects=ObjectKind.GLANDS)) is Prompting.GRID
    with pytest.raises(UnsupportedPrompting, match="add-dense"):
        proposer_of(load_segmenter("fake"), RegionRequest(prompting=Prompting.AUTOMATIC), info, downsample=1.0)
    glands = RegionRequest(prompting=Prompting.AUTOMATIC, objects=ObjectKind.GLANDS)
    with pytest.raises(UnsupportedPrompting, match="glands"):
        proposer_of(model(), glands, info, downsample=1.0)


def test_datasets_are_run_in_their_order(evaluation: AutomaticEvaluation) -> None:
    one, other = (Dataset(name, (tile(blobs(256, 256, sizes=(20, 30))),)) for name in ("one", "other"))
    seen: list[str] = []
    results = list(evaluation.run([one, other], on_image=lambda result: seen.append(result.image_id)))
    assert len(results) == len(seen) == 2
