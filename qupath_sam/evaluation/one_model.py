"""The engine as the server runs it, round one model that is loaded already."""

from __future__ import annotations

from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.engine import Engine
from qupath_sam.engine.lanes import Lane
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.states import StateStore
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.models.load import LoadedModel


def engine_of(model: LoadedModel, *, embedding_bytes: int = 64 * 2**20, state_bytes: int = 2**20) -> Engine:
    """Return an engine that has this model alone; close it to end its thread.

    Args:
        model: whatever name is asked for, it answers.
        embedding_bytes: memory for embeddings.
        state_bytes: memory for what next clicks continue from.
    """
    embeddings = EmbeddingStore(MemoryCache(embedding_bytes))
    pool = ModelPool(model.spec.name, lambda _: model)
    return Engine(lanes=[Lane(pool, InferenceWorker(), embeddings)], states=StateStore(state_bytes))
