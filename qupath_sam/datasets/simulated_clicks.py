"""The simulated user: where the next click goes.

The rule is Xu et al.'s (2016, "Deep interactive object selection") in the form of RITM's code (Sofiiuk et al. 2022,
``isegm/inference/clicker.py``), so that numbers compare with the papers':

- the error is the false negatives or the false positives, whichever has the larger maximum of its distance transform
  (exact L2; the image border counts as outside the error); on a tie, the false positives;
- the click goes to that maximum, the first in raster order where several are equal;
- a pixel that was clicked before is never clicked again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.types.masks import Mask
from qupath_sam.types.prompts import Label


@dataclass(frozen=True, slots=True)
class SimulatedClick:
    """A click on a pixel.

    Attributes:
        x, y: column and row.
        label: positive where the object was missed, negative where too much was taken.
    """

    x: int
    y: int
    label: Label

    @property
    def point(self) -> tuple[float, float]:
        """The pixel's centre, measured on pixel edges."""
        return self.x + 0.5, self.y + 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Jitter:
    """People do not hit the middle of an error. Displaces each click within the connected error that it is for.

    Attributes:
        random: source of the displacement; seed it.
        spread: 0 keeps the middle, 1 allows the error's every pixel; between, pixels whose distance to the error's
            edge is at least ``1 - spread`` of the greatest (RITM trains with 0.5).
    """

    random: np.random.Generator
    spread: float

    def displace(self, distance: NDArray[np.float64], y: int, x: int) -> tuple[int, int]:
        """Return another ``(row, column)`` in the same connected error (4-connected)."""
        components, _ = ndimage.label(distance > 0)
        same = components == components[y, x]
        rows, columns = np.nonzero(same & (distance >= (1 - self.spread) * distance[y, x]))
        index = int(self.random.integers(len(rows)))
        return int(rows[index]), int(columns[index])


def next_click(prediction: Mask, truth: Mask, clicked: Mask, *, jitter: Jitter | None = None) -> SimulatedClick | None:
    """Return the click that a user of the protocol makes next.

    Args:
        prediction: the mask so far.
        truth: the object.
        clicked: pixels that were clicked before.
        jitter: displaces the click; None clicks as the protocol says.

    Returns:
        The click; None where nothing is wrong, or every wrong pixel has been clicked.
    """
    missed = error_distance(truth & ~prediction) * ~clicked
    excess = error_distance(prediction & ~truth) * ~clicked
    positive = bool(missed.max() > excess.max())
    distance = missed if positive else excess
    if distance.max() == 0:
        return None
    y, x = (int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))
    if jitter is not None:
        y, x = jitter.displace(distance, y, x)
    return SimulatedClick(x, y, Label.POSITIVE if positive else Label.NEGATIVE)


def error_distance(error: Mask) -> NDArray[np.float64]:
    """Return the distance in px (L2, exact) of each error pixel to the nearest pixel that is none; 0 elsewhere.

    Pixels beyond the image's border are no error, as RITM has it by padding with one pixel.
    """
    distance = np.zeros(error.shape, dtype=np.float64)
    rows, columns = np.flatnonzero(error.any(axis=1)), np.flatnonzero(error.any(axis=0))
    if rows.size:
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        distance[box] = ndimage.distance_transform_edt(np.pad(error[box], 1))[1:-1, 1:-1]
    return distance
