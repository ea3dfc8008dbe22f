"""The mean of checkpoints: its weights, what it says it has seen, and that the rest of the package takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from qupath_sam.cli.models import app
from qupath_sam.datasets.seen import groups_seen
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import METADATA_KEY, read_entry
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.build import build_training_network
from qupath_sam.training.checkpoint import Report, load_origin, network_state, save_checkpoint
from tests.contracts.segmenters import clicks
from tests.models.checkpoint_files import original_state, write
from tests.training.test_run import pixels
from tools.average import average_checkpoints, main, mean

HEAD = Parts(refinement_head=True)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


def tuned(path: Path, store: ModelStore, *, shift: float, group: str, parts: Parts = HEAD) -> dict[str, Tensor]:
    """A checkpoint as a run leaves it, its decoder moved away from LiteMedSAM's; returns all its tensors."""
    origin = load_origin("lite_medsam", store)
    network = build_training_network(origin.tensors, Family.LITE_MEDSAM, parts, seed=0)
    with torch.no_grad():
        for parameter in network.mask_decoder.parameters():  # type: ignore[attr-defined]
            parameter += shift
    tensors = network_state(network)
    save_checkpoint(
        path, tensors, origin, Report({"shift": shift}, f"data of {group}", {"discs": [group]}, {"step": 7})
    )
    return tensors


def entry_of(path: Path) -> Mapping[str, object]:
    entry = read_entry(path)
    assert entry
    return entry


def test_the_mean_of_two_runs_is_a_model_that_has_seen_what_both_have(tmp_path: Path, store: ModelStore) -> None:
    one = tuned(tmp_path / "one.safetensors", store, shift=0.01, group="case1")
    other = tuned(tmp_path / "other.safetensors", store, shift=0.03, group="case2")
    add("one", tmp_path / "one.safetensors", store)
    out = tmp_path / "mean.safetensors"
    average_checkpoints(["one", str(tmp_path / "other.safetensors")], out, store)

    entry = entry_of(out)
    assert (entry["format"], entry["base"]) == ("delta", "lite_medsam")
    assert (entry["family"], entry["mask_count"]) == ("lite_medsam", 1)
    assert entry["groups_seen"] == {"discs": ["case1", "case2"]}
    sources = entry["config"]["mean_of"]  # type: ignore[index]
    assert [(s["name"], s["config"], s["data_digest"], s["metrics"]) for s in sources] == [
        ("one", {"shift": 0.01}, "data of case1", {"step": 7}),
        ("other.safetensors", {"shift": 0.03}, "data of case2", {"step": 7}),
    ]
    assert [s["sha256"] for s in sources] == [
        store.digests.sha256(tmp_path / f"{name}.safetensors") for name in ("one", "other")
    ]
    kept = load_file(out)
    assert {tensor.dtype for tensor in kept.values()} == {torch.float16}
    assert kept.keys() == load_file(tmp_path / "one.safetensors").keys(), "what is frozen is not repeated"
    for key, tensor in kept.items():
        expected = (one[key].half().double() + other[key].half().double()) / 2
        assert torch.equal(tensor, expected.half()), key

    add("soup", out, store)
    assert groups_seen(store.find("soup"), store) == {("discs", "case1"), ("discs", "case2")}
    segmenter = load_segmenter("soup", device="cpu", home=store.home).segmenter
    (answer,) = segmenter.decode(segmenter.embed(pixels(26)), [clicks((48, 48))])
    assert answer.masks.shape == (1, 96, 96)


def test_with_one_that_is_no_delta_the_mean_is_whole(tmp_path: Path, store: ModelStore) -> None:
    parts = Parts()
    tuned(tmp_path / "one.safetensors", store, shift=0.01, group="case1", parts=parts)
    average_checkpoints(["lite_medsam", str(tmp_path / "one.safetensors")], tmp_path / "mean.safetensors", store)
    entry = entry_of(tmp_path / "mean.safetensors")
    assert entry["format"] == "full"
    assert entry["groups_seen"] == {"discs": ["case1"]}
    assert load_file(tmp_path / "mean.safetensors").keys() == load_origin("lite_medsam", store).tensors.keys()


def test_the_mean_of_a_mean_has_seen_it_all(tmp_path: Path, store: ModelStore) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for number, path in enumerate(paths):
        tuned(path, store, shift=0.01 * number, group=f"case{number}", parts=Parts())
    average_checkpoints([str(paths[0]), str(paths[1])], tmp_path / "ab.safetensors", store)
    average_checkpoints([str(tmp_path / "ab.safetensors"), str(paths[2])], tmp_path / "abc.safetensors", store)
    entry = entry_of(tmp_path / "abc.safetensors")
    assert entry["groups_seen"] == {"discs": ["case0", "case1", "case2"]}
    nested = entry["config"]["mean_of"][0]["config"]["mean_of"]  # type: ignore[index]
    assert [s["name"] for s in nested] == ["a.safetensors", "b.safetensors"]


