"""The engine that settings describe."""

from __future__ import annotations

from functools import partial

from qupath_sam.engine.embeddings.disk import DiskCache
from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.engine import Engine
from qupath_sam.engine.lanes import Lane
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.engine.states import StateStore
from qupath_sam.engine.tracking import MemoryBanks
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.models.devices import choose_device, describe_device
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL


def build_engine(settings: EngineSettings) -> Engine:
    """Return the engine that the settings describe. Loads no model and starts no thread yet.

    Raises:
        InvalidRequest: there is no such device.
    """
    memories = MemoryBanks(settings.tracking_bytes)
    return Engine(
        lanes=[build_lane(settings, device, memories=memories) for device in settings.devices],
        states=StateStore(settings.state_bytes),
        max_objects=settings.max_objects,
        max_points=settings.max_points,
        memories=memories,
    )


def build_lane(settings: EngineSettings, device_name: str, *, memories: MemoryBanks | None = None) -> Lane:
    """Return a lane of its share of the memory for embeddings.

    Args:
        settings: of the whole engine.
        device_name: one of ``settings.devices``.
        memories: of objects that are tracked; they are dropped where a device has no room.

    Raises:
        InvalidRequest: there is no such device.
    """
    device = choose_device(device_name)
    load = partial(
        load_segmenter,
        device=device_name,
        precision=settings.precision,
        runtime=settings.runtime,
        home=settings.models_home,
    )
    disk = None
    if settings.embedding_folder is not None:
        disk = DiskCache(settings.embedding_folder, max_bytes=settings.embedding_folder_bytes, device=str(device))
    models = ModelPool(
        settings.model or DEFAULT_MODEL,
        load,
        device=describe_device(device),
        max_models=settings.max_models,
        max_bytes=settings.model_bytes,
    )
    memory = MemoryCache(settings.embedding_bytes // len(settings.devices))

    def free() -> None:
        """Let go of what the device can do without: embeddings are made again, models are loaded again."""
        memory.clear()
        if memories is not None:
            # Those of all lanes: a memory does not say on which device it lies.
            memories.clear()
        models.keep_last()

    return Lane(models, InferenceWorker(max_waiting=settings.max_queue, free=free), EmbeddingStore(memory, disk))
