"""A dense head in the store: found by the encoder that it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from qupath_sam.cli.models import app
from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.dense import (
    PACKAGED,
    DenseMaps,
    add_dense_head,
    dense_head_paths,
    encoder_digest,
    read_dense_head,
    write_dense_head,
)
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.load import load_segmenter, load_weights
from qupath_sam.models.weights.store import HOME_VARIABLE, ModelStore
from qupath_sam.networks.dense_head import DenseHead
from qupath_sam.types.choices import ObjectKind

ENCODER = {"image_encoder.a": torch.ones(3), "mask_decoder.b": torch.zeros(2)}


def head(path: Path, encoder_sha256: str, **entry: str) -> Path:
    torch.manual_seed(0)
    entry = {"encoder_sha256": encoder_sha256, "initial_model": "mine", **entry}
    write_dense_head(path, DenseHead().state_dict(), entry)
    return path


def test_the_digest_is_of_the_encoder_alone_and_of_its_numbers() -> None:
    halves = {**ENCODER, "image_encoder.a": ENCODER["image_encoder.a"].half(), "mask_decoder.b": torch.ones(2)}
    assert encoder_digest(halves) == encoder_digest(ENCODER)
    assert encoder_digest({**ENCODER, "image_encoder.a": torch.zeros(3)}) != encoder_digest(ENCODER)


def test_an_added_head_is_found_by_its_encoder(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    assert dense_head_paths(ENCODER, store) == {}
    add_dense_head(head(tmp_path / "a.safetensors", "0" * 64), store)
    assert dense_head_paths(ENCODER, store) == {}
    kept = add_dense_head(head(tmp_path / "b.safetensors", encoder_digest(ENCODER)), store)
    assert dense_head_paths(ENCODER, store) == {ObjectKind.NUCLEI: kept}
    named = head(tmp_path / "c.safetensors", encoder_digest(ENCODER))
    assert dense_head_paths(ENCODER, store, named=named) == {ObjectKind.NUCLEI: named}


def test_an_encoder_has_one_head_for_each_kind_of_object(tmp_path: Path) -> None:
    store, digest = ModelStore(tmp_path / "home"), encoder_digest(ENCODER)
    nuclei = add_dense_head(head(tmp_path / "a.safetensors", digest, objects="nuclei"), store)
    glands = add_dense_head(head(tmp_path / "b.safetensors", digest, objects="glands"), store)
    assert dense_head_paths(ENCODER, store) == {ObjectKind.NUCLEI: nuclei, ObjectKind.GLANDS: glands}
    assert DenseMaps(read_dense_head(glands), choose_execution("cpu")).scale == DENSE_SCALES[ObjectKind.GLANDS]
    with pytest.raises(WrongWeights, match="'vessels'"):
        add_dense_head(head(tmp_path / "c.safetensors", digest, objects="vessels"), store)


def test_a_named_head_of_another_encoder_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    with pytest.raises(WrongWeights, match="mine"):
        dense_head_paths(ENCODER, store, named=head(tmp_path / "a.safetensors", "0" * 64))
    with pytest.raises(WeightsMissing, match="no file"):
        dense_head_paths(ENCODER, store, named=tmp_path / "none.safetensors")


def test_what_is_no_head_is_not_added(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(WrongWeights):
        add_dense_head(tmp_path / "a.safetensors", store)
    with pytest.raises(WeightsMissing):
        add_dense_head(tmp_path / "none.safetensors", store)
    assert not (tmp_path / "home").exists()


def test_a_loaded_model_has_the_head_of_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(tmp_path / "home")
    monkeypatch.setenv(HOME_VARIABLE, str(store.home))
    digest = encoder_digest(load_weights(store.find("lite_medsam"), store).tensors)
    result = CliRunner().invoke(app, ["add-dense", str(head(tmp_path / "a.safetensors", digest))])
    assert result.exit_code == 0, result.output
    loaded = load_segmenter("lite_medsam", device="cpu")
    assert ObjectKind.NUCLEI in loaded.dense
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert loaded.dense[ObjectKind.NUCLEI](pixels, loaded.segmenter.embed(pixels)).shape == (3, 256, 256)
    assert load_segmenter("fake").dense == {}


@pytest.mark.parametrize("objects", list(PACKAGED))
def test_a_packaged_head_belongs_to_the_default_model(objects: ObjectKind, tmp_path: Path) -> None:
    """Skipped where none ships."""
    import qupath_sam
    from qupath_sam.models.registry import DEFAULT_MODEL

    path = Path(qupath_sam.__file__).parent / PACKAGED[objects]
    if not path.is_file():
        pytest.skip("no dense head comes with this version")
    store = ModelStore(tmp_path / "home")
    assert dense_head_paths(load_weights(store.find(DEFAULT_MODEL), store).tensors, store)[objects] == path
    assert path.stat().st_size < 3_000_000
