"""The inference form of SAM's mask decoder answers as the decoder does."""

from __future__ import annotations

import copy

import pytest
import torch

from qupath_sam.networks import frozen_decoder
from qupath_sam.networks.frozen_decoder import MOST_TOKENS, FrozenMaskDecoder
from qupath_sam.networks.mask_decoder import Decoded, SamMaskDecoder
from qupath_sam.networks.network import PromptableNetwork
from tests.models.networks import seeded


@pytest.fixture(scope="module")
def network() -> PromptableNetwork:
    return seeded(PromptableNetwork(torch.nn.Identity(), input_size=256))


@pytest.fixture(scope="module")
def embedding() -> torch.Tensor:
    return torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(2))


def _ask(network: PromptableNetwork, embedding: torch.Tensor, *, points: int, count: int = 1, mask: bool) -> Decoded:
    generator = torch.Generator().manual_seed(points)
    places = torch.rand(count, points, 2, generator=generator) * 256
    labels = torch.randint(0, 2, (count, points), generator=generator)
    logits = torch.randn(count, 1, 256, 256, generator=generator) * 5 if mask else None
    return network.decode(
        embedding, (places, labels), None, logits, dense_position=network.prompt_encoder.get_dense_pe()
    )


def _assert_equal(answer: Decoded, expected: Decoded) -> None:
    for name in ("logits", "scores", "features"):
        ours, theirs = getattr(answer, name), getattr(expected, name)
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.float32
        error = (ours - theirs).abs().max() / theirs.abs().max()
        assert error < 1e-4, (name, float(error))


@torch.inference_mode()
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("points", "count"), [(1, 1), (2, 3), (9, 1)])
def test_answers_as_the_decoder_does(
    network: PromptableNetwork, embedding: torch.Tensor, points: int, count: int, mask: bool
) -> None:
    frozen = copy.deepcopy(network)
    frozen.freeze_decoder()
    assert isinstance(frozen.mask_decoder, FrozenMaskDecoder)
    expected = _ask(network, embedding, points=points, count=count, mask=mask)
    _assert_equal(_ask(frozen, embedding, points=points, count=count, mask=mask), expected)


@torch.inference_mode()
def test_many_tokens_go_through_the_decoder_as_it_was(
    network: PromptableNetwork, embedding: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = copy.deepcopy(network)
    frozen.freeze_decoder()
    asked: list[int] = []
    original = SamMaskDecoder.decode

    def decode(
        self: SamMaskDecoder, embedding: torch.Tensor, sparse: torch.Tensor, *rest: object, **more: object
    ) -> Decoded:
        asked.append(sparse.shape[1])
        return original(self, embedding, sparse, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(SamMaskDecoder, "decode", decode)
    # Five tokens are the decoder's own, one is SAM's padding.
    most = MOST_TOKENS - 6
    _ask(frozen, embedding, points=most, mask=False)
    assert asked == []
    _ask(frozen, embedding, points=most + 1, mask=False)
    assert asked == [most + 2]
    monkeypatch.setattr(frozen_decoder, "MOST_TOKENS", 1000)
    many = _ask(frozen, embedding, points=most + 1, mask=False)
    _assert_equal(many, _ask(network, embedding, points=most + 1, mask=False))
