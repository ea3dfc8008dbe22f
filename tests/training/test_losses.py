"""Losses against what can be worked out by hand, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from qupath_sam.training.losses import dice_loss, iou_head_loss, normalised_focal_loss
from qupath_sam.training.schedule import Schedule, learning_rate_factor


def plane(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def test_undecided_pixels_cost_log_two() -> None:
    loss = normalised_focal_loss(plane(0, 0, 0, 0), plane(0, 1, 1, 0))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5)


def test_focal_loss_of_two_pixels() -> None:
    """p = .8 and .1 of the true side: weights .04 and .81."""
    logits = plane(math.log(0.8 / 0.2), math.log(0.9 / 0.1))
    loss = normalised_focal_loss(logits, plane(1, 0))
    expected = -(0.04 * math.log(0.8) + 0.81 * math.log(0.1)) / 0.85
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "factor"), [(0.5, 1.0), (0.25, 0.5), (1.0, 2.0)])
def test_alpha_weighs_the_object(alpha: float, factor: float) -> None:
    logits = plane(0.3, -1.2)
    whole = normalised_focal_loss(logits, plane(1, 1))
    assert normalised_focal_loss(logits, plane(1, 1), alpha=alpha).item() == pytest.approx(factor * whole.item())


def test_without_focus_it_is_the_mean_cross_entropy() -> None:
    logits, target = torch.randn(3, 1, 8, 8, dtype=torch.float64), torch.randint(0, 2, (3, 1, 8, 8)).double()
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))
    torch.testing.assert_close(normalised_focal_loss(logits, target, gamma=0), expected, atol=1e-6, rtol=1e-6)


def test_the_normaliser_gets_no_gradient() -> None:
    """The gradient is that of a cross entropy under fixed weights."""
    logits = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2, (1, 1, 4, 4)).double()
    normalised_focal_loss(logits, target).sum().backward()
    weights = (1 - torch.where(target > 0, torch.sigmoid(logits), torch.sigmoid(-logits))).detach() ** 2
    expected = weights / weights.sum() * (torch.sigmoid(logits) - target)
    torch.testing.assert_close(logits.grad, expected.detach(), atol=1e-5, rtol=1e-4)


def test_weights_draw_attention() -> None:
    logits, target = plane(2, -2), plane(0, 0)
    usual, drawn = (normalised_focal_loss(logits, target, weight=plane(*w)).item() for w in ((1, 1), (9, 1)))
    assert drawn > usual


def test_each_mask_of_a_batch_is_weighed_alone() -> None:
    logits, target = torch.randn(2, 1, 5, 5), torch.randint(0, 2, (2, 1, 5, 5)).float()
    together = normalised_focal_loss(logits, target)
    alone = torch.cat([normalised_focal_loss(logits[i : i + 1], target[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone)


def test_dice_of_half_an_overlap() -> None:
    """Two sure pixels each, one shared: Dice .5."""
    loss = dice_loss(plane(99, 99, -99, -99), plane(0, 1, 1, 0), smooth=0.0)
    assert loss.item() == pytest.approx(0.5)
    assert dice_loss(plane(-99, -99), plane(0, 0)).item() == pytest.approx(0)


def test_iou_head_is_held_to_the_iou_of_its_mask() -> None:
    logits, target = plane(1, 1, -1, -1), plane(0, 1, 1, 0)
    predicted = torch.tensor([[0.5]], dtype=torch.float64)
    assert iou_head_loss(predicted, logits, target).item() == pytest.approx((0.5 - 1 / 3) ** 2)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (19.9, 1), (20, 0.1), (24.9, 0.1), (25, 0.01), (29.9, 0.01)])
def test_the_papers_schedule(epoch: float, factor: float) -> None:
    assert learning_rate_factor(Schedule.PAPER, progress=epoch / 30, step=1000) == pytest.approx(factor)


def test_cosine_falls_and_every_schedule_warms_up() -> None:
    factors = [learning_rate_factor(Schedule.COSINE, progress=p / 10, step=1000) for p in range(11)]
    assert factors == sorted(factors, reverse=True)
    assert (factors[0], factors[-1]) == (1, pytest.approx(0.02))
    for schedule in Schedule:
        assert learning_rate_factor(schedule, progress=0, step=0, warm_up=50) == pytest.approx(0.02)
