"""The dense head: its maps have the view's size, and brightness is nothing to it."""

from __future__ import annotations

import torch

from qupath_sam.networks.dense_head import DENSE_SIZE, MAPS, DenseHead


def head_and_inputs() -> tuple[DenseHead, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    view = torch.randint(0, 120, (2, 3, DENSE_SIZE, DENSE_SIZE), dtype=torch.uint8)
    return DenseHead().eval(), view, torch.randn(2, 256, 64, 64)


@torch.inference_mode()
def test_three_maps_of_the_size_of_the_view() -> None:
    head, view, embedding = head_and_inputs()
    assert head(view, embedding).shape == (2, MAPS, DENSE_SIZE, DENSE_SIZE)


@torch.inference_mode()
def test_twice_the_brightness_is_the_same_view() -> None:
    """Up to the constant that keeps an empty view from becoming noise."""
    head, view, embedding = head_and_inputs()
    dim, bright = head(view, embedding), head(view * 2, embedding)
    other = head(view.flip(3), embedding)
    assert (dim - bright).abs().mean() < 0.1 * (dim - other).abs().mean()


@torch.inference_mode()
def test_an_image_does_not_see_its_neighbour_in_the_batch() -> None:
    head, view, embedding = head_and_inputs()
    torch.testing.assert_close(head(view, embedding)[:1], head(view[:1], embedding[:1]), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_pixels_and_embedding_both_count() -> None:
    head, view, embedding = head_and_inputs()
    answer = head(view, embedding)
    assert not torch.allclose(answer, head(view.flip(2), embedding), atol=1e-3)
    assert not torch.allclose(answer, head(view, embedding.flip(2)), atol=1e-3)
