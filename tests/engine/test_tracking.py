"""Objects that a model with a memory follows through a stack: a disc that moves, and another one in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from shapely.geometry import Point, Polygon

from qupath_sam import Axis, Client, EngineSettings, LocalClient, SamClient, Slide
from qupath_sam.client.propagation import PlaneOutline, PropagateOptions, propagate
from qupath_sam.engine import build
from qupath_sam.engine.call import Call
from qupath_sam.engine.cancellation import CancelToken
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.engine.tracking import MemoryBanks, Remembered
from qupath_sam.errors import Cancelled
from qupath_sam.models.base import LOW_RES_SIZE, Embedding, MaskSet
from qupath_sam.models.fake import FakeSegmenter
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.tracking import MemoryBank
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.regions import Region, Window
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.types.results import ObjectResult

HEIGHT, WIDTH = 300, 400
#: Radius of the disc on each plane; 0 where it is not.
RADII = (0, 0, 30, 34, 38, 36, 32, 0, 0)
START = 4
GREY, OTHERS = 90, 140
#: Takes whatever the model says.
LENIENT = {"min_score": 0.0, "min_iou": 0.0, "max_area_change": 1e6}


def disc_at(plane: int, *, step: int = 14) -> Polygon:
    """The disc of a plane, level-0 px."""
    return Point(150 + step * (plane - START), 130).buffer(RADII[plane])


#: A black disc that stays where it is.
BLACK = Point(150, 230).buffer(20)


def pixels_of(plane: int, *, step: int = 14) -> np.ndarray:
    """The disc, a brighter one that stays where it has been on the start plane, and `BLACK`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    pixels = np.full((HEIGHT, WIDTH), 220, np.uint8)
    if plane != START:
        pixels[(x - 150) ** 2 + (y - 130) ** 2 < 38**2] = OTHERS
    pixels[(x - 150) ** 2 + (y - 230) ** 2 < 20**2] = 0
    pixels[(x - 150 - step * (plane - START)) ** 2 + (y - 130) ** 2 < RADII[plane] ** 2] = GREY
    return pixels


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("stack") / "discs.ome.tif"
    tifffile.imwrite(file, np.array([pixels_of(z) for z in range(len(RADII))]), ome=True, metadata={"axes": "ZYX"})
    return file


