"""Which models generate prompts themselves, as a client hears it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qupath_sam.engine.description import describe_models
from qupath_sam.engine.pool import ModelPool
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.weights.store import ModelStore


def test_a_loaded_model_with_a_dense_head_says_so(tmp_path: Path) -> None:
    plain = load_segmenter("fake")
    for head, expected in ((None, False), (object(), True)):
        pool = ModelPool("fake", lambda _, head=head: replace(plain, dense=head))
        store = ModelStore(tmp_path)
        assert not any(each.automatic_prompts for each in describe_models(store, pool))
        pool.get("")
        said = {each.name: each.automatic_prompts for each in describe_models(store, pool)}
        assert said.pop("fake") is expected
        assert not any(said.values())
