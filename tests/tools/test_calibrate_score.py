"""A line goes into the score's last layer, and nothing else of a checkpoint changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.mask_decoder import SamMaskDecoder
from tools.calibrate_score import calibrate


def written(decoder: SamMaskDecoder, path: Path) -> Path:
    tensors = {f"mask_decoder.{name}": tensor.contiguous() for name, tensor in decoder.state_dict().items()}
    save_file(tensors, path, {"qupath_sam": "{}"})
    return path


def test_scores_follow_the_line_and_all_else_stays(tmp_path: Path) -> None:
    decoder = SamMaskDecoder()
    before = written(decoder, tmp_path / "a.safetensors")
    calibrate(before, tmp_path / "b.safetensors", gain=1.25, offset=-0.1)
    old, new = load_file(before), load_file(tmp_path / "b.safetensors")
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {f"mask_decoder.iou_prediction_head.layers.2.{name}" for name in ("weight", "bias")}
    token = torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores = decoder.iou_prediction_head(token)
        decoder.load_state_dict({name.removeprefix("mask_decoder."): tensor for name, tensor in new.items()})
        torch.testing.assert_close(decoder.iou_prediction_head(token), 1.25 * scores - 0.1)
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata() == {"qupath_sam": "{}"}


def test_a_score_that_falls_with_the_iou_is_refused(tmp_path: Path) -> None:
    before = written(SamMaskDecoder(), tmp_path / "a.safetensors")
    with pytest.raises(InvalidRequest, match="train the score's head for longer"):
        calibrate(before, tmp_path / "b.safetensors", gain=-0.5, offset=1)
    assert not (tmp_path / "b.safetensors").exists()
