"""What RITM's, FocalClick's and SimpleClick's files and code agree on, rule by rule: keys, inputs, crops, mirroring."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from qupath_sam.models.devices import choose_execution
from qupath_sam.models.interactive.focalclick import FocalClickSegmenter
from qupath_sam.models.interactive.published import published_network
from qupath_sam.models.interactive.zooming import RitmSegmenter, SimpleClickSegmenter
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import BUILT_IN, Family, default_capabilities
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.interactive.clicks import ClickEncoding, PixelClicks, normalised
from qupath_sam.networks.interactive.models import ClickInput, ClickNetwork, Coarse, FocalNetwork
from tests.contracts.segmenters import clicks, picture, with_logits
from tests.models.click_files import checkpoint, small_network

CPU = choose_execution("cpu", "fp32")
SEGMENTERS = {
    "ritm_hrnet18s": RitmSegmenter,
    "focalclick_hrnet18s_s1": FocalClickSegmenter,
    "simpleclick_vit_b": SimpleClickSegmenter,
}
#: First and second part of the keys in the authors' files.
_HRNET_PARTS = (
    *("conv1", "bn1", "conv2", "bn2", "layer1", "transition1", "transition2", "transition3"),
    *("stage2", "stage3", "stage4", "conv3x3_ocr", "ocr_distri_head", "cls_head", "aux_head"),
)
HRNET = {f"maps_transform.{i}" for i in (0, 2, 3)} | {f"feature_extractor.{part}" for part in _HRNET_PARTS}
REFINER = {
    f"refiner.{part}"
    for part in (
        *("image_conv1", "image_conv2", "image_conv3", "refine_fusion", "refine_fusion2", "refine_fusion3"),
        *("refine_pred", "refine_trimap"),
    )
}
KEYS = {
    "ritm_hrnet18s": HRNET,
    "focalclick_hrnet18s_s2": HRNET | REFINER,
    "focalclick_segformer_b0_s1": {
        *{f"maps_transform.{i}" for i in (0, 2, 3)},
        *("feature_extractor.backbone", "feature_extractor.decode_head"),
        *REFINER,
        "refiner.feature_gate",
    },
    "simpleclick_vit_b": {
        "patch_embed_coords.proj",
        *{f"backbone.{part}" for part in ("cls_token", "pos_embed", "patch_embed", "blocks", "fc_norm", "head")},
        *{f"neck.down_{side}" for side in (4, 8, 16, 32)},
        *{f"head.{part}" for part in ("conv_seg", "convs", "fusion_conv", "up_conv1", "up_conv2")},
    },
}


def segmenter_of(name: str, network: ClickNetwork | None = None) -> Any:
    """A segmenter round a network, a small random one where none is given."""
    capabilities = default_capabilities(BUILT_IN[name].family)
    return SEGMENTERS[name]([cast("Any", network or small_network(name))], capabilities=capabilities, execution=CPU)


class Watched(ClickNetwork):
    """Answers "nothing" but for a disc round the middle, and keeps what it was given.

    Attributes:
        seen: images, previous masks and clicks of each call.
    """

    def __init__(self, size: Any = None) -> None:
        super().__init__()
        self.size = size
        self.seen: list[tuple[torch.Tensor, torch.Tensor, list[PixelClicks]]] = []

    def answer(self, image: torch.Tensor, previous: torch.Tensor, clicks: Any) -> Coarse:
        self.seen.append((image, previous, list(clicks)))
        return Coarse(torch.full_like(previous, -3.0))


def mask_logits(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Logits ``(256, 256)`` of a rectangle."""
    logits = np.full((256, 256), -9, np.float32)
    logits[top:bottom, left:right] = 9
    return logits