@pytest.fixture(scope="module")
def fast_stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disc goes further than a window is wide."""
    file = tmp_path_factory.mktemp("stack") / "fast.ome.tif"
    planes = np.array([pixels_of(z, step=48) for z in range(len(RADII))])
    tifffile.imwrite(file, planes, ome=True, metadata={"axes": "ZYX"})
    return file


@dataclass
class GreyTracker:
    """Remembers how grey an object is, and finds what is as grey on the next plane.

    Attributes:
        calls: what was asked: "remember", or the number of planes that the bank has passed.
        score: of what it finds.
    """

    calls: list[str | int] = field(default_factory=list)
    score: float = 0.95

    def remember(self, embedding: Embedding, mask: NDArray[np.bool_]) -> MemoryBank:
        self.calls.append("remember")
        assert mask.any()
        grey = float(np.median(embedding.tensors["grey"].numpy()[mask]))
        return MemoryBank({"grey": torch.tensor([grey])})

    def track(self, embedding: Embedding, bank: MemoryBank) -> tuple[MaskSet, MemoryBank]:
        self.calls.append(bank.tracked)
        mask = np.abs(embedding.tensors["grey"].numpy() - float(bank.first["grey"])) < 15
        rows, columns = ((np.arange(LOW_RES_SIZE) + 0.5) * side / LOW_RES_SIZE for side in mask.shape)
        logits = np.where(mask[np.ix_(rows.astype(int), columns.astype(int))], 6, -6).astype(np.float32)
        after = MemoryBank(bank.first, (*bank.recent, {"plane": torch.zeros(64)})[-2:], bank.tracked + 1)
        return MaskSet(mask[None], np.array([self.score], np.float32), logits[None]), after


class Tracking(FakeSegmenter):
    """The fake model with a memory."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = GreyTracker()

    def embed_together(self, windows: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        greys = (torch.from_numpy(pixels[..., 0].astype(np.float32)) for pixels in windows)
        made = super().embed_together(windows)
        return [
            Embedding({**each.tensors, "grey": grey}, each.window_size) for each, grey in zip(made, greys, strict=True)
        ]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Tracking:
    segmenter, fake = Tracking(), load_segmenter("fake", device="cpu")

    def load(name: str, **_: object) -> LoadedModel:
        return LoadedModel(segmenter, fake.spec, fake.weights_sha256, "cpu", "fp32")

    monkeypatch.setattr(build, "load_segmenter", load)
    return segmenter


@pytest.fixture
def sam(model: Tracking) -> Iterator[LocalClient]:
    with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
        yield local


def carried(client: Client, stack: Path, **options: float) -> list[PlaneOutline]:
    return list(client.open(stack, z=START, model="fake").propagate(disc_at(START), "z", **options))


def overlap(a: Polygon, b: Polygon) -> float:
    return float(a.intersection(b).area / a.union(b).area)


@pytest.mark.parametrize("where", ["here", "on a server"])
def test_each_plane_is_answered_from_what_is_remembered(model: Tracking, stack: Path, where: str) -> None:
    if where == "here":
        with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
            planes = carried(local, stack)
    else:
        settings = ServerSettings(port=0, model="fake", device="cpu")
        with start_server(settings) as server, SamClient(server.address) as client:
            planes = carried(client, stack)
    assert [plane.z for plane in planes] == [5, 6, 7, 3, 2, 1], "upwards until it ends, then downwards"
    for plane in planes:
        if RADII[plane.z]:
            assert plane.outline is not None
            assert overlap(plane.outline.geometry, disc_at(plane.z)) > 0.95
        else:
            assert plane.refusal is Refusal.EMPTY
    assert model.tracker.calls == ["remember", 0, 1, 2, "remember", 0, 1, 2], "each from the bank of the plane before"
    assert model.decode_calls in (0, 1), "no plane is asked by prompts (a server warms up by one)"


def test_without_a_memory_the_outline_stays_with_what_lies_in_its_place(stack: Path) -> None:
    with LocalClient(EngineSettings(model="fake", device="cpu")) as sam:
        (up, *_) = carried(sam, stack, **LENIENT)
    assert up.outline is not None
    assert overlap(up.outline.geometry, disc_at(up.z)) < 0.8


def test_an_object_ends_where_the_score_falls(sam: LocalClient, model: Tracking, stack: Path) -> None:
    model.tracker.score = 0.7
    planes = carried(sam, stack)
    assert [(plane.z, plane.refusal) for plane in planes] == [(5, Refusal.LOW_SCORE), (3, Refusal.LOW_SCORE)]
    assert [plane.z for plane in carried(sam, stack, min_score=0.6)] == [5, 6, 7, 3, 2, 1]


def test_a_window_that_the_object_leaves_gives_way_to_another_with_a_new_memory(
    sam: LocalClient, model: Tracking, fast_stack: Path
) -> None:
    slide = Slide(fast_stack, z=START)
    options = PropagateOptions(first=START, last=6, **LENIENT)
    planes = list(propagate(sam, slide, disc_at(START), Axis.Z, options=options, model="fake"))
    assert [plane.z for plane in planes] == [5, 6]
    assert model.tracker.calls.count("remember") >= 2
    assert len({plane.result.window for plane in planes}) == 2
    assert all(plane.outline is not None for plane in planes)


def first_answer(sam: LocalClient, stack: Path, *outlines: Polygon) -> list[ObjectResult]:
    """What the plane on which the outlines are right is answered with."""
    objects = [ObjectRequest(ObjectPrompts(outline=outline), str(i)) for i, outline in enumerate(outlines)]
    options = RefineOptions(remember=True, coarsest_mpp=0)
    return list(sam.predict(Slide(stack, z=START), objects, model="fake", refine=options).results)


def next_plane(sam: LocalClient, stack: Path, before: Sequence[ObjectResult], **more: object) -> list[ObjectResult]:
    objects = [
        ObjectRequest(ObjectPrompts(outline=each.outlines[0].geometry), each.object_id, each.token) for each in before
    ]
    options = PropagateOptions(**LENIENT).refining()
    return list(sam.predict(Slide(stack, z=START + 1), objects, model="fake", refine=options, **more).results)


def test_an_outline_that_is_right_comes_back_as_it_is(sam: LocalClient, stack: Path) -> None:
    (result,) = first_answer(sam, stack, disc_at(START))
    assert result.outlines[0].geometry.equals(disc_at(START))
    assert result.token
    assert result.refinement is not None
    assert (result.refinement.refusal, result.outlines[0].score) == (None, 1.0)
    (outside,) = first_answer(sam, stack, Point(-500, -500).buffer(9))
    assert outside.refinement is not None
    assert (outside.refinement.refusal, outside.token) == (Refusal.OLD_OUTSIDE, b"")


def test_a_model_without_a_memory_encodes_nothing_for_it(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fake = FakeSegmenter(), load_segmenter("fake", device="cpu")
    monkeypatch.setattr(build, "load_segmenter", lambda *_, **__: LoadedModel(plain, fake.spec, "", "cpu", "fp32"))
    with LocalClient(EngineSettings(model="fake", device="cpu")) as sam:
        (result,) = first_answer(sam, stack, disc_at(START))
    assert result.outlines[0].geometry.equals(disc_at(START))
    assert (result.token, plain.embed_calls) == (b"", 0)


def test_objects_of_one_call_have_memories_of_their_own(sam: LocalClient, model: Tracking, stack: Path) -> None:
    before = first_answer(sam, stack, disc_at(START), BLACK)
    assert before[0].token != before[1].token
    grey, black = next_plane(sam, stack, before)
    assert (grey.object_id, black.object_id) == ("0", "1")
    assert overlap(grey.outlines[0].geometry, disc_at(START + 1)) > 0.95
    assert overlap(black.outlines[0].geometry, BLACK) > 0.95
    assert model.tracker.calls == ["remember", "remember", 0, 0]


def test_a_dropped_memory_costs_no_more_than_the_memory(sam: LocalClient, model: Tracking, stack: Path) -> None:
    before = first_answer(sam, stack, disc_at(START))
    sam.engine.memories = MemoryBanks(1 << 20)
    (result,) = next_plane(sam, stack, before)
    assert result.outlines, "it is refined by its outline"
    assert model.decode_calls > 0
    assert model.tracker.calls == ["remember", "remember"], "a memory begins with the answer"
    assert result.token not in (b"", before[0].token)


def test_a_token_of_another_model_names_no_memory(sam: LocalClient, model: Tracking, stack: Path) -> None:
    before = first_answer(sam, stack, disc_at(START))
    held = sam.engine.memories.get(before[0].token)
    assert held is not None
    strange = Remembered(("another", "", ""), held.window, held.bank)
    sam.engine.memories.keep(before[0].token, strange)
    assert next_plane(sam, stack, before)[0].outlines
    assert 0 not in model.tracker.calls


def test_a_cancelled_plane_leaves_the_memory_of_the_plane_before(
    sam: LocalClient, model: Tracking, stack: Path
) -> None:
    before = first_answer(sam, stack, disc_at(START))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        next_plane(sam, stack, before, call=Call(cancel=token))
    assert model.tracker.calls == ["remember"]
    (once,), (again,) = (next_plane(sam, stack, before) for _ in range(2))
    assert once.outlines[0].geometry.equals(again.outlines[0].geometry)
    assert once.token == again.token, "the same request, the same answer"


def test_memories_take_no_more_room_than_they_may() -> None:
    banks = MemoryBanks(3000)
    window = Window(Region(0, 0, 8, 8), 8, 8)
    for plane in range(10):
        bank = MemoryBank({"grey": torch.zeros(250)}, (), plane)
        banks.keep(bytes([plane]), Remembered(("m", "", ""), window, bank))
    assert banks.size_bytes == 3000
    assert [banks.get(bytes([plane])) is not None for plane in range(10)] == [False] * 7 + [True] * 3
    banks.resize(1500)
    assert banks.size_bytes == 1000


def test_a_device_without_room_drops_the_memories_too() -> None:
    engine = build.build_engine(EngineSettings(model="fake", device="cpu"))
    bank = MemoryBank({"memory": torch.zeros(4)})
    remembered = Remembered(("fake", "", ""), Window(Region(0, 0, 8, 8), 8, 8), bank)
    engine.memories.keep(b"token", remembered)
    assert engine.memories.get(b"token") is remembered
    engine.lanes.first.worker._free()
    assert engine.memories.get(b"token") is None
    engine.close()
