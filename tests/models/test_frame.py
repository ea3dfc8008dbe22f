"""Windows in the model's square: where they lie, and logits there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.models.base import LOW_RES_SIZE
from qupath_sam.models.frame import PADDING_LOGIT, ModelFrame, masks_over_window

sides = st.integers(1, 3000)


@given(sides, sides)
def test_padded_windows_keep_their_aspect_as_segment_anything_does(height: int, width: int) -> None:
    from segment_anything.utils.transforms import ResizeLongestSide

    frame = ModelFrame.padded((height, width), 1024)
    expected = ResizeLongestSide.get_preprocess_shape(height, width, 1024)
    assert frame.content_size == tuple(max(1, side) for side in expected)
    assert max(frame.content_size) == 1024


@given(sides, sides)
def test_corners_go_to_corners(height: int, width: int) -> None:
    for frame in (ModelFrame.padded((height, width), 1024), ModelFrame.stretched((height, width), 256)):
        corners = frame.to_model(np.array([[0, 0], [width, height]], np.float32))
        np.testing.assert_allclose(corners, [[0, 0], frame.content_size[::-1]], rtol=1e-5)


def _smooth(seed: int) -> torch.Tensor:
    coarse = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return 5 * torch.nn.functional.interpolate(coarse, size=(LOW_RES_SIZE, LOW_RES_SIZE), mode="bicubic")[0]


@given(st.integers(200, 1000), st.integers(200, 1000), st.integers(0, 10))
def test_logits_come_back_from_the_padded_square(height: int, width: int, seed: int) -> None:
    frame = ModelFrame.padded((height, width), 1024)
    logits = _smooth(seed)
    back = frame.logits_over_window(frame.logits_over_square(logits))
    # Near the padding's edge interpolation mixes the two.
    rows, columns = slice(0, 246), slice(0, 246)
    assert (back - logits)[:, rows, columns].abs().mean() < 0.1
    assert ((back > 0) == (logits > 0)).float().mean() > 0.95


@given(st.integers(64, 1000), st.integers(64, 1000), st.floats(0.2, 0.8), st.floats(0.2, 0.8))
def test_a_blob_in_the_square_lands_where_the_window_has_it(height: int, width: int, x: float, y: float) -> None:
    """A disc drawn in model px round a point's image is found in the window round the point itself."""
    frame = ModelFrame.padded((height, width), 1024)
    ((model_x, model_y),) = frame.to_model(np.array([[x * width, y * height]], np.float32))
    cells = (torch.arange(LOW_RES_SIZE) + 0.5) * 1024 / LOW_RES_SIZE
    radius = 0.15 * min(frame.content_size)
    logits = (radius - torch.hypot(cells[None] - model_x, cells[:, None] - model_y))[None]
    mask = masks_over_window(frame.logits_over_window(logits), (height, width))[0].numpy()
    rows, columns = np.nonzero(mask)
    pixel = max(height, width) / 1024 * 4  # one cell of the logits, in window px
    assert columns.mean() + 0.5 == pytest.approx(x * width, abs=pixel)
    assert rows.mean() + 0.5 == pytest.approx(y * height, abs=pixel)


def test_padding_is_surely_not_the_object() -> None:
    frame = ModelFrame.padded((512, 1024), 1024)
    square = frame.logits_over_square(torch.full((1, LOW_RES_SIZE, LOW_RES_SIZE), 7.0))
    assert (square[:, :128] == 7).all()
    assert (square[:, 128:] == PADDING_LOGIT).all()


def test_square_windows_are_left_alone() -> None:
    logits = _smooth(0)
    frame = ModelFrame.padded((300, 300), 1024)
    assert frame.logits_over_window(logits) is logits
    assert frame.logits_over_square(logits) is logits
