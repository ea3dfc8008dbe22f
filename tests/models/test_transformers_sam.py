"""SAM-HQ, SAM 2, EdgeTAM and SAM 3's tracker from Hugging Face's layout, behind the contract: small random networks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from qupath_sam.errors import WeightsMissing, WrongWeights
from qupath_sam.models.adapters.transformers_published import published_network
from qupath_sam.models.adapters.transformers_sam import CONFIG, family_beside, load_transformers_sam
from qupath_sam.models.base import Capabilities, Segmenter
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import TRANSFORMERS_FAMILIES, Family, HubWeights
from qupath_sam.models.weights.manage import Description, add
from qupath_sam.models.weights.store import ModelStore
from tests.contracts.segmenters import SegmenterContract, clicks, picture
from tests.models.hf_files import SIDE, side_of, write_folder, write_video_folder

pytest.importorskip("transformers", reason="the extra [transformers] is not installed")


def small(family: Family) -> Segmenter:
    with tempfile.TemporaryDirectory() as folder:
        return load_transformers_sam(
            write_folder(family, Path(folder)),
            family=family,
            capabilities=Capabilities(input_size=side_of(family), mask_count=3),
            execution=choose_execution("cpu", "fp32"),
        )


class TestSam2(SegmenterContract):
    tolerance: ClassVar[float] = 1e-3

    @classmethod
    def make(cls) -> Segmenter:
        return small(Family.SAM2)


class TestSamHq(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return small(Family.SAM_HQ)


class TestEdgeTam(SegmenterContract):
    tolerance: ClassVar[float] = 1e-3

    @classmethod
    def make(cls) -> Segmenter:
        pytest.importorskip("timm", reason="the extra [transformers] is not installed")
        return small(Family.EDGETAM)


class TestSam3Tracker(SegmenterContract):
    tolerance: ClassVar[float] = 1e-3

    @classmethod
    def make(cls) -> Segmenter:
        return small(Family.SAM3_TRACKER)


@pytest.mark.parametrize("family", [Family.SAM2, Family.SAM_HQ, Family.EDGETAM, Family.SAM3_TRACKER])
def test_a_folder_is_added_with_its_config(tmp_path: Path, family: Family) -> None:
    weights = write_folder(family, tmp_path / "published")
    assert family_beside(weights) is family
    store = ModelStore(tmp_path / "home")
    kept = add("mine", weights, store)
    assert kept.with_name(CONFIG).is_file()
    loaded = load_segmenter("mine", device="cpu", home=store.home)
    assert (loaded.spec.family, loaded.precision) == (family, "fp32")
    segmenter = loaded.segmenter
    (answer,) = segmenter.decode(segmenter.embed(picture(40, 50)), [clicks((20, 20))], several_masks=True)
    assert answer.masks.shape == (3, 40, 50)


@pytest.mark.parametrize("family", [Family.SAM2, Family.EDGETAM, Family.SAM3_TRACKER])
def test_the_folder_of_a_video_model_is_taken(tmp_path: Path, family: Family) -> None:
    weights = write_video_folder(family, tmp_path)
    assert "video" in weights.with_name(CONFIG).read_text()
    capabilities = Capabilities(input_size=side_of(family), mask_count=3)
    loaded = load_transformers_sam(
        weights, family=family, capabilities=capabilities, execution=choose_execution("cpu", "fp32")
    )
    # SAM 3's file has the image encoder with its detector, and the tracker's neck apart.
    renamed = {"tracker_model.": "", "detector_model.": "", "tracker_neck.": "vision_encoder.neck."}
    published = load_file(weights)
    for old, new in renamed.items():
        published = {name.replace(old, new): tensor for name, tensor in published.items()}
    own = dict(loaded.model.named_parameters())
    assert len(own) > 100
    assert all(torch.equal(parameter, published[name]) for name, parameter in own.items())


@pytest.mark.parametrize(
    ("name", "part", "millions"),
    [
        # Of the image encoders alone, as timm and the papers count them.
        ("sam2_1_tiny", "vision_encoder.backbone.", 26.85),
        ("sam2_1_small", "vision_encoder.backbone.", 33.95),
        ("sam2_1_base_plus", "vision_encoder.backbone.", 68.68),
        ("sam2_1_large", "vision_encoder.backbone.", 212.15),
        ("sam_hq_vit_b", "vision_encoder.", 89.67),
        ("sam_hq_vit_l", "vision_encoder.", 308.28),
        ("sam_hq_vit_h", "vision_encoder.", 637.03),
    ],
)
def test_random_networks_have_the_published_sizes(name: str, part: str, millions: float) -> None:
    with torch.device("meta"):
        network = published_network(name)
    count = sum(tensor.numel() for key, tensor in network.named_parameters() if key.startswith(part))
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    "name",
    [name for name, spec in BUILT_IN.items() if spec.family in TRANSFORMERS_FAMILIES and name != "sam3_tracker"],
)
def test_the_sizes_that_the_registry_states_are_those_of_the_published_networks(name: str) -> None:
    import transformers

    weights = BUILT_IN[name].weights
    assert isinstance(weights, HubWeights)
    with torch.device("meta"):
        network = published_network(name)
        vision = network.config.vision_config.to_dict()
        if name.startswith("sam2_1"):
            memory = {"enable_temporal_pos_encoding_for_object_pointers": True}
            config = transformers.Sam2VideoConfig(vision_config=vision, **memory)
            network = transformers.Sam2VideoModel(config)
        elif name == "edgetam":
            network = transformers.EdgeTamVideoModel(transformers.EdgeTamVideoConfig(vision_config=vision))
    computed = 4 * sum(tensor.numel() for tensor in network.state_dict().values())
    assert weights.about_bytes == pytest.approx(computed, rel=0.005)


@pytest.mark.parametrize(
    ("family", "sides"), [(Family.SAM2, [16, 8, 4]), (Family.EDGETAM, [16, 8, 4]), (Family.SAM3_TRACKER, [16, 8, 4])]
)
def test_an_embedding_has_three_maps(family: Family, sides: list[int]) -> None:
    embedding = small(family).embed(picture(40, 50))
    assert [tensor.shape[-1] for tensor in embedding.tensors.values()] == sides


def test_a_config_of_another_network_is_told(tmp_path: Path) -> None:
    weights = write_folder(Family.SAM2, tmp_path)
    other = write_folder(Family.SAM_HQ, tmp_path / "other")
    weights.with_name(CONFIG).write_bytes(other.with_name(CONFIG).read_bytes())
    with pytest.raises(WrongWeights):
        load_transformers_sam(
            weights,
            family=Family.SAM_HQ,
            capabilities=Capabilities(input_size=SIDE, mask_count=3),
            execution=choose_execution("cpu", "fp32"),
        )


def test_weights_without_their_config_are_refused(tmp_path: Path) -> None:
    weights = write_folder(Family.SAM2, tmp_path / "published")
    weights.with_name(CONFIG).unlink()
    with pytest.raises(WrongWeights, match=r"no config.json beside it that describes a sam2"):
        add("mine", weights, ModelStore(tmp_path / "home"), described=Description(family=Family.SAM2))


def test_a_missing_extra_names_the_line_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = write_folder(Family.SAM2, tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsMissing, match=r"pip install 'qupath-sam\[transformers\]'"):
        load_transformers_sam(
            weights,
            family=Family.SAM2,
            capabilities=Capabilities(input_size=SIDE, mask_count=3),
            execution=choose_execution("cpu", "fp32"),
        )


def test_other_models_load_without_it() -> None:
    code = "import sys; sys.modules['transformers'] = None\nimport qupath_sam.models.load, qupath_sam.server.app"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
