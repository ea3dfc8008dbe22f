"""Original files are read by their own layouts; other files are refused with a reason."""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.dense import write_dense_head
from qupath_sam.models.sac.files import write_sac
from qupath_sam.models.spec import CLICK_FAMILIES, TRANSFORMERS_FAMILIES, Family
from qupath_sam.models.weights.checkpoints import METADATA_KEY, Layout, check_fits, guess_family, read_checkpoint
from tests.models.checkpoint_files import original_shapes, original_state, write

#: Families whose files hold a network of SAM's kind, and nothing that says which.
NETWORKS = [f for f in Family if f not in {Family.FAKE, *CLICK_FAMILIES, *TRANSFORMERS_FAMILIES}]


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


STATE = original_state(Family.LITE_MEDSAM)
LIGHTNING = {"epoch": 1, "pytorch-lightning_version": "2.1", "hyper_parameters": {"lr": 1e-4}, "optimizer_states": []}


def _under(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: tensor for key, tensor in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": _under("model."), **LIGHTNING},
        {"state_dict": _under("model.") | {"criterion.weight": torch.ones(2)}, **LIGHTNING},
        {"state_dict": _under("model._orig_mod."), **LIGHTNING},
        {"state_dict": _under("net.sam."), **LIGHTNING},
        {"model_state_dict": STATE, "epoch": 1, "optimizer_state_dict": {}},
        {"model": {}, "model_state_dict": STATE},
        {"model": {"state_dict": STATE}},
        {"state_dict": {"model": {"state_dict": STATE}}},
        {"checkpoint": {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "model": STATE}},
        {"net": _under("module.")},
        {"network": STATE},
        {"ema_weights": STATE, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
        {"module": _under("module.")},
        _under("module.model."),
        _under("_orig_mod."),
        _under("net."),
        _under("anything.else."),
        {key.replace("encoder.", "encoder.module."): tensor for key, tensor in STATE.items()},
        {key.replace("decoder.", "decoder._orig_mod."): tensor for key, tensor in STATE.items()},
        {
            "model": STATE,
            "best": np.float32(0.5),
            "count": np.int64(3),
            "options": argparse.Namespace(folder=Path("a")),
        },
    ],
    ids=lambda content: next(iter(content)),
)
def test_takes_off_what_trainers_wrap_round_a_network(tmp_path: Path, content: dict) -> None:
    checkpoint = read_checkpoint(write(content, tmp_path / "last.ckpt"))
    check_fits(checkpoint.tensors, Family.LITE_MEDSAM, where="file")
    assert guess_family(checkpoint.tensors) is Family.LITE_MEDSAM


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"state_dict": _under("teacher.") | _under("student.")}, "student, teacher"),
        ({"teacher": STATE, "student": STATE}, "student, teacher"),
        ({"model": {"teacher": STATE, "student": STATE}}, "model.student, model.teacher"),
        ({"last": {"teacher": {"state_dict": STATE}, "student": STATE}}, "last.student, last.teacher.state_dict"),
    ],
    ids=["prefixes", "dicts", "under a usual name", "under a name of its own"],
)
def test_several_networks_in_one_file_are_not_chosen_from(tmp_path: Path, content: dict, names: str) -> None:
    with pytest.raises(WrongWeights, match=rf"several networks \({re.escape(names)}\)"):
        read_checkpoint(write(content, tmp_path / "last.ckpt"))


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


def _zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x" * 100)
    return buffer.getvalue()


def _tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 375042383\n", "git-lfs pointer"),
        (b"<!DOCTYPE html><html><title>Virus scan\n warning</title></html>" * 50, r"web page \('Virus scan warning'\)"),
        (b"\xef\xbb\xbf\n <HTML><body>Log in", "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r"XML document \('AccessDenied'\)"),
        (b'{"data":{"error":"not found"}}', "JSON text"),
        (b'{\n "architectures": ["SamModel"]\n}', "JSON text"),
        (b"404: Not Found", r"text \('404: Not Found'\)"),
        ("Zugriff verweigert".encode("utf-16"), "text"),
        (gzip.compress(b"weights", mtime=0), "gzip"),
        (bz2.compress(b"weights"), "bzip2"),
        (lzma.compress(b"weights"), "xz"),
        (_zipped("model.pth"), r"ZIP archive \(model.pth\)"),
        (_zipped("arr_0.npy"), "NumPy archive"),
        (_tarred(), "tar archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"", "empty"),
    ],
)
def test_what_is_no_checkpoint_is_named_as_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(WrongWeights, match=said) as caught:
        read_checkpoint(path)
    assert "file.pth" in str(caught.value)
    assert "save" not in str(caught.value).lower()


def test_a_program_is_told_from_its_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "program.pt")
    with pytest.raises(WrongWeights, match="TorchScript"):
        read_checkpoint(tmp_path / "program.pt")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        read_checkpoint(tmp_path)


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


def test_other_files_of_ours_are_named_with_the_command_that_takes_them(tmp_path: Path) -> None:
    sac, dense = tmp_path / "sac.safetensors", tmp_path / "dense.safetensors"
    write_sac(sac, {"a": torch.zeros(1)}, None, {"base": "fake", "selection": "centroid", "most": None})
    write_dense_head(dense, {"a": torch.zeros(1)}, {"encoder_sha256": "0" * 64})
    for path, command in ((sac, "evaluate --automatic --sac"), (dense, "models add-dense")):
        with pytest.raises(WrongWeights, match=command):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "entry"), [("a", {"format": "delta", "box_decoder": "base"}), ("box_decoder.a", {"format": "full"})]
)
def test_refuses_a_second_decoder_for_boxes_of_earlier_versions(tmp_path: Path, key: str, entry: dict) -> None:
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(1)}, path, metadata={METADATA_KEY: json.dumps(entry)})
    with pytest.raises(WrongWeights, match="train the model again"):
        read_checkpoint(path)


def test_the_packaged_weights_have_the_keys_we_generate() -> None:
    """The generated files are like the one original that is at hand."""
    from qupath_sam.models.registry import BUILT_IN
    from qupath_sam.models.weights.store import ModelStore

    tensors = read_checkpoint(ModelStore().weights_path(BUILT_IN["lite_medsam"])).tensors
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == original_shapes(Family.LITE_MEDSAM)
