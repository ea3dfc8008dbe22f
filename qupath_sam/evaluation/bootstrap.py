"""95 % intervals of means over objects that come in groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_PERCENTILES = (2.5, 97.5)


def bootstrap_interval(
    values: NDArray[np.float64],
    groups: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the percentile interval of the mean over objects.

    Whole groups are drawn (Efron & Tibshirani 1993, ch. 8 and 13).

    Objects of one patient are alike, so resampling objects would claim too much. The mean of a resample weighs every
    drawn object alike, as the mean it is an interval for.

    Args:
        values: float ``(N,)`` or ``(N, K)``: K figures an object.
        groups: the group of each object.
        strata: what each object is drawn within: every resample has as many groups of each as there are. Without it a
            pooled interval is mostly about how many objects of which data set a resample happens to have.
        resamples: how often groups are drawn.
        seed: of the draws.

    Returns:
        float ``(2,)`` or ``(2, K)``: lower and upper bound. With a single group both are the mean: nothing is known
        of how groups differ.

    Raises:
        ValueError: there are no objects.
    """
    if len(values) == 0:
        raise ValueError("an interval needs at least one object")
    names, members = np.unique([str(g) for g in groups], return_inverse=True)
    count = len(names)
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, members, values)
    sizes = np.bincount(members).astype(np.float64)
    within = np.empty(count, dtype=np.intp)
    within[members] = np.unique([str(s) for s in strata or [0] * len(values)], return_inverse=True)[1]
    random = np.random.default_rng(seed)
    draws = np.zeros((resamples, count))
    for stratum in range(int(within.max()) + 1):
        own = np.flatnonzero(within == stratum)
        draws[:, own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples)
    totals = draws @ sizes
    means = np.tensordot(draws, sums, axes=1) / totals.reshape(-1, *[1] * (values.ndim - 1))
    interval: NDArray[np.float64] = np.percentile(means, _PERCENTILES, axis=0)
    return interval