class TestFiles:
    @pytest.mark.parametrize("name", KEYS)
    def test_keys_have_the_prefixes_of_the_originals(self, name: str) -> None:
        with torch.device("meta"):
            keys = published_network(name).build().state_dict()
        assert {".".join(key.split(".")[:2]) for key in keys} == KEYS[name]

    def test_classes_and_defaults_in_a_config_are_passed_over(self, tmp_path: Path) -> None:
        content = checkpoint("ritm_hrnet18s")
        content["config"]["params"] |= {
            "norm_layer": {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False},
            "backbone_lr_mult": {"type": "builtin", "value": 0.1, "specified": True},
        }
        torch.save(content, tmp_path / "some.pth")
        store = ModelStore(tmp_path / "home")
        add("mine", tmp_path / "some.pth", store)
        assert load_segmenter("mine", device="cpu", home=store.home).spec.family is Family.RITM

    def test_a_file_may_lack_the_counters_of_batch_norm(self, tmp_path: Path) -> None:
        content = checkpoint("ritm_hrnet18s")
        whole = len(content["state_dict"])
        content["state_dict"] = {k: v for k, v in content["state_dict"].items() if "num_batches_tracked" not in k}
        assert len(content["state_dict"]) < whole
        torch.save(content, tmp_path / "some.pth")
        store = ModelStore(tmp_path / "home")
        add("mine", tmp_path / "some.pth", store)
        assert load_segmenter("mine", device="cpu", home=store.home).spec.family is Family.RITM

    def test_other_keys_are_not_passed_over(self, tmp_path: Path) -> None:
        content = checkpoint("ritm_hrnet18s")
        content["state_dict"]["feature_extractor.more"] = torch.zeros(1)
        torch.save(content, tmp_path / "some.pth")
        with pytest.raises(Exception, match=r"1 unexpected \(0.feature_extractor.more|feature_extractor.more"):
            add("mine", tmp_path / "some.pth", ModelStore(tmp_path / "home"))


class TestInputs:
    def test_the_previous_mask_comes_first_then_positive_then_negative_clicks(self) -> None:
        places = torch.tensor([[5.0, 9.0], [20.0, 3.0]])
        given = ClickInput(ClickEncoding(radius=5))
        previous = torch.rand(1, 1, 32, 32)
        maps = given.features(previous, [PixelClicks(places, torch.tensor([True, False]))])
        assert given.channels == 3
        assert torch.equal(maps[:, :1], previous)
        assert (maps[0, 1, 5, 9], maps[0, 2, 5, 9]) == (1, 0)
        assert (maps[0, 1, 20, 3], maps[0, 2, 20, 3]) == (0, 1)

    def test_colours_are_normalised_as_imagenet_has_them(self) -> None:
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        assert torch.allclose(normalised(mean.expand(1, 3, 2, 2)), torch.zeros(1, 3, 2, 2), atol=1e-6)
        assert torch.allclose(normalised((mean + std).expand(1, 3, 2, 2)), torch.ones(1, 3, 2, 2), atol=1e-6)

    @pytest.mark.parametrize("name", ["ritm_hrnet18s", "simpleclick_vit_b"])
    def test_images_are_in_0_to_1_and_the_previous_mask_is_a_probability(self, name: str) -> None:
        network = Watched(getattr(small_network(name), "size", None))
        segmenter = segmenter_of(name, network)
        pixels = np.full((256, 256, 3), 255, np.uint8)
        segmenter.decode(segmenter.embed(pixels), [with_logits(clicks((100, 100)), mask_logits(0, 128, 0, 256))])
        image, previous, _ = network.seen[-1]
        assert image.max() == pytest.approx(1)
        assert (previous.min(), previous.max()) == pytest.approx((0, 1), abs=1e-3)

    def test_a_click_on_a_pixel_is_its_index_row_first(self) -> None:
        network = Watched()
        segmenter = segmenter_of("ritm_hrnet18s", network)
        segmenter.decode(segmenter.embed(picture(40, 60)), [clicks((20.5, 10.5))])
        assert network.seen[0][2][0].places.tolist() == [[10.0, 20.0]]

    @pytest.mark.parametrize(
        ("name", "radius", "halves"),
        [
            ("ritm_hrnet18s", 5, False),
            ("focalclick_hrnet18s_s1", 2, True),
            ("focalclick_hrnet18s_s2", 5, False),
            ("focalclick_segformer_b0_s1", 3, True),
            ("focalclick_segformer_b3_s2", 5, False),
            ("simpleclick_vit_b", 5, False),
        ],
    )
    def test_clicks_are_discs_whose_radius_depends_on_the_pipeline(
        self, name: str, radius: float, halves: bool
    ) -> None:
        with torch.device("meta"):
            network = cast("Any", published_network(name).build())
        assert network.click_input.encoding == ClickEncoding(radius=radius, discs=True)
        assert network.click_input.previous_mask
        assert not network.click_input.binary_previous_mask
        assert (isinstance(network, FocalNetwork) and network.halves) is halves


