"""Each of several masks is refined where any of them may be chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qupath_sam.models.adapters.lite_medsam import LiteMedSamSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import WindowPrompts
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from tests.contracts.segmenters import picture


@pytest.fixture(scope="module")
def segmenter() -> LiteMedSamSegmenter:
    default = load_segmenter(DEFAULT_MODEL, device="cpu").segmenter
    assert isinstance(default, TwoDecoderSegmenter)
    loaded = default.first
    assert isinstance(loaded, LiteMedSamSegmenter)
    several = dataclasses.replace(loaded.capabilities, mask_count=3)
    return LiteMedSamSegmenter(loaded.network, capabilities=several, execution=loaded.execution)


def test_all_masks_hold_the_click_and_the_best_stays_as_it_is(segmenter: LiteMedSamSegmenter) -> None:
    embedding = segmenter.embed(picture(256, 256))
    prompt = WindowPrompts(np.array([[90.5, 120.5]], np.float32), np.array([1]), last_click=1)
    (best,) = segmenter.decode(embedding, [prompt], several_masks=True)
    (each,) = segmenter.decode(embedding, [dataclasses.replace(prompt, refine_all=True)], several_masks=True)
    np.testing.assert_array_equal(each.masks[0], best.masks[0])
    np.testing.assert_array_equal(each.scores, best.scores)
    assert each.masks[:, 120, 90].all()  # rules for clicks hold in refined masks alone
    assert np.abs(each.logits[1:] - best.logits[1:]).max() > 0.1
    assert np.abs(each.logits).max() <= 10  # the head's limit
