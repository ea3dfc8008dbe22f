"""Pulling folders from a hub: a server on this machine that answers as Hugging Face's does, named by HF_ENDPOINT."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import TRANSFORMERS_FAMILIES, Family, HubWeights
from qupath_sam.models.weights.manage import add, pull, remove, verify
from qupath_sam.models.weights.store import ModelStore
from tests.models.hf_files import write_folder
from tests.models.hub_server import HubRepository, serving_hub

pytest.importorskip("transformers", reason="the extra [transformers] is not installed")

FIRST, SECOND = "1" * 40, "2" * 40
NAME = "sam2_1_tiny"


def folder_of(family: Family, place: Path) -> dict[str, bytes]:
    weights = write_folder(family, place)
    return {name: weights.with_name(name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return folder_of(Family.SAM2, tmp_path_factory.mktemp("sam2"))


@pytest.fixture
def hub(sam2: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubRepository]:
    repository = HubRepository("facebook/sam2.1-hiera-tiny", {FIRST: dict(sam2)})
    with serving_hub(repository) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield repository


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


def test_a_pulled_folder_is_a_model_that_needs_no_hub(
    hub: HubRepository, store: ModelStore, sam2: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int | None]] = []
    path = pull(store.find(NAME), store, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == sam2["model.safetensors"]
    assert path.with_name("config.json").read_bytes() == sam2["config.json"]
    assert seen[-1] == (len(sam2["model.safetensors"]),) * 2
    spec = store.find(NAME)
    assert isinstance(spec.weights, HubWeights)
    assert spec.weights.revision == FIRST
    # From here on nothing asks the hub.
    asked = list(hub.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert pull(spec, store) == path
    assert verify(spec, store).sha256 == spec.weights.sha256
    assert load_segmenter(NAME, device="cpu", home=store.home).spec.family is Family.SAM2
    assert hub.asked == asked


def test_both_files_are_of_one_commit(hub: HubRepository, store: ModelStore, sam2: dict[str, bytes]) -> None:
    hub.files[SECOND] = dict(sam2)
    pull(store.find(NAME), store)
    assert {path.split("/")[-2] for path in hub.asked if path.startswith("GET")} == {SECOND}


def test_weights_that_are_gone_come_back_of_the_same_commit(
    hub: HubRepository, store: ModelStore, sam2: dict[str, bytes]
) -> None:
    path = pull(store.find(NAME), store)
    path.unlink()
    hub.files[SECOND] = {**sam2, "model.safetensors": b"newer"}
    assert pull(store.find(NAME), store).read_bytes() == sam2["model.safetensors"]


def test_an_interrupted_download_goes_on(hub: HubRepository, store: ModelStore, sam2: dict[str, bytes]) -> None:
    hub.break_after = 300_000
    with pytest.raises(WeightsMissing, match="try again to go on"):
        pull(store.find(NAME), store)
    assert not store.is_present(store.find(NAME))
    hub.break_after, hub.has_broken = None, False
    hub.ranges.clear()
    assert pull(store.find(NAME), store).read_bytes() == sam2["model.safetensors"]
    assert any(asked.startswith("bytes=") for asked in hub.ranges)


def test_what_is_wrong_is_not_kept(hub: HubRepository, store: ModelStore, tmp_path: Path) -> None:
    hub.files[FIRST] = folder_of(Family.SAM_HQ, tmp_path / "hq")
    with pytest.raises(WrongWeights, match=r"config\.json"):
        pull(store.find(NAME), store)
    assert not store.is_present(store.find(NAME))


def test_a_file_that_is_not_what_the_hub_says_is_not_kept(hub: HubRepository, store: ModelStore) -> None:
    hub.wrong_digest = True
    with pytest.raises(WrongWeights, match="instead of"):
        pull(store.find(NAME), store)
    assert not store.is_present(store.find(NAME))


def test_a_licence_that_is_to_be_accepted_is_named(hub: HubRepository, store: ModelStore) -> None:
    hub.gated = True
    with pytest.raises(WeightsMissing, match="accept it on the model's page"):
        pull(store.find(NAME), store)


def test_a_repository_that_is_gone_is_named(hub: HubRepository, store: ModelStore) -> None:
    with pytest.raises(WeightsMissing, match="models add"):
        pull(store.find("sam2_1_small"), store)


def test_no_hub_is_no_traceback(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(WeightsMissing, match="try again later"):
        pull(store.find(NAME), store)


def test_removing_takes_all_of_it(hub: HubRepository, store: ModelStore) -> None:
    pull(store.find(NAME), store)
    remove(NAME, store)
    assert not store.folder(NAME).exists()


def test_a_folder_that_was_fetched_by_hand_is_added_with_its_config(store: ModelStore, tmp_path: Path) -> None:
    weights = write_folder(Family.SAM2, tmp_path / "published")
    kept = add(NAME, weights, store)
    assert kept.with_name("config.json").is_file()
    assert load_segmenter(NAME, device="cpu", home=store.home).spec.name == NAME


def test_a_missing_extra_names_the_line_that_mends_it(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsMissing, match=r"pip install 'qupath-sam\[transformers\]'"):
        pull(store.find(NAME), store)


def test_listing_and_loading_ask_no_hub(store: ModelStore) -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from qupath_sam.models.weights.store import ModelStore\n"
        "import qupath_sam.models.weights.manage\n"
        "store = ModelStore()\n"
        "print([store.is_present(spec) for spec in store.models().values()])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_every_family_of_transformers_can_be_pulled() -> None:
    hosted = {spec.family for spec in BUILT_IN.values() if isinstance(spec.weights, HubWeights)}
    assert hosted == TRANSFORMERS_FAMILIES
    repositories = [spec.weights.repository for spec in BUILT_IN.values() if isinstance(spec.weights, HubWeights)]
    assert len(set(repositories)) == len(repositories) == 9
