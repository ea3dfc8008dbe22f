"""The engine that settings describe."""

from __future__ import annotations

from qupath_sam.engine.embeddings.disk import DiskCache
from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.engine import Engine
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.engine.states import StateStore
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.models.devices import choose_device, describe_device
from qupath_sam.models.load import LoadedModel, load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL


def build_engine(settings: EngineSettings) -> Engine:
    """Return the engine that the settings describe. Loads no model and starts no thread yet."""

    def load(name: str) -> LoadedModel:
        return load_segmenter(
            name,
            device=settings.device,
            precision=settings.precision,
            runtime=settings.runtime,
            home=settings.models_home,
        )

    device = choose_device(settings.device)
    disk = None
    if settings.embedding_folder is not None:
        disk = DiskCache(settings.embedding_folder, max_bytes=settings.embedding_folder_bytes, device=str(device))
    return Engine(
        models=ModelPool(
            settings.model or DEFAULT_MODEL, load, device=describe_device(device), max_models=settings.max_models
        ),
        worker=InferenceWorker(max_waiting=settings.max_queue),
        embeddings=EmbeddingStore(MemoryCache(settings.embedding_bytes), disk),
        states=StateStore(settings.state_bytes),
        max_objects=settings.max_objects,
        max_points=settings.max_points,
        tracking_bytes=settings.tracking_bytes,
    )