class TestAnswers:
    @pytest.mark.parametrize(
        ("name", "threshold"),
        [("ritm_hrnet18s", 0.49), ("focalclick_hrnet18s_s1", 0.5), ("simpleclick_vit_b", 0.49)],
    )
    def test_a_mask_begins_at_the_probability_of_its_house(self, name: str, threshold: float) -> None:
        assert SEGMENTERS[name].threshold == threshold

    @pytest.mark.parametrize(("probability", "inside"), [(0.495, True), (0.485, False)])
    def test_ritms_mask_is_what_is_above_49_hundredths(self, probability: float, inside: bool) -> None:
        network = Watched()
        segmenter = segmenter_of("ritm_hrnet18s", network)
        logit = float(np.log(probability / (1 - probability)))
        network.answer = lambda image, previous, clicks: Coarse(torch.full_like(previous, logit))  # type: ignore[method-assign]
        (answer,) = segmenter.decode(segmenter.embed(picture(20, 30)), [clicks((9, 9))])
        assert answer.masks.all() if inside else not answer.masks.any()

    @pytest.mark.parametrize(
        ("name", "mirrors"),
        [("ritm_hrnet18s", True), ("focalclick_hrnet18s_s1", False), ("simpleclick_vit_b", True)],
    )
    def test_ritm_and_simpleclick_average_with_the_mirrored_image(self, name: str, mirrors: bool) -> None:
        segmenter = segmenter_of(name)
        pixels = picture(256, 256)
        (answer,) = segmenter.decode(segmenter.embed(pixels), [clicks((80.5, 100.5))])
        mirrored = np.ascontiguousarray(pixels[:, ::-1])
        (other,) = segmenter.decode(segmenter.embed(mirrored), [clicks((256 - 80.5, 100.5))])
        difference = np.abs(answer.logits[0] - other.logits[0][:, ::-1]).max()
        assert bool(difference < 1e-3) is mirrors, difference


class TestCrops:
    def test_ritms_first_click_sees_the_window_as_it_is(self) -> None:
        network = Watched()
        segmenter = segmenter_of("ritm_hrnet18s", network)
        prompt = with_logits(clicks((60, 60)), mask_logits(20, 40, 20, 40))
        segmenter.decode(segmenter.embed(picture(300, 500)), [prompt])
        assert network.seen[0][0].shape == (2, 3, 300, 500)

    def test_ritms_later_clicks_see_the_object_with_its_longer_side_at_400_px(self) -> None:
        network = Watched()
        segmenter = segmenter_of("ritm_hrnet18s", network)
        # Rows 100 to 300 and columns 100 to 500 of a window of 1024 px: 1.4 times as high and as wide.
        prompt = with_logits(clicks((300, 200), (200, 150)), mask_logits(25, 75, 25, 125))
        segmenter.decode(segmenter.embed(picture(1024, 1024)), [prompt])
        height, width = network.seen[0][0].shape[-2:]
        assert width == 400
        assert height == pytest.approx(200, abs=4)

    def test_simpleclick_looks_closer_from_the_first_mask_on_in_squares_of_448_px(self) -> None:
        network = Watched(cast("Any", small_network("simpleclick_vit_b")).size)
        segmenter = segmenter_of("simpleclick_vit_b", network)
        pixels = picture(600, 800)
        segmenter.decode(segmenter.embed(pixels), [clicks((300, 300))])
        small = with_logits(clicks((60, 60)), mask_logits(20, 40, 20, 40))
        large = with_logits(clicks((60, 60)), mask_logits(10, 240, 10, 240))
        segmenter.decode(segmenter.embed(pixels), [small, large])
        assert [image.shape[-2:] for image, _, _ in network.seen] == [(448, 448)] * 3
        first, closer, still_whole = (image for image, _, _ in network.seen)
        assert torch.equal(first, still_whole), "an object that fills the image is seen in the whole image"
        assert not torch.equal(first, closer)

    def test_focalclick_looks_at_256_px(self) -> None:
        segmenter = segmenter_of("focalclick_hrnet18s_s1")
        seen: list[tuple[int, ...]] = []
        network = segmenter.networks[0]
        answer = network.answer
        network.answer = lambda image, *rest: seen.append(tuple(image.shape)) or answer(image, *rest)
        segmenter.decode(segmenter.embed(picture(600, 800)), [clicks((300, 300)), clicks((300, 300), (200, 200))])
        assert seen == [(1, 3, 256, 256)] * 2
