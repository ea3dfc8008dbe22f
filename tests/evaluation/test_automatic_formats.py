"""All objects of images in the published formats of nuclei, by command: by set and by organ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.datasets import open_dataset
from qupath_sam.polygons import trace_labels
from tests.datasets.test_datasets import IMAGESCOPE, imagescope_region
from tests.engine.region.scene import blobs
from tests.evaluation.pictures import save
from tests.evaluation.test_automatic import labels_of, model

SIDE = 256


def scene() -> tuple[np.ndarray, np.ndarray]:
    pixels = blobs(SIDE, SIDE, sizes=(16, 40))
    return pixels, labels_of(pixels)


def write_monuseg(root: Path, *patients: str) -> None:
    """Tissue images, and outlines as ImageScope has them."""
    pixels, labels = scene()
    outlines = trace_labels(labels).values()
    points = [[(float(x), float(y)) for x, y in each.geoms[0].exterior.coords] for each in map(_parts, outlines)]
    regions = "".join(imagescope_region(number, each) for number, each in enumerate(points, start=1))
    (root / "Annotations").mkdir(parents=True)
    for patient in patients:
        save(pixels, root / "Tissue Images" / f"TCGA-{patient}-01Z-00-DX1.tif")
        xml = root / "Annotations" / f"TCGA-{patient}-01Z-00-DX1.xml"
        xml.write_text(IMAGESCOPE.format(regions=regions), encoding="utf-8")


def write_dsb2018(root: Path) -> None:
    """RGBA, and one mask a nucleus."""
    pixels, labels = scene()
    opaque = np.full((*labels.shape, 1), 255, np.uint8)
    save(np.concatenate([pixels, opaque], axis=2), root / "a1" / "images" / "a1.png")
    for value in np.unique(labels[labels != 0]):
        save(((labels == value) * 255).astype(np.uint8), root / "a1" / "masks" / f"{value:04}.png")


def write_pannuke(root: Path) -> None:
    """Two patches of two tissues, each cell in one of two classes."""
    pixels, labels = scene()
    layers = np.zeros((2, SIDE, SIDE, 6))
    layers[..., 0] = np.where(labels % 2, labels, 0)
    layers[..., 3] = np.where(labels % 2, 0, labels)
    layers[..., 5] = labels == 0
    for part, name, array in (
        ("images", "images.npy", np.stack([pixels, pixels]).astype(np.float64)),
        ("images", "types.npy", np.array(["Breast", "Bile-duct"])),
        ("masks", "masks.npy", layers),
    ):
        (root / "Fold 1" / part / "fold1").mkdir(parents=True, exist_ok=True)
        np.save(root / "Fold 1" / part / "fold1" / name, array)


def write_index(root: Path) -> None:
    pixels, labels = scene()
    save(pixels, root / "a.png")
    Image.fromarray(labels.astype(np.uint16)).save(root / "labels.png")
    header, row = "image,instances,group,split,organ", "a.png,labels.png,case1,validation,Breast"
    (root / "index.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")


def test_published_formats_are_evaluated_by_set_and_by_organ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_monuseg(tmp_path / "monuseg", "A7-A13E", "RD-A8N9")
    write_dsb2018(tmp_path / "dsb2018")
    write_pannuke(tmp_path / "pannuke")
    write_index(tmp_path / "own")
    monkeypatch.setattr("qupath_sam.models.load.load_segmenter", lambda name, **_: model())
    sets = [str(tmp_path / name) for name in ("monuseg", "dsb2018", "pannuke", "own")]
    document, report = tmp_path / "table.md", tmp_path / "report.json"
    words = ["evaluate", *sets, "--model", "fake", "--automatic", "--effort", "fast", "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--markdown", str(document), "--json", str(report)])
    assert result.exit_code == 0, result.output
    content = json.loads(report.read_text())
    by_set, by_organ = (content[part]["fake, fast"] for part in ("results", "organs"))
    assert {name: summary["images"] for name, summary in by_set.items()} == {
        "monuseg": 2,
        "dsb2018": 1,
        "pannuke": 2,
        "own": 1,
    }
    assert all(summary["f1"]["mean"] > 0.9 and summary["dice"]["mean"] > 0.9 for summary in by_set.values())
    # Of three sets; DSB 2018 names no organ.
    assert {name: summary["images"] for name, summary in by_organ.items()} == {
        "breast": 3,
        "stomach": 1,
        "bile-duct": 1,
    }
    assert all(summary["pq"]["ci95"] is not None for summary in by_organ.values())
    text = document.read_text()
    assert "| Organ | images (groups), objects |" in text
    assert "| breast | 3 (3)," in text


def test_a_set_without_organs_has_no_table_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dsb2018(tmp_path / "dsb2018")
    monkeypatch.setattr("qupath_sam.models.load.load_segmenter", lambda name, **_: model())
    words = ["evaluate", str(tmp_path / "dsb2018"), "--model", "fake", "--automatic", "--effort", "fast"]
    result = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "Organ" not in result.output


def test_every_patient_of_monuseg_has_an_organ() -> None:
    from qupath_sam.datasets.monuseg import ORGANS

    assert len(ORGANS) == 30 + 14


def test_organs_of_one_set_are_read(tmp_path: Path) -> None:
    write_monuseg(tmp_path / "monuseg", "CH-5767", "ZZ-9999")
    organs = {tile.group: tile.organ for tile in open_dataset(str(tmp_path / "monuseg")).tiles}
    assert organs == {"TCGA-CH-5767": "prostate", "TCGA-ZZ-9999": ""}


def _parts(outline):
    import shapely

    return outline if isinstance(outline, shapely.MultiPolygon) else shapely.MultiPolygon([outline])
