"""A dense head in the store: found by the encoder that it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from qupath_sam.cli.models import app
from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.dense import PACKAGED, add_dense_head, dense_head_path, encoder_digest, write_dense_head
from qupath_sam.models.load import load_segmenter, load_weights
from qupath_sam.models.weights.store import HOME_VARIABLE, ModelStore
from qupath_sam.networks.dense_head import DenseHead

ENCODER = {"image_encoder.a": torch.ones(3), "mask_decoder.b": torch.zeros(2)}


def head(path: Path, encoder_sha256: str) -> Path:
    torch.manual_seed(0)
    write_dense_head(path, DenseHead().state_dict(), {"encoder_sha256": encoder_sha256, "initial_model": "mine"})
    return path


def test_the_digest_is_of_the_encoder_alone_and_of_its_numbers() -> None:
    halves = {**ENCODER, "image_encoder.a": ENCODER["image_encoder.a"].half(), "mask_decoder.b": torch.ones(2)}
    assert encoder_digest(halves) == encoder_digest(ENCODER)
    assert encoder_digest({**ENCODER, "image_encoder.a": torch.zeros(3)}) != encoder_digest(ENCODER)


def test_an_added_head_is_found_by_its_encoder(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    assert dense_head_path(ENCODER, store) is None
    add_dense_head(head(tmp_path / "a.safetensors", "0" * 64), store)
    assert dense_head_path(ENCODER, store) is None
    kept = add_dense_head(head(tmp_path / "b.safetensors", encoder_digest(ENCODER)), store)
    assert dense_head_path(ENCODER, store) == kept
    named = head(tmp_path / "c.safetensors", encoder_digest(ENCODER))
    assert dense_head_path(ENCODER, store, named=named) == named


def test_a_named_head_of_another_encoder_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    with pytest.raises(WrongWeights, match="mine"):
        dense_head_path(ENCODER, store, named=head(tmp_path / "a.safetensors", "0" * 64))
    with pytest.raises(WeightsMissing, match="no file"):
        dense_head_path(ENCODER, store, named=tmp_path / "none.safetensors")


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
    assert loaded.dense is not None
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert loaded.dense(pixels, loaded.segmenter.embed(pixels)).shape == (3, 256, 256)
    assert load_segmenter("fake").dense is None


def test_a_packaged_head_belongs_to_the_default_model(tmp_path: Path) -> None:
    """Skipped where none ships."""
    import qupath_sam
    from qupath_sam.models.registry import DEFAULT_MODEL

    path = Path(qupath_sam.__file__).parent / PACKAGED
    if not path.is_file():
        pytest.skip("no dense head comes with this version")
    store = ModelStore(tmp_path / "home")
    assert dense_head_path(load_weights(store.find(DEFAULT_MODEL), store).tensors, store) == path
    assert path.stat().st_size < 3_000_000
