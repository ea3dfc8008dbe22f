"""Models that are ready before a click needs them: in memory, and run once, for libraries prepare much at first use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np

from qupath_sam.engine.cancellation import CancelToken, check_wanted
from qupath_sam.engine.lanes import Lane
from qupath_sam.engine.model_choice import CHOICES
from qupath_sam.engine.prefetch import Prefetcher
from qupath_sam.engine.urgency import Priority
from qupath_sam.errors import ModelError, OutOfMemory
from qupath_sam.models.base import HasReadyEncoder, WindowPrompts
from qupath_sam.models.load import LoadedModel
from qupath_sam.models.registry import AUTO

log = logging.getLogger(__name__)


def warm_up(lane: Lane, loaded: LoadedModel, *, priority: Priority = Priority.INTERACTIVE) -> None:
    """Run a model of a lane once.

    Raises:
        ModelError, OutOfMemory: the model cannot be run.
    """
    segmenter = loaded.segmenter
    size = segmenter.capabilities.input_size
    middle = WindowPrompts(np.full((1, 2), size / 2, np.float32), np.ones(1, np.int64), last_click=1)

    def once() -> None:
        embedding = segmenter.blank_embedding() if isinstance(segmenter, HasReadyEncoder) else None
        if embedding is None:
            embedding = segmenter.embed(np.zeros((size, size, 3), np.uint8))
        segmenter.decode(embedding, [middle])

    lane.worker.run(once, priority=priority)


class ChoicesAhead:
    """Loads, once and in the background, the models among which ``auto`` chooses, as far as there is room.

    The first click at another scale then waits for no model. A model that cannot be loaded is reported by that click.

    Args:
        lanes: that get the models.
        prefetcher: whose threads load.
    """

    def __init__(self, lanes: Sequence[Lane], prefetcher: Prefetcher) -> None:
        self._lanes = lanes
        self._prefetcher = prefetcher
        self._lock = threading.Lock()
        self._has_begun = False

    def begin(self) -> None:
        """Begin, the first time that this is called."""
        with self._lock:
            has_begun, self._has_begun = self._has_begun, True
        if not has_begun:
            self._prefetcher.start(self._load, owner=AUTO)

    def _load(self, cancel: CancelToken) -> None:
        for lane in self._lanes:
            for name in CHOICES:
                check_wanted(cancel, None)
                try:
                    loaded = lane.models.load_ahead(name)
                    if loaded is not None:
                        warm_up(lane, loaded, priority=Priority.BACKGROUND)
                except (ModelError, OutOfMemory) as error:
                    log.debug("%s is not loaded ahead: %s", name, error)  # the other one may be
