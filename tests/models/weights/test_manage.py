"""Pull, add, remove, verify: on generated files, a server on this machine and a home of the test's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qupath_sam.errors import InvalidRequest, UnknownModel, WeightsMissing, WrongWeights
from qupath_sam.models.load import load_weights
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import Family, LocalWeights, WeightsFile
from qupath_sam.models.weights.checkpoints import Layout
from qupath_sam.models.weights.manage import Description, add, pull, remove, verify
from qupath_sam.models.weights.store import ModelStore
from tests.models.checkpoint_files import original_state, write
from tests.models.file_server import ServedFile, serving


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


@pytest.fixture(scope="module")
def mobile_sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(original_state(Family.MOBILE_SAM), tmp_path_factory.mktemp("published") / "mobile_sam.pt")


@contextmanager
def published(
    monkeypatch: pytest.MonkeyPatch, content: bytes, *, name: str = "mobile_sam", digest_known: bool = True
) -> Iterator[ServedFile]:
    """As if the model's authors kept this content at a URL of their own."""
    file = ServedFile(content)
    with serving(file) as url:
        weights = WeightsFile(
            url,
            file_name=f"{name}.pt",
            size_bytes=len(content) if digest_known else None,
            sha256=hashlib.sha256(content).hexdigest() if digest_known else None,
        )
        monkeypatch.setitem(BUILT_IN, name, replace(BUILT_IN[name], weights=weights))
        yield file


@pytest.mark.parametrize("digest_known", [True, False])
def test_pulled_weights_are_ready(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, mobile_sam_file: Path, digest_known: bool
) -> None:
    content = mobile_sam_file.read_bytes()
    with published(monkeypatch, content, digest_known=digest_known) as file:
        assert not store.is_present(store.find("mobile_sam"))
        path = pull(store.find("mobile_sam"), store)
        assert path.read_bytes() == content
        spec = store.find("mobile_sam")
        assert store.is_present(spec)
        assert isinstance(spec.weights, WeightsFile)
        assert spec.weights.sha256 == hashlib.sha256(content).hexdigest()
        assert pull(spec, store) == path  # not downloaded again
        assert len(file.requests) == 1
        assert verify(spec, store).layout is Layout.FLAT


def test_what_was_pulled_first_is_what_it_is_held_to(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, mobile_sam_file: Path
) -> None:
    with published(monkeypatch, mobile_sam_file.read_bytes(), digest_known=False):
        path = pull(store.find("mobile_sam"), store)
        state = original_state(Family.MOBILE_SAM)
        state["mask_decoder.iou_token.weight"] = torch.ones(1, 256)
        write(state, path)
        with pytest.raises(WrongWeights, match="is not the file that mobile_sam was registered with"):
            verify(store.find("mobile_sam"), store)


def test_a_page_instead_of_weights_is_not_kept(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        published(monkeypatch, b"<html>Please log in</html>", digest_known=False),
        pytest.raises(WrongWeights, match="a web page"),
    ):
        pull(store.find("mobile_sam"), store)
    assert not store.is_present(store.find("mobile_sam"))


def test_weights_of_another_model_are_not_kept(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, mobile_sam_file: Path
) -> None:
    with (
        published(monkeypatch, mobile_sam_file.read_bytes(), name="sam_vit_b"),
        pytest.raises(WrongWeights, match="this is a mobile_sam checkpoint"),
    ):
        pull(store.find("sam_vit_b"), store)
    assert not store.is_present(store.find("sam_vit_b"))


@pytest.mark.parametrize("name", ["lite_medsam", "fake"])
def test_only_downloads_are_pulled_and_removed(store: ModelStore, name: str) -> None:
    with pytest.raises(InvalidRequest):
        pull(store.find(name), store)
    with pytest.raises(InvalidRequest, match="pip"):
        remove(name, store)


