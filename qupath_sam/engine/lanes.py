"""One lane a device: the models there, the one thread that calls them, the embeddings that lie there.

A window always goes to the same lane, so that its embedding is where its clicks are decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.types.regions import Window


@dataclass(frozen=True, slots=True)
class Lane:
    """What works on one device.

    Attributes:
        models: loads models by name, onto the device.
        worker: the thread that calls them.
        embeddings: what the encoders made there.
    """

    models: ModelPool
    worker: InferenceWorker
    embeddings: EmbeddingStore

    def close(self) -> None:
        """Stop the thread; write embeddings that wait for it."""
        self.worker.close()
        self.embeddings.close()


class Lanes:
    """All lanes of an engine, and which of them has the work on a window.

    Args:
        lanes: at least one.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        if not lanes:
            raise ValueError("an engine needs at least one lane")
        self.all = tuple(lanes)

    @property
    def first(self) -> Lane:
        """The lane that says what models can do: all have the same models."""
        return self.all[0]

    def of_window(self, fingerprint: str, window: Window) -> Lane:
        """Return the lane of a window.

        Args:
            fingerprint: of the image.
            window: level-0 px.
        """
        return self._of(f"{fingerprint} {window.region.bounds} {window.width} {window.height}")

    def of_region(self, fingerprint: str, bounds: tuple[float, float, float, float]) -> Lane:
        """Return the lane on which a whole region is worked on, tile by tile; ``bounds`` in level-0 px."""
        return self._of(f"{fingerprint} {bounds}")

    def _of(self, key: str) -> Lane:
        if len(self.all) == 1:
            return self.all[0]
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        return self.all[number % len(self.all)]

    def others_wait(self, client: str) -> bool:
        """Return whether another client waits on any lane, or did a moment ago."""
        return any(lane.worker.others_wait(client) for lane in self.all)

    def has_embedding(self, fingerprint: str, window: Window, key: str) -> bool:
        """Return whether a window's embedding is at hand on its lane."""
        return self.of_window(fingerprint, window).embeddings.contains(key)
