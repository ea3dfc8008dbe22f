"""A checkpoint as a delta: the tensors that differ, what it has seen, and a refusal of another encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qupath_sam.datasets.seen import groups_seen_in
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.load import complete, load_weights
from qupath_sam.models.weights.checkpoints import METADATA_KEY, read_checkpoint
from qupath_sam.models.weights.store import ModelStore
from tools.delta import write_delta

BASE = "lite_medsam"
CHANGED = "mask_decoder.iou_token.weight"


def whole(path: Path, store: ModelStore, *, changed: str) -> dict[str, torch.Tensor]:
    """A whole checkpoint of ours that differs from the base in one tensor; returns its tensors."""
    tensors = {key: tensor.clone() for key, tensor in load_weights(store.find(BASE), store).tensors.items()}
    tensors[changed] += 1
    entry = {"format": "full", "family": "lite_medsam", "groups_seen": {"discs": ["one"]}}
    save_file(tensors, path, {METADATA_KEY: json.dumps(entry)})
    return tensors


def test_a_delta_holds_what_differs_and_gives_the_whole_again(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    file, delta = tmp_path / "whole.safetensors", tmp_path / "delta.safetensors"
    tensors = whole(file, store, changed=CHANGED)
    write_delta(file, BASE, delta, store)
    checkpoint = read_checkpoint(delta)
    assert set(checkpoint.tensors) == {CHANGED}
    assert checkpoint.metadata is not None
    assert (checkpoint.metadata.format, checkpoint.metadata.base) == ("delta", BASE)
    again = complete(checkpoint, delta, store)
    assert again.keys() == tensors.keys()
    torch.testing.assert_close(again[CHANGED], tensors[CHANGED], rtol=1e-3, atol=1e-3)
    assert groups_seen_in(delta, store) == {("discs", "one")}


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    file = tmp_path / "whole.safetensors"
    whole(file, store, changed="image_encoder.neck.0.weight")
    with pytest.raises(
        InvalidRequest, match="another image encoder than lite_medsam; train it with the encoder frozen"
    ):
        write_delta(file, BASE, tmp_path / "delta.safetensors", store)
    assert not (tmp_path / "delta.safetensors").exists()


def test_a_base_that_others_do_not_have_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home")
    file = tmp_path / "whole.safetensors"
    whole(file, store, changed=CHANGED)
    with pytest.raises(InvalidRequest, match="mine is not built in"):
        write_delta(file, "mine", tmp_path / "delta.safetensors", store)
