"""Original files are read by their own layouts; other files are refused with a reason."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.registry import Family
from qupath_sam.models.weights.checkpoints import METADATA_KEY, Layout, check_fits, guess_family, read_checkpoint
from tests.models.checkpoint_files import original_shapes, original_state, write

NETWORKS = [family for family in Family if family is not Family.FAKE]


@pytest.mark.parametrize("family", NETWORKS, ids=lambda family: family.value)
@pytest.mark.parametrize("layout", [Layout.FLAT, Layout.MODEL, Layout.MODEL_STATE, Layout.STATE_DICT])
def test_reads_what_the_makers_write(tmp_path: Path, family: Family, layout: Layout) -> None:
    prefix = {Layout.MODEL_STATE: "sam.", Layout.STATE_DICT: "module."}.get(layout, "")
    state = original_state(family, prefix=prefix)
    content = state if layout is Layout.FLAT else {layout.value: state, "epoch": 7, "decoder_state": {}}
    checkpoint = read_checkpoint(write(content, tmp_path / "Größe und Form.pth"))
    assert checkpoint.layout is layout
    assert checkpoint.metadata is None
    check_fits(checkpoint.tensors, family, where="file")


@pytest.mark.parametrize("family", [Family.LITE_MEDSAM, Family.MOBILE_SAM], ids=lambda family: family.value)
def test_reads_safetensors(tmp_path: Path, family: Family) -> None:
    path = tmp_path / "model.safetensors"
    save_file({key: tensor.clone() for key, tensor in original_state(family).items()}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.layout is Layout.SAFETENSORS
    check_fits(checkpoint.tensors, family, where="file")
    path.unlink()  # nothing keeps it open, or Windows would refuse


@pytest.mark.parametrize("family", NETWORKS, ids=lambda family: family.value)
def test_tells_families_apart(family: Family) -> None:
    network = Family.SAM_VIT_B if family is Family.MEDSAM_VIT_B else family
    assert guess_family(original_state(family)) is network


def test_says_which_family_would_fit() -> None:
    with pytest.raises(WrongWeights, match=r"this is a sam_vit_l checkpoint; use family sam_vit_l"):
        check_fits(original_state(Family.SAM_VIT_L), Family.SAM_VIT_B, where="file")


def test_names_the_first_keys_that_do_not_fit() -> None:
    state = original_state(Family.MEDSAM_VIT_B)
    del state["mask_decoder.iou_token.weight"]
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(5, 256)
    state["extra"] = torch.zeros(1)
    with pytest.raises(WrongWeights) as caught:
        check_fits(state, Family.MEDSAM_VIT_B, where="file.pth")
    message = str(caught.value)
    assert message.startswith("file.pth does not fit medsam_vit_b")
    assert "1 missing (mask_decoder.iou_token.weight)" in message
    assert "1 unexpected (extra)" in message
    assert "mask_decoder.mask_tokens.weight (5, 256) instead of (4, 256)" in message
    assert "this is a" not in message


def test_many_problems_are_counted() -> None:
    with pytest.raises(WrongWeights, match=r"image_encoder\.pos_embed, .* and \d+ more\)"):
        check_fits({"a": torch.zeros(1)}, Family.SAM_VIT_B, where="file")


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_refuses_a_file_that_would_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write({"model": original_state(Family.LITE_MEDSAM), "config": _RunsCode()}, tmp_path / "evil.pth")
    with pytest.raises(WrongWeights, match="could run code"):
        read_checkpoint(path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_RunsCode()))
    with pytest.raises(WrongWeights):
        read_checkpoint(tmp_path / "plain.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><html>Log in</html>", b"PK\x03\x04 not a zip", os.urandom(2000), b"\x80\x02."],
    ids=["empty", "html", "zip", "noise", "pickle"],
)
def test_refuses_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(WrongWeights, match=r"file\.pth"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_refuses_half_a_file(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"model.{suffix}"
    if suffix == "pth":
        write(original_state(Family.LITE_MEDSAM), path)
    else:
        save_file({"a": torch.zeros(100, 100), "b": torch.zeros(50)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WrongWeights, match="again"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [1, 2], {"model": {"a": 1}}])
def test_refuses_a_file_without_tensors(tmp_path: Path, content: object) -> None:
    with pytest.raises(WrongWeights):
        check_fits(read_checkpoint(write(content, tmp_path / "file.pth")).tensors, Family.LITE_MEDSAM, where="file.pth")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="check the path"):
        read_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("metadata", ["no json", "[]", "{}", json.dumps({"format": "later"})])
def test_refuses_metadata_it_does_not_know(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={METADATA_KEY: metadata})
    with pytest.raises(WrongWeights, match="update qupath-sam"):
        read_checkpoint(path)


def test_the_packaged_weights_have_the_keys_we_generate() -> None:
    """The generated files are like the one original that is at hand."""
    from qupath_sam.models.registry import BUILT_IN
    from qupath_sam.models.weights.store import ModelStore

    tensors = read_checkpoint(ModelStore().weights_path(BUILT_IN["lite_medsam"])).tensors
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == original_shapes(Family.LITE_MEDSAM)
