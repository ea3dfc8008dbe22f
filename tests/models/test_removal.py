"""A negative click into white takes away white, and nothing of the stained tissue round it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qupath_sam.models.click_rules import ClickRules, apply_rules
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts

ROWS, COLUMNS = np.mgrid[:CANVAS_SIZE, :CANVAS_SIZE] + 0.5
GLAND = np.hypot(ROWS - 128, COLUMNS - 128) < 80
LUMEN = np.hypot(ROWS - 128, COLUMNS - 128) < 30
ON_EPITHELIUM, IN_LUMEN = CanvasClick(128, 74, True), CanvasClick(128, 128, False)


def picture(*, lumen: tuple[int, int, int]) -> np.ndarray:
    """Return a gland with noise on pale stroma."""
    rgb = np.where(GLAND[..., None], (140, 80, 150), (215, 170, 200))
    rgb = np.where(LUMEN[..., None], lumen, rgb)
    noise = np.random.default_rng(0).normal(0, 12, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def after_click(new: np.ndarray, rgb: np.ndarray, click: CanvasClick = IN_LUMEN) -> np.ndarray:
    """Return the mask after a negative click into the gland, where the decoder answers with ``new``."""
    logits = [torch.from_numpy(np.where(mask, 4.0, -4.0).astype(np.float32)) for mask in (GLAND, new)]
    prompts = CanvasPrompts((ON_EPITHELIUM, click), 1, None, logits[0])
    (ruled,) = apply_rules(logits[1].numpy()[None, None], [prompts], ClickRules(), ruled=1, rgb=rgb)
    mask: np.ndarray = ruled[0] > 0
    return mask


def share_of(mask: np.ndarray, part: np.ndarray) -> float:
    return float((mask & part).sum() / part.sum())


def test_a_lumen_goes_and_the_epithelium_stays() -> None:
    half = GLAND & (ROWS < 100)
    mask = after_click(half, picture(lumen=(245, 243, 246)))
    assert share_of(mask, LUMEN) < 0.05
    assert share_of(mask, GLAND & ~LUMEN) > 0.95


def test_the_epithelium_stays_where_the_decoder_gives_up_all() -> None:
    mask = after_click(np.zeros_like(GLAND), picture(lumen=(245, 243, 246)))
    assert share_of(mask, LUMEN) < 0.05
    assert share_of(mask, GLAND & ~LUMEN) > 0.95


def test_where_the_stain_is_the_same_the_decoder_decides() -> None:
    half = GLAND & (ROWS < 100)
    mask = after_click(half, picture(lumen=(150, 95, 160)))
    assert share_of(mask, half) > 0.99
    assert not (mask & ~half).any()


@pytest.mark.parametrize(("lumen", "limited"), [((245, 243, 246), True), ((8, 8, 10), False)], ids=["white", "black"])
def test_only_what_is_lighter_than_the_object_is_limited(lumen: tuple[int, int, int], limited: bool) -> None:
    """Bright nuclei on black took a click more: black beside them differs from them as white does from tissue."""
    half = GLAND & (ROWS < 100)
    mask = after_click(half, picture(lumen=lumen))
    assert (share_of(mask, GLAND & ~LUMEN & ~half) > 0.95) is limited


def test_a_neighbouring_gland_goes_with_its_lumen() -> None:
    """Of a neighbour whose lumen was clicked only the lumen went: its epithelium came back."""
    both = np.hypot(ROWS - 128, COLUMNS - 70) < 50
    own = both.copy()
    lumen = np.hypot(ROWS - 128, COLUMNS - 170) < 22
    neighbour = (np.hypot(ROWS - 128, COLUMNS - 170) < 50) & ~own
    both |= neighbour
    rgb = np.where(both[..., None], (140, 80, 150), (215, 170, 200))
    rgb = np.where(lumen[..., None], (245, 243, 246), rgb)
    noise = np.random.default_rng(0).normal(0, 12, rgb.shape)
    logits = [torch.from_numpy(np.where(mask, 4.0, -4.0).astype(np.float32)) for mask in (both, own)]
    prompts = CanvasPrompts((CanvasClick(70, 128, True), CanvasClick(170, 128, False)), 1, None, logits[0])
    shown = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    (ruled,) = apply_rules(logits[1].numpy()[None, None], [prompts], ClickRules(), ruled=1, rgb=shown)
    assert share_of(ruled[0] > 0, neighbour) < 0.01
    assert share_of(ruled[0] > 0, own) > 0.99


def test_what_the_decoder_keeps_round_the_click_is_not_judged() -> None:
    mask = after_click(GLAND & ~LUMEN, picture(lumen=(245, 243, 246)))
    assert np.count_nonzero(mask != (GLAND & ~LUMEN)) < 0.02 * GLAND.sum()


def test_a_stroke_is_left_to_the_decoder() -> None:
    half = GLAND & (ROWS < 100)
    logits = [torch.from_numpy(np.where(mask, 4.0, -4.0).astype(np.float32)) for mask in (GLAND, half)]
    stroke = (ON_EPITHELIUM, IN_LUMEN, CanvasClick(140, 128, False))
    prompts = CanvasPrompts(stroke, 2, None, logits[0])
    rgb = picture(lumen=(245, 243, 246))
    (ruled,) = apply_rules(logits[1].numpy()[None, None], [prompts], ClickRules(), ruled=1, rgb=rgb)
    assert not ((ruled[0] > 0) & ~half).any()
