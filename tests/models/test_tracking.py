"""The memory of video models, plane by plane: as the library's own session has it, and no more than its window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from shapely.geometry import Point
from torch.nn import functional as F

from qupath_sam import SamClient
from qupath_sam.errors import WrongWeights
from qupath_sam.models.adapters.transformers_sam import (
    TransformersSegmenter,
    TransformersTracker,
    load_transformers_sam,
)
from qupath_sam.models.base import LOW_RES_SIZE, Capabilities
from qupath_sam.models.devices import choose_execution
from qupath_sam.models.spec import Family
from qupath_sam.models.tracking import MemoryBank, Tracker, tracker_of
from qupath_sam.models.weights.manage import add
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from tests.models.hf_files import side_of, write_folder, write_video_folder

transformers = pytest.importorskip("transformers", reason="the extra [transformers] is not installed")

VIDEO_FAMILIES = {Family.SAM2: "Sam2Video", Family.EDGETAM: "EdgeTamVideo", Family.SAM3_TRACKER: "Sam3TrackerVideo"}
#: More than a model looks back at.
PLANES = 20


def loaded(weights: Path, family: Family) -> TransformersSegmenter:
    return load_transformers_sam(
        weights,
        family=family,
        capabilities=Capabilities(input_size=side_of(family), mask_count=3),
        execution=choose_execution("cpu", "fp32"),
    )


@pytest.fixture(scope="module", params=list(VIDEO_FAMILIES), ids=lambda family: family.value)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Path]:
    if request.param is Family.EDGETAM:
        pytest.importorskip("timm", reason="the extra [transformers] is not installed")
    return request.param, write_video_folder(request.param, tmp_path_factory.mktemp("video"))


def planes_of(side: int) -> list[np.ndarray]:
    """A dark disc that moves over noise, one RGB picture a plane."""
    y, x = np.mgrid[:side, :side] + 0.5
    pictures = []
    for plane in range(PLANES):
        inside = (x - side / 3 - plane) ** 2 + (y - side / 2) ** 2 < (side / 5) ** 2
        noise = np.random.default_rng(plane).integers(0, 40, (side, side, 3))
        pictures.append((np.where(inside[..., None], 60, 180) + noise).astype(np.uint8))
    return pictures


def disc(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] + 0.5
    inside: np.ndarray = (x - side / 3) ** 2 + (y - side / 2) ** 2 < (side / 5) ** 2
    return inside


def as_input(family: Family, picture: np.ndarray) -> torch.Tensor:
    """A picture of the model's own size as its encoder takes it, ``(3, side, side)``."""
    mean, std = ((0.5,) * 3, (0.5,) * 3) if family is Family.SAM3_TRACKER else (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )  # fmt: skip
    image = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    return (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def by_the_library(family: Family, weights: Path, pictures: list[np.ndarray], mask: np.ndarray) -> list[torch.Tensor]:
    """Logits of each plane after the first, by the library's session of the whole video."""
    name = VIDEO_FAMILIES[family]
    model = getattr(transformers, f"{name}Model").from_pretrained(weights.parent).eval()
    session: Any = getattr(transformers, f"{name}InferenceSession")(dtype=torch.float32)
    answers = []
    with torch.inference_mode():
        for place, picture in enumerate(pictures):
            if place == 0:
                index = session.obj_id_to_idx(1)
                session.add_mask_inputs(index, 0, torch.from_numpy(mask).float()[None, None])
                session.obj_with_new_inputs = [1]
            found = model(inference_session=session, frame=as_input(family, picture), frame_idx=place)
            answers.append(found.pred_masks[0].float())
    return answers[1:]


def tracked(segmenter: TransformersSegmenter, tracker: Tracker, pictures: list[np.ndarray], mask: np.ndarray) -> Any:
    bank = tracker.remember(segmenter.embed(pictures[0]), mask)
    answers, banks = [], [bank]
    for picture in pictures[1:]:
        masks, bank = tracker.track(segmenter.embed(picture), bank)
        answers.append(masks)
        banks.append(bank)
    return answers, banks


def test_planes_are_answered_as_by_the_library_with_the_whole_video(video: tuple[Family, Path]) -> None:
    family, weights = video
    side = side_of(family)
    pictures, mask = planes_of(side), disc(side)
    segmenter = loaded(weights, family)
    tracker = tracker_of(segmenter)
    assert tracker is not None
    ours, _ = tracked(segmenter, tracker, pictures, mask)
    for mine, theirs in zip(ours, by_the_library(family, weights, pictures, mask), strict=True):
        square = F.interpolate(theirs[None], size=(LOW_RES_SIZE, LOW_RES_SIZE), mode="bilinear")[0]
        assert np.abs(mine.logits - square.numpy()).max() < 2e-3 * max(1.0, float(square.abs().max()))
        assert mine.masks.shape == (1, side, side)
        assert 0 <= mine.scores[0] <= 1


def test_an_image_by_itself_is_encoded_with_the_embedding_of_no_memory(video: tuple[Family, Path]) -> None:
    family, weights = video
    side = side_of(family)
    picture = planes_of(side)[0]
    found = loaded(weights, family).embed(picture).tensors["map2"]
    theirs = getattr(transformers, f"{VIDEO_FAMILIES[family]}Model").from_pretrained(weights.parent).eval()
    with torch.inference_mode():
        alone = theirs.get_image_embeddings(as_input(family, picture)[None])[-1]
    assert torch.allclose(found, alone, atol=1e-5)


def test_what_is_remembered_decides_the_answer(video: tuple[Family, Path]) -> None:
    family, weights = video
    side = side_of(family)
    pictures, mask = planes_of(side), disc(side)
    segmenter = loaded(weights, family)
    tracker = tracker_of(segmenter)
    assert tracker is not None
    here, there = (tracker.remember(segmenter.embed(pictures[0]), each) for each in (mask, mask[:, ::-1].copy()))
    now = segmenter.embed(pictures[1])
    (first, after), (other, _) = tracker.track(now, here), tracker.track(now, there)
    assert np.abs(first.logits - other.logits).max() > 1e-4, "two objects of one plane have memories of their own"
    again, _ = tracker.track(now, here)
    assert np.array_equal(again.logits, first.logits), "a bank is a value: tracking leaves it as it is"
    later = segmenter.embed(pictures[2])
    with_plane, _ = tracker.track(later, after)
    without, _ = tracker.track(later, here)
    assert np.abs(with_plane.logits - without.logits).max() > 1e-5, "the plane between is remembered"


def test_a_bank_keeps_the_window_of_the_model_alone(video: tuple[Family, Path]) -> None:
    family, weights = video
    side = side_of(family)
    segmenter = loaded(weights, family)
    tracker = tracker_of(segmenter)
    assert tracker is not None
    _, banks = tracked(segmenter, tracker, planes_of(side), disc(side))
    assert [bank.tracked for bank in banks] == list(range(PLANES))
    spatial = [sum("maskmem_features" in plane for plane in bank.recent) for bank in banks]
    assert spatial == [min(k, 6) for k in range(PLANES)], "six planes and the first, as in the paper"
    assert [len(bank.recent) for bank in banks] == [min(k, 15) for k in range(PLANES)], "sixteen object pointers"
    assert banks[-1].size_bytes == banks[-2].size_bytes == banks[15].size_bytes
    assert banks[-1].first is banks[0].first


def test_a_window_of_another_shape_is_tracked_over_itself(video: tuple[Family, Path]) -> None:
    family, weights = video
    segmenter = loaded(weights, family)
    tracker = tracker_of(segmenter)
    assert tracker is not None
    pictures = [picture[: side_of(family) // 2] for picture in planes_of(side_of(family))]
    bank = tracker.remember(segmenter.embed(pictures[0]), disc(side_of(family))[: side_of(family) // 2])
    masks, bank = tracker.track(segmenter.embed(pictures[1]), bank)
    assert masks.masks.shape[1:] == pictures[0].shape[:2]
    assert isinstance(bank, MemoryBank)


@pytest.mark.parametrize("family", [Family.SAM2, Family.SAM_HQ])
def test_weights_of_pictures_alone_have_no_memory(tmp_path: Path, family: Family) -> None:
    assert tracker_of(loaded(write_folder(family, tmp_path), family)) is None


def test_a_video_config_over_weights_without_a_memory_is_told(tmp_path: Path) -> None:
    weights = write_video_folder(Family.SAM2, tmp_path / "video")
    (tmp_path / "image").mkdir()
    image = write_folder(Family.SAM2, tmp_path / "image", channels=128)
    weights.write_bytes(image.read_bytes())
    segmenter = loaded(weights, Family.SAM2)
    tracker = tracker_of(segmenter)
    assert tracker is not None
    with pytest.raises(WrongWeights, match=r"lacks \d+ tensors of the memory"):
        tracker.remember(segmenter.embed(planes_of(64)[0]), disc(64))


def test_a_stack_is_followed_end_to_end(
    tmp_path: Path, video: tuple[Family, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    family, weights = video
    side = side_of(family)
    stack = tmp_path / "stack.ome.tif"
    planes = np.array(planes_of(side))[:12]
    tifffile.imwrite(stack, planes, ome=True, photometric="rgb", metadata={"axes": "TYXS"})
    store = ModelStore(tmp_path / "home")
    add("mine", weights, store)
    banks: list[tuple[MemoryBank | None, MemoryBank]] = []
    remember, track = TransformersTracker.remember, TransformersTracker.track

    def remembered(self: TransformersTracker, *given: Any) -> MemoryBank:
        bank = remember(self, *given)
        banks.append((None, bank))
        return bank

    def found(self: TransformersTracker, embedding: Any, bank: MemoryBank) -> Any:
        masks, after = track(self, embedding, bank)
        banks.append((bank, after))
        return masks, after

    monkeypatch.setattr(TransformersTracker, "remember", remembered)
    monkeypatch.setattr(TransformersTracker, "track", found)
    lenient = {"min_score": 0.0, "min_iou": 0.0, "max_area_change": 1e6}
    settings = ServerSettings(port=0, model="mine", device="cpu", models_home=store.home)
    with start_server(settings) as server, SamClient(server.address) as sam:
        slide = sam.open(stack, t=2)
        outlines = list(slide.propagate(Point(side / 3 + 2, side / 2).buffer(side / 5), "t", **lenient))
    assert [plane.t for plane in outlines] == [*range(3, 12), 1, 0], {plane.t: plane.refusal for plane in outlines}
    given = [before for before, _ in banks]
    assert [bank is None for bank in given] == [True, *[False] * 9, True, *[False] * 2]
    for place, before in enumerate(given):
        if before is not None:
            assert before is banks[place - 1][1], "the memory goes from plane to plane"
    assert {plane.provenance.model for plane in outlines} == {"mine"}
