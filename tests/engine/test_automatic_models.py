"""Which models generate prompts themselves, as a client hears it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qupath_sam.engine.description import describe_models
from qupath_sam.engine.model_choice import AUTO
from qupath_sam.engine.pool import ModelPool
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.types.choices import ObjectKind


def test_a_loaded_model_with_a_dense_head_says_so(tmp_path: Path) -> None:
    plain = load_segmenter("fake")
    for expected in ((), (ObjectKind.GLANDS,), (ObjectKind.NUCLEI, ObjectKind.GLANDS)):
        pool = ModelPool("fake", lambda _, kinds=expected: replace(plain, dense=dict.fromkeys(kinds, object())))
        store = ModelStore(tmp_path)
        assert not any(each.automatic_objects for each in describe_models(store, pool))
        pool.get("")
        said = {each.name: each.automatic_objects for each in describe_models(store, pool)}
        assert said.pop("fake") == expected
        assert said.pop(AUTO) == expected, "in a region the default answers"
        assert not any(said.values())
