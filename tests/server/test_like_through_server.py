"""Objects like examples through a real server: labels, threshold, likeness, and a run that is taken up again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from qupath_sam import LocalClient, Pushed, RegionRequest, SamClient
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import InvalidPrompt, InvalidRequest
from qupath_sam.types.prompts import Label
from qupath_sam.types.region_requests import Effort, Example, Prompting
from qupath_sam.types.region_results import RegionBatch, RegionObject
from tests.engine.test_like import PALE, PURPLE, ROWS, VIOLET, disc, found_in, place, scene

WANTED, REJECTED = Example(disc(2, 1)), Example(disc(3, 1), Label.NEGATIVE)


@pytest.fixture(scope="module")
def discs() -> np.ndarray:
    """Columns of purple and violet discs in turn."""
    return scene([PURPLE, VIOLET])


def like(*examples: Example, **options: object) -> RegionRequest:
    options = {"effort": Effort.FAST, "search_background": True, **options}
    return RegionRequest(prompting=Prompting.LIKE, examples=examples, **options)


def objects(batches: Iterable[RegionBatch]) -> list[RegionObject]:
    return [each for batch in batches for each in batch.objects]


def told(found: Iterable[RegionObject]) -> list[tuple[int, bytes, float, float | None]]:
    return [(each.number, each.geometry.wkb, each.score, each.likeness) for each in found]


def test_a_server_finds_what_this_process_finds_with_its_likeness(client: SamClient, discs: np.ndarray):
    here: list[RegionObject] = []
    with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
        here = objects(local.segment_region(local.push(discs, mpp=0.5), like(WANTED, REJECTED)))
    there = objects(client.segment_region(client.push(discs, mpp=0.5), like(WANTED, REJECTED)))
    assert told(there) == told(here)
    assert len({each.likeness for each in there}) > 1
    assert all(each.likeness is not None and 0 < each.likeness <= 1 for each in there)


def test_labels_of_examples_reach_the_server(client: SamClient, discs: np.ndarray):
    pushed = client.push(discs, mpp=0.5)
    without, with_it = (objects(client.segment_region(pushed, like(*each))) for each in ((WANTED,), (WANTED, REJECTED)))
    assert found_in(without, 0, 2, 4, 6) == found_in(with_it, 0, 2, 4, 6) == 4 * ROWS
    assert found_in(without, 1, 3, 5) == 3 * ROWS
    assert found_in(with_it, 1, 3, 5) == 0


def test_a_clicked_example_is_outlined_by_the_server(client: SamClient):
    """The fake draws a disc of its own size round the click, so that size is what the scale follows."""
    pushed = client.push(scene([PURPLE, PALE]), mpp=0.5)
    batches = list(client.segment_region(pushed, like(Example(place(2, 1)))))
    assert any("the examples suggest" in remark for remark in batches[0].provenance.remarks)
    assert all(each.likeness is not None for each in objects(batches))


def test_the_threshold_is_the_callers(client: SamClient, discs: np.ndarray):
    pushed = client.push(discs, mpp=0.5)
    every = objects(client.segment_region(pushed, like(WANTED, like_threshold=0.0)))
    likeness = sorted({each.likeness for each in every})
    threshold = (likeness[0] + likeness[-1]) / 2
    batches = list(client.segment_region(pushed, like(WANTED, like_threshold=threshold)))
    fewer = objects(batches)
    assert 0 < len(fewer) < len(every)
    assert {each.geometry.wkb for each in fewer} == {e.geometry.wkb for e in every if e.likeness >= threshold}
    assert any(f"{threshold:.2f} was asked for" in remark for remark in batches[0].provenance.remarks)


def test_a_token_goes_on_with_the_same_examples_alone(
    client: SamClient, discs: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("qupath_sam.engine.region.run.TILES_PER_TOKEN", 2)
    pushed: Pushed = client.push(discs, mpp=0.5)
    whole = list(client.segment_region(pushed, like(WANTED)))
    half = next(place for place, batch in enumerate(whole) if place >= len(whole) // 2 and batch.resume_token)
    token, kept = whole[half].resume_token, objects(whole[: half + 1])
    rest = objects(client.segment_region(pushed, replace(like(WANTED), resume_token=token)))
    assert told(kept) + told(rest) == told(objects(whole))
    assert kept
    assert rest
    with pytest.raises(InvalidRequest, match="another request"):
        list(client.segment_region(pushed, replace(like(WANTED, REJECTED), resume_token=token)))


def test_examples_that_cannot_be_used_are_refused(client: SamClient, discs: np.ndarray):
    pushed = client.push(discs, mpp=0.5)
    with pytest.raises(InvalidPrompt, match="outside"):
        list(client.segment_region(pushed, like(Example((9000.0, 10.0)))))
