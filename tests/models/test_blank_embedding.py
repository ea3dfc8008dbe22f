"""A warm-up leaves out an encoder that is ready before its first call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qupath_sam.evaluation.one_model import engine_of
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.devices import CompiledEncoder
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from tests.contracts.segmenters import picture


def test_openvino_s_encoder_is_not_called_by_a_warm_up_and_torch_s_is() -> None:
    loaded = load_segmenter(DEFAULT_MODEL, device="cpu")
    both = loaded.segmenter
    assert isinstance(both, TwoDecoderSegmenter)
    made = both.embed(picture(300, 200, seed=1))
    calls: list[Tensor] = []

    def run(image: Tensor) -> Sequence[Tensor]:
        calls.append(image)
        return [torch.zeros(1, 256, 64, 64)]

    network, engine = both.first.network, engine_of(loaded)
    try:
        network.image_encoder = torch.nn.Sequential()
        network.image_encoder.forward = lambda image: run(image)[0]  # type: ignore[method-assign]
        assert both.blank_embedding() is None
        engine.warm_up()
        assert len(calls) == 1
        network.image_encoder = CompiledEncoder(run)  # type: ignore[arg-type]
        engine.warm_up()
        assert len(calls) == 1
    finally:
        engine.close()
    blank = both.blank_embedding()
    assert blank is not None
    assert {name: (each.shape, each.dtype) for name, each in blank.tensors.items()} == {
        name: (each.shape, each.dtype) for name, each in made.tensors.items()
    }