@pytest.mark.parametrize("copy", [True, False])
def test_added_weights_are_a_model(store: ModelStore, mobile_sam_file: Path, copy: bool) -> None:
    described = Description(title="My nuclei", licence="CC0-1.0", mask_count=1, default_mpp=0.25)
    path = add("my_nuclei", mobile_sam_file, store, described=described, copy=copy)
    assert (path == mobile_sam_file) is not copy
    spec = ModelStore(store.home).find("my_nuclei")
    assert (spec.family, spec.title, spec.licence.spdx) == (Family.MOBILE_SAM, "My nuclei", "CC0-1.0")
    assert (spec.capabilities.mask_count, spec.default_mpp) == (1, 0.25)
    assert spec.weights == LocalWeights(
        str(path), path.stat().st_size, hashlib.sha256(mobile_sam_file.read_bytes()).hexdigest()
    )
    assert list(store.models())[-1] == "my_nuclei"
    assert verify(spec, store).path == path


@pytest.mark.parametrize("copy", [True, False])
def test_removing_deletes_copies_and_forgets_links(store: ModelStore, mobile_sam_file: Path, copy: bool) -> None:
    path = add("my_nuclei", mobile_sam_file, store, copy=copy)
    removed = remove("my_nuclei", store)
    assert mobile_sam_file.is_file()
    assert (path in removed) is copy
    assert path.exists() is not copy
    assert not store.folder("my_nuclei").exists()
    with pytest.raises(UnknownModel):
        store.find("my_nuclei")


def test_removing_takes_half_a_download_too(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, mobile_sam_file: Path
) -> None:
    with published(monkeypatch, mobile_sam_file.read_bytes()) as file:
        file.break_after = 1000
        with pytest.raises(WeightsMissing):
            pull(store.find("mobile_sam"), store)
        assert any(path.suffix == ".part" for path in remove("mobile_sam", store))
        assert not store.folder("mobile_sam").exists()
        with pytest.raises(WeightsMissing, match="nothing to remove"):
            remove("mobile_sam", store)


def test_a_file_fetched_by_other_means_serves_a_built_in_model(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, mobile_sam_file: Path
) -> None:
    """As on a machine without network."""
    with published(monkeypatch, mobile_sam_file.read_bytes()) as file:
        add("mobile_sam", mobile_sam_file, store)
        assert store.is_present(store.find("mobile_sam"))
        assert file.requests == []


def test_another_file_does_not_pass_for_a_built_in_model(store: ModelStore, mobile_sam_file: Path) -> None:
    with pytest.raises(WrongWeights, match="is not the file"):
        add("mobile_sam", mobile_sam_file, store)
    with pytest.raises(InvalidRequest, match="choose another name"):
        add("lite_medsam", mobile_sam_file, store)
    assert not store.is_present(store.find("mobile_sam"))


@pytest.mark.parametrize("name", ["", "My Model", "../evil", "a/b", "1st", "a" * 65])
def test_names_are_plain(store: ModelStore, mobile_sam_file: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="model name"):
        add(name, mobile_sam_file, store)
    assert not store.home.exists() or not (store.home / "models").exists()


def test_the_choice_among_models_keeps_its_name(store: ModelStore, mobile_sam_file: Path) -> None:
    with pytest.raises(InvalidRequest, match="'auto' names a choice among models"):
        add("auto", mobile_sam_file, store)


