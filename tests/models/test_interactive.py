"""RITM, FocalClick and SimpleClick behind the contract, read from files as their authors write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from qupath_sam.errors import InvalidRequest, UnsupportedPrompt, WeightsMissing, WrongWeights
from qupath_sam.models.base import Segmenter
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.interactive.crops import FocusBox, ZoomBox, ZoomRule, focus, overlap, whole
from qupath_sam.models.interactive.focalclick import FocalClickSegmenter
from qupath_sam.models.interactive.segmenter import expected_iou
from qupath_sam.models.interactive.zooming import RitmSegmenter, SimpleClickSegmenter
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.random_weights import load_random
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import CLICK_FAMILIES, Family, default_capabilities
from qupath_sam.models.weights.checkpoints import build_network, read_checkpoint
from qupath_sam.models.weights.manage import add, pull, verify
from qupath_sam.models.weights.store import ModelStore
from tests.contracts.segmenters import SegmenterContract, clicks, picture, with_logits
from tests.models.click_files import SMALL, checkpoint, small_network, write_with_loss

LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"
CPU = choose_execution("cpu", "fp32")


def segmenter_of(name: str, *, sizes: bool = True) -> Any:
    """A small relative that also looks at small crops."""
    network, family = cast("Any", small_network(name)), BUILT_IN[name].family
    capabilities = default_capabilities(family)
    match family:
        case Family.RITM:
            size = {"target_size": 64} if sizes else {}
            return RitmSegmenter([network], capabilities=capabilities, execution=CPU, **size)
        case Family.FOCALCLICK:
            size = {"infer_size": 64} if sizes else {}
            return FocalClickSegmenter([network], capabilities=capabilities, execution=CPU, **size)
        case _:
            return SimpleClickSegmenter([network], capabilities=capabilities, execution=CPU)


class TestRitm(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return cast("Segmenter", segmenter_of("ritm_hrnet18s"))


class TestFocalClickHrnet(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return cast("Segmenter", segmenter_of("focalclick_hrnet18s_s1"))


class TestFocalClickSegFormer(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return cast("Segmenter", segmenter_of("focalclick_segformer_b0_s2"))


class TestSimpleClick(SegmenterContract):
    @classmethod
    def make(cls) -> Segmenter:
        return cast("Segmenter", segmenter_of("simpleclick_vit_b"))


class TestFiles:
    @pytest.mark.parametrize("name", sorted(set(SMALL) - {"simpleclick_vit_b"}))
    def test_a_file_says_what_it_is(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / "some.pth"
        torch.save(checkpoint(name), file)
        store = ModelStore(tmp_path / "home")
        add("mine", file, store)
        spec = store.find("mine")
        assert spec.family is BUILT_IN[name].family
        assert spec.capabilities == default_capabilities(spec.family)
        assert verify(spec, store).layout.value == "state_dict"
        loaded = load_segmenter("mine", device="cpu", home=store.home)
        assert loaded.precision == "fp32"
        own = cast("Any", loaded.segmenter).networks[0].state_dict()
        for key, tensor in small_network(name).state_dict().items():
            assert torch.equal(own[key], tensor)

    def test_simpleclicks_pickled_loss_is_passed_over(self, tmp_path: Path) -> None:
        file = write_with_loss(checkpoint("simpleclick_vit_b"), tmp_path / "some.pth", loss_module=LOSS)
        store = ModelStore(tmp_path / "home")
        add("simpleclick_vit_b", file, store)
        assert load_segmenter("simpleclick_vit_b", device="cpu", home=store.home).spec.family is Family.SIMPLECLICK

    def test_no_other_pickled_object_is(self, tmp_path: Path) -> None:
        file = write_with_loss(checkpoint("simpleclick_vit_b"), tmp_path / "some.pth", loss_module="isegm.other")
        with pytest.raises(WrongWeights, match="could run code"):
            read_checkpoint(file)

    def test_a_list_has_a_network_for_each_click(self, tmp_path: Path) -> None:
        file = tmp_path / "two.pth"
        torch.save([checkpoint("ritm_hrnet18s", seed=seed) for seed in (0, 1)], file)
        store = ModelStore(tmp_path / "home")
        add("two", file, store)
        segmenter = load_segmenter("two", device="cpu", home=store.home).segmenter
        pixels = picture(60, 80)
        prompts = [clicks(*[(10.0 + 9 * i, 30.0) for i in range(count)]) for count in (1, 2, 3)]
        answers = segmenter.decode(segmenter.embed(pixels), prompts)
        for prompt, answer, seed in zip(prompts, answers, (0, 1, 1), strict=True):
            network = cast("Any", small_network("ritm_hrnet18s", seed=seed))
            alone = RitmSegmenter([network], capabilities=segmenter.capabilities, execution=CPU)
            (expected,) = alone.decode(alone.embed(pixels), [prompt])
            np.testing.assert_allclose(answer.logits, expected.logits, atol=1e-4)

    def test_weights_and_config_must_fit(self, tmp_path: Path) -> None:
        content = checkpoint("ritm_hrnet18s")
        content["config"]["params"]["width"]["value"] = 6
        torch.save(content, tmp_path / "wrong.pth")
        with pytest.raises(WrongWeights, match=r"of another shape .*unchanged"):
            add("wrong", tmp_path / "wrong.pth", ModelStore(tmp_path / "home"))

    def test_an_unknown_network_is_named(self, tmp_path: Path) -> None:
        content = checkpoint("ritm_hrnet18s")
        content["config"]["class"] = "isegm.model.is_deeplab_model.DeeplabModel"
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(WrongWeights, match=r"DeeplabModel; known"):
            read_checkpoint(tmp_path / "other.pth")

    def test_files_of_another_house_are_told(self, tmp_path: Path) -> None:
        torch.save(checkpoint("focalclick_hrnet18s_s1"), tmp_path / "some.pth")
        with pytest.raises(WrongWeights, match="this is a focalclick checkpoint"):
            add("ritm_hrnet18s", tmp_path / "some.pth", ModelStore(tmp_path / "home"))

    def test_what_only_a_browser_gets_says_where(self, tmp_path: Path) -> None:
        store = ModelStore(tmp_path)
        with pytest.raises(InvalidRequest, match=r"browser from https://.*models add simpleclick_vit_b FILE"):
            pull(store.find("simpleclick_vit_b"), store)
        with pytest.raises(WeightsMissing, match=r"browser from https://"):
            load_segmenter("simpleclick_vit_b", home=tmp_path)

    def test_they_are_not_trained_here(self) -> None:
        for family in CLICK_FAMILIES:
            with pytest.raises(InvalidRequest, match="take a model that has one"):
                build_network(family)

    def test_random_weights_serve_to_time_them(self) -> None:
        loaded = load_random("ritm_hrnet18s", device="cpu")
        assert (loaded.spec.family, loaded.precision) == (Family.RITM, "fp32")


class TestRules:
    def test_the_crop_holds_mask_and_clicks_with_a_margin(self) -> None:
        previous = np.zeros((600, 800), np.float32)
        previous[200:300, 300:500] = 0.9  # rows 200..299, columns 300..499
        rule = ZoomRule()
        nothing = np.zeros((0, 2), np.float32)
        assert rule.crop(np.zeros_like(previous), nothing) is None
        box = rule.crop(previous, nothing)
        assert box == ZoomBox(150, 350, 260, 540)  # at least 200 high; 1.4 times 200 wide
        held = rule.crop(previous, np.array([[399.0, 399.0]], np.float32))
        assert held == ZoomBox(160, 440, 260, 540)
        assert overlap(box, box) == pytest.approx(1, abs=0.01)
        assert overlap(box, whole((600, 800))) < 0.2

    def test_the_focus_is_what_the_click_changed(self) -> None:
        old = np.zeros((200, 200), np.float32)
        old[50:100, 50:100] = 1
        coarse = np.where(old > 0, 5.0, -5.0).astype(np.float32)
        coarse[50:100, 100:140] = 5
        coarse[150:155, 60:70] = 5  # another change, elsewhere
        everything = FocusBox(0, 200, 0, 200)
        assert focus(coarse, old, (70.0, 120.0), everything) == FocusBox(39, 109, 91, 147)
        first = focus(coarse, np.zeros_like(old), (70.0, 120.0), everything)
        assert first == focus(coarse, old, None, everything)  # the object at its first click, or where nothing is known
        assert first == FocusBox(28, 175, 31, 157)

    def test_a_small_change_is_seen_with_what_is_round_it(self) -> None:
        old = np.zeros((200, 200), np.float32)
        old[50:150, 50:150] = 1
        coarse = np.where(old > 0, 5.0, -5.0).astype(np.float32)
        coarse[90:100, 150:155] = 5
        # 40 % of the object's longer side (104), and a pixel, times 1.4; cut to whole px.
        assert focus(coarse, old, (95.0, 152.0), FocusBox(0, 200, 0, 200)).size == (59, 59)

    def test_expected_iou(self) -> None:
        probabilities = torch.tensor([[0.9, 0.8], [0.3, 0.0]])
        assert expected_iou(probabilities, probabilities > 0.49) == pytest.approx(1.7 / 2.3)
        assert expected_iou(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool)) == 0

    def test_outside_the_crop_there_is_nothing(self) -> None:
        segmenter = segmenter_of("ritm_hrnet18s")
        embedding = segmenter.embed(picture(512, 512))
        logits = np.full((256, 256), -9, np.float32)
        logits[20:40, 20:40] = 9  # rows and columns 40 to 80 of the window
        prompt = with_logits(clicks((60, 60), (70, 70)), logits)
        (answer,) = segmenter.decode(embedding, [prompt])
        assert not answer.masks[0, 170:, :].any()
        assert not answer.masks[0, :, 170:].any()
        (first,) = segmenter.decode(embedding, [with_logits(clicks((60, 60)), logits)])
        assert (first.logits[0, 200:, 200:] > -9).any()  # the first click sees the window as it is

    def test_after_ten_clicks_only_the_focus_changes(self) -> None:
        segmenter = segmenter_of("focalclick_hrnet18s_s1")
        embedding = segmenter.embed(picture(256, 256))
        logits = np.full((256, 256), -6, np.float32)
        logits[100:150, 100:150] = 6
        places = [(110.0 + i, 120.0) for i in range(11)]
        prompt = with_logits(clicks(*places), logits)
        (answer,) = segmenter.decode(embedding, [prompt])
        changed = np.abs(answer.logits[0] - logits) > 1e-3
        assert changed.any()
        assert not changed.all()

    def test_an_outline_alone_is_refused_with_a_reason(self) -> None:
        segmenter = segmenter_of("ritm_hrnet18s")
        with pytest.raises(UnsupportedPrompt, match="takes clicks"):
            segmenter.decode(
                segmenter.embed(picture(20, 20)), [with_logits(clicks(), np.zeros((256, 256), np.float32))]
            )
