"""One click on one object in the eight views of a picture: four rotations, each plain and mirrored.

The tissue is the same in all of them, so a model's answers should be too. The figure is the mean IoU of two answers,
over all pairs of views, in the frame of the plain picture.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from statistics import fmean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qupath_sam.datasets.simulated_clicks import next_click
from qupath_sam.evaluation.sessions import PromptableImage
from qupath_sam.types.masks import Mask, intersection_over_union

T = TypeVar("T", bound=np.generic)

#: Quarter turns and whether the view is mirrored, of the dihedral group of the square.
VIEWS = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))


def agreement_of_views(
    prompt: Callable[[NDArray[np.uint8]], PromptableImage], pixels: NDArray[np.uint8], truth: list[Mask]
) -> list[float]:
    """Return the mean IoU of two views' answers to the first click on each object, 0..1.

    Args:
        prompt: prepares the pixels of a view for prompts.
        pixels: uint8 ``(H, W, 3)`` RGB, the plain view.
        truth: of each object, bool ``(H, W)``, not empty. It says where the click is, and nothing else.
    """
    clicks = [next_click(np.zeros_like(mask), mask, np.zeros_like(mask)) for mask in truth]
    answers: list[list[Mask]] = [[] for _ in truth]
    numbers = np.arange(pixels.shape[0] * pixels.shape[1]).reshape(pixels.shape[:2])
    for turns, mirrored in VIEWS:
        image = prompt(np.ascontiguousarray(_turned(pixels, turns, mirrored=mirrored)))
        places = _turned(numbers, turns, mirrored=mirrored)
        for answer, click in zip(answers, clicks, strict=True):
            if click is None:
                continue
            row, column = np.argwhere(places == numbers[click.y, click.x])[0]
            mask = image.start().click((float(column) + 0.5, float(row) + 0.5), click.label).mask
            plain = np.zeros(pixels.shape[:2], np.bool_)
            plain.ravel()[places.ravel()] = mask.ravel()
            answer.append(plain)
    return [fmean(intersection_over_union(*pair) for pair in combinations(each, 2)) for each in answers if each]


def _turned(values: NDArray[T], turns: int, *, mirrored: bool) -> NDArray[T]:
    """Return rows and columns mirrored first, then turned by quarters."""
    return np.rot90(values[:, ::-1] if mirrored else values, turns)
