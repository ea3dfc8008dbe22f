"""Models that are ready before a click needs them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qupath_sam.engine.model_choice import CHOICES
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.prefetch import Prefetcher
from qupath_sam.engine.warm_up import ChoicesAhead
from qupath_sam.errors import WeightsMissing


@pytest.mark.parametrize("missing", CHOICES)
def test_where_one_model_cannot_be_had_the_other_is_loaded_ahead(missing: str) -> None:
    names = {name: name or "default" for name in CHOICES}

    def load(name: str) -> SimpleNamespace:
        if name == names[missing]:
            raise WeightsMissing(f"model {name!r} has no weights here; add them")
        size = SimpleNamespace(input_size=8)
        return SimpleNamespace(name=name, weight_bytes=1, dense=None, segmenter=SimpleNamespace(capabilities=size))

    run: list[object] = []
    worker = SimpleNamespace(run=lambda job, priority: run.append(job))
    lane = SimpleNamespace(models=ModelPool("default", load), worker=worker)
    prefetcher = Prefetcher()
    ChoicesAhead([lane], prefetcher).begin()  # type: ignore[list-item]
    prefetcher._pool.shutdown(wait=True)  # type: ignore[union-attr]
    prefetcher.close()
    assert lane.models.loaded() == tuple(name for name in names.values() if name != names[missing])
    assert len(run) == 1
