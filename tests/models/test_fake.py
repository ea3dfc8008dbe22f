"""The fake keeps what its docstring ensures."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.models.base import Segmenter
from qupath_sam.models.fake import FakeSegmenter
from tests.contracts.segmenters import SegmenterContract, box, clicks, picture, with_logits


class TestFake(SegmenterContract):
    tolerance: ClassVar[float] = 0.0
    keeps_masks: ClassVar[float | None] = 0.95

    @classmethod
    def make(cls) -> Segmenter:
        return FakeSegmenter()


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_click_on_a_pixel_covers_it_and_a_negative_one_uncovers_it(
    height: int, width: int, data: st.DataObject
) -> None:
    fake = FakeSegmenter()
    embedding = fake.embed(np.zeros((height, width, 3), np.uint8))
    i, j = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    centre = (i + 0.5, j + 0.5)
    (covered,) = fake.decode(embedding, [clicks(centre)])
    assert covered.masks[0, j, i]
    (uncovered,) = fake.decode(embedding, [clicks(centre, centre, labels=(1, 0))])
    assert not uncovered.masks[0, j, i]


def test_a_disc_has_the_radius_asked_for() -> None:
    fake = FakeSegmenter(radius=0.25)
    (answer,) = fake.decode(fake.embed(picture(200, 300)), [clicks((150, 100))])
    rows, columns = np.nonzero(answer.masks[0])
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (100, 200, 50, 150)
    assert answer.masks[0].sum() == pytest.approx(np.pi * 50**2, rel=0.01)


def test_a_box_gets_its_ellipse() -> None:
    fake = FakeSegmenter()
    (answer,) = fake.decode(fake.embed(picture(200, 300)), [box(40, 50, 140, 110)])
    rows, columns = np.nonzero(answer.masks[0])
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (40, 140, 50, 110)
    assert answer.masks[0].sum() == pytest.approx(np.pi * 50 * 30, rel=0.01)


def test_an_earlier_mask_is_where_it_starts() -> None:
    fake = FakeSegmenter()
    embedding = fake.embed(picture(256, 256))
    (first,) = fake.decode(embedding, [clicks((60, 60))])
    (grown,) = fake.decode(embedding, [with_logits(clicks((60, 60), (180, 180)), first.logits[0])])
    assert grown.masks[0, 60, 60]
    assert grown.masks[0, 180, 180]
    assert (grown.masks[0] & first.masks[0]).sum() == first.masks[0].sum()
    (shrunk,) = fake.decode(embedding, [with_logits(clicks((60, 60), (60, 60), labels=(1, 0)), first.logits[0])])
    assert not shrunk.masks.any()


def test_three_masks_differ_in_size() -> None:
    fake = FakeSegmenter()
    (answer,) = fake.decode(fake.embed(picture(256, 256)), [clicks((128, 128))], several_masks=True)
    areas = [int(mask.sum()) for mask in answer.masks]
    assert areas[1] < areas[0] < areas[2]
    assert [round(float(a - b), 3) for a, b in pairwise(answer.scores)] == [0.1, 0.1]


def test_counts_and_calls_back() -> None:
    calls: list[str] = []
    fake = FakeSegmenter(
        embedding_bytes=1000, before_embed=lambda: calls.append("embed"), before_decode=lambda: calls.append("decode")
    )
    embedding = fake.embed(picture(8, 8))
    fake.decode(embedding, [clicks((4, 4))])
    fake.decode(embedding, [clicks((4, 4))])
    assert calls == ["embed", "decode", "decode"]
    assert (fake.embed_calls, fake.decode_calls, embedding.size_bytes) == (1, 2, 1000)