def test_models_of_different_kinds_are_refused(tmp_path: Path, store: ModelStore) -> None:
    out = tmp_path / "mean.safetensors"
    mobile = write(original_state(Family.MOBILE_SAM), tmp_path / "mobile_sam.pt")
    with pytest.raises(InvalidRequest, match=r"of family lite_medsam, .* of mobile_sam"):
        average_checkpoints(["lite_medsam", str(mobile)], out, store)
    with pytest.raises(InvalidRequest, match=r"has the decoder sam, .* a refinement head"):
        average_checkpoints(["lite_medsam", "lite_medsam_histology"], out, store)
    tuned(tmp_path / "h.safetensors", store, shift=0, group="a", parts=Parts(DecoderKind.HISTOLOGY))
    with pytest.raises(InvalidRequest, match="the decoder histology"):
        average_checkpoints(["lite_medsam", str(tmp_path / "h.safetensors")], out, store)
    assert not out.exists()


@pytest.mark.parametrize(
    ("sources", "out", "message"),
    [
        (["lite_medsam"], "a.safetensors", "at least two"),
        (["lite_medsam", "lite_medsam"], "a.pth", r"a\.safetensors"),
        (["lite_medsam", "nowhere.pth"], "a.safetensors", "neither a model nor a file"),
        (["lite_medsam", "fake"], "a.safetensors", "no weights"),
    ],
)
def test_what_makes_no_mean_is_refused(
    tmp_path: Path, store: ModelStore, sources: list[str], out: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        average_checkpoints(sources, tmp_path / out, store)


@given(st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=5), st.integers(2, 7))
def test_what_is_the_same_in_all_stays_the_same_to_the_bit(values: list[float], count: int) -> None:
    tensors = {"a": torch.tensor(values), "steps": torch.tensor(3)}
    assert torch.equal(mean([tensors] * count)["a"], tensors["a"])
    assert torch.equal(mean([tensors] * count)["steps"], torch.tensor(3))


def test_from_the_command_line(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUPATH_SAM_HOME", str(store.home))
    for name in ("one", "other"):
        tuned(tmp_path / f"{name}.safetensors", store, shift=0.01, group=name, parts=Parts())
    files = [str(tmp_path / f"{name}.safetensors") for name in ("one", "other")]
    out = tmp_path / "new folder" / "mean.safetensors"
    main([*files, "--out", str(out)])
    assert capsys.readouterr().out.strip() == str(out)
    with pytest.raises(SystemExit, match="at least two"):
        main([files[0], "--out", str(out)])
    added = CliRunner().invoke(app, ["add", "soup", str(out)])
    assert added.exit_code == 0, added.output


def test_a_checkpoint_cannot_hide_behind_another_name(tmp_path: Path, store: ModelStore) -> None:
    """What a file is, its content tells; so a renamed one is refused where it was before."""
    tuned(tmp_path / "one.safetensors", store, shift=0.01, group="case1", parts=Parts())
    renamed = (tmp_path / "one.safetensors").rename(tmp_path / "somebody else's.pth")
    add("innocent", renamed, store)
    assert groups_seen(store.find("innocent"), store) == {("discs", "case1")}


def test_a_tuned_model_answers_a_first_click_with_the_mask_that_was_tuned(tmp_path: Path, store: ModelStore) -> None:
    """Training is held to SAM's first mask; its three others, for ambiguous clicks, fall behind."""
    add("mobile", write(original_state(Family.MOBILE_SAM), tmp_path / "mobile_sam.pt"), store)
    assert store.find("mobile").capabilities.mask_count == 3
    origin = load_origin("mobile", store)
    tensors = {
        key: tensor + 0.1 if key.startswith("mask_decoder.") else tensor for key, tensor in origin.tensors.items()
    }
    save_checkpoint(tmp_path / "tuned.safetensors", tensors, origin, Report({}, "", {}, {}))
    add("tuned", tmp_path / "tuned.safetensors", store)
    assert store.find("tuned").capabilities.mask_count == 1


def test_a_checkpoint_is_of_the_family_that_it_says(tmp_path: Path, store: ModelStore) -> None:
    """MedSAM's tensors look like SAM's, and its pixels are normalised otherwise."""
    tensors = {key: tensor.clone() for key, tensor in original_state(Family.LITE_MEDSAM).items()}
    metadata = {METADATA_KEY: json.dumps({"format": "full", "family": "mobile_sam"})}
    save_file(tensors, tmp_path / "odd.safetensors", metadata=metadata)
    with pytest.raises(Exception, match="does not fit mobile_sam"):
        add("odd", tmp_path / "odd.safetensors", store)