def test_a_family_that_cannot_be_told_is_asked_for(store: ModelStore, tmp_path: Path) -> None:
    file = write({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InvalidRequest, match=r"name its family: lite_medsam"):
        add("other", file, store)
    with pytest.raises(WrongWeights):
        add("other", file, store, described=Description(Family.SAM_VIT_B))


def test_weights_that_are_not_finite_are_refused_wherever_they_come_from(store: ModelStore, tmp_path: Path) -> None:
    state = original_state(Family.LITE_MEDSAM)
    good, bad = write(state, tmp_path / "good.pth"), tmp_path / "bad.pth"
    for value in (float("nan"), float("inf"), -float("inf")):
        broken = torch.full((4, 256), 0.5)
        broken[3, 7] = value
        write(state | {"mask_decoder.mask_tokens.weight": broken}, bad)
        with pytest.raises(WrongWeights, match=r"1 of \d+ tensors \(mask_decoder.mask_tokens.weight\)"):
            add("mine", bad, store)
    assert "mine" not in store.models()
    kept = add("mine", good, store, copy=False)
    kept.write_bytes(bad.read_bytes())  # as an earlier version has taken it
    record = store.record("mine")
    assert record is not None
    store.keep("mine", replace(record, sha256=store.digests.sha256(kept)))
    with pytest.raises(WrongWeights, match="not finite"):
        verify(store.find("mine"), store)
    with pytest.raises(WrongWeights, match="not finite"):
        load_weights(store.find("mine"), store)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["image_encoder.trunk.pos_embed", "sam_mask_decoder.iou_token.weight", "memory_encoder.x"], "SAM 2"),
        (["detector.backbone.vision_backbone.trunk.x", "tracker.maskmem_tpos_enc"], "SAM 3"),
        (["vision_encoder.pos_embed", "mask_decoder.upscale_conv1.weight", "shared_image_embedding.x"], "Hugging Face"),
        (["image_encoder.pos_embed", "mask_decoder.hf_token.weight", "mask_decoder.iou_token.weight"], "SAM-HQ"),
        (["w_a_000", "w_b_000", "prompt_encoder.x"], "LoRA"),
        (["base_model.model.image_encoder.blocks.0.attn.qkv.lora_A.default.weight"], "LoRA"),
        (["image_encoder.blocks.0.attn.qkv.linear_a_q.weight", "mask_decoder.x"], "LoRA"),
        (["image_encoder.blocks.0.MLP_Adapter.D_fc1.weight", "mask_decoder.x"], "adapters"),
        (["image_encoder.patch_embed.proj.weight", "image_encoder.pos_embed"], "image encoder alone"),
        (["patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "cls_token"], "image encoder alone"),
        (["mask_decoder.iou_token.weight", "prompt_encoder.x"], "decoder without"),
        (["model.image_encoder.trunk.x", "model.memory_encoder.x"], "SAM 2"),
    ],
)
def test_networks_that_are_not_run_are_named(store: ModelStore, tmp_path: Path, keys: list[str], said: str) -> None:
    file = write({"model": {key: torch.ones(1, 2, 3, 4) for key in keys}}, tmp_path / "other.pt")
    for described in (None, Description(Family.SAM_VIT_B)):
        with pytest.raises(WrongWeights, match=said) as caught:
            add("mine", file, store, described=described)
        assert "unchanged" not in str(caught.value)
        assert "name its family" not in str(caught.value)


def test_a_linked_file_that_is_gone_or_changed_is_told(store: ModelStore, tmp_path: Path) -> None:
    file = write(original_state(Family.LITE_MEDSAM), tmp_path / "mine.pth")
    add("mine", file, store, copy=False)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(WrongWeights, match="registered with"):
        verify(store.find("mine"), store)
    file.unlink()
    with pytest.raises(WeightsMissing, match="put the file back"):
        verify(store.find("mine"), store)


def test_verify_reads_the_file_whatever_is_remembered(store: ModelStore, tmp_path: Path) -> None:
    """Bytes that change under the same size and time, as on a failing disk."""
    import os

    file = write(original_state(Family.LITE_MEDSAM), tmp_path / "mine.pth")
    add("mine", file, store, copy=False)
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(WrongWeights):
        verify(store.find("mine"), store)


@pytest.mark.parametrize("record", ["", "[]", "{", '{"schema": 99}', '{"schema": 1}'])
def test_a_broken_record_hides_no_other_model(
    store: ModelStore, mobile_sam_file: Path, record: str, caplog: pytest.LogCaptureFixture
) -> None:
    add("good", mobile_sam_file, store)
    add("bad", mobile_sam_file, store)
    (store.folder("bad") / "model.json").write_text(record, encoding="utf-8")
    assert "good" in store.models()
    assert "bad" not in store.models()
    assert "delete it" in caplog.text
    with pytest.raises(WrongWeights, match="delete it and get the model again"):
        store.find("bad")


def test_names_from_outside_reach_no_other_folder(store: ModelStore, tmp_path: Path) -> None:
    store.folder("x").mkdir(parents=True)
    (tmp_path / "model.json").write_text("broken", encoding="utf-8")
    with pytest.raises(UnknownModel):
        store.find("../..")
