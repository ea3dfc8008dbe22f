"""The models in memory: loaded on first use, once, and the least recently used one let go."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from qupath_sam.models.load import LoadedModel
from qupath_sam.types.choices import ObjectKind


class _Turn:
    """Callers that want one model while it loads: the first loads it, the others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = 0


class ModelPool:
    """Models by name. Safe to use from several threads; two that ask for one model load it once.

    Args:
        default: name that an empty name stands for.
        load: makes a model of its name.
        device: where models run, for people to read.
        max_models: most models kept in memory; the least recently used is let go.
        max_bytes: most bytes that their weights take together, in place of ``max_models``; 0 for none. A model that is
            larger alone is kept alone.
    """

    def __init__(
        self,
        default: str,
        load: Callable[[str], LoadedModel],
        *,
        device: str = "",
        max_models: int = 2,
        max_bytes: int = 0,
    ) -> None:
        self.default = default
        self.device = device
        self._load = load
        self._max_models = max_models
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, _Turn] = {}
        self._lock = threading.Lock()
        self._on_change: list[Callable[[tuple[str, ...]], None]] = []

    def on_change(self, callback: Callable[[tuple[str, ...]], None]) -> None:
        """Have ``callback`` called with the names of the models in memory whenever these change."""
        self._on_change.append(callback)

    def get(self, name: str = "") -> LoadedModel:
        """Return the model, loading it where needed.

        Raises:
            ModelError: as `qupath_sam.models.load.load_segmenter`.
        """
        return self._get(name or self.default, self._make_room)

    def load_ahead(self, name: str = "") -> LoadedModel | None:
        """Load a model that may be asked for soon, where there is room: none in memory is let go for it.

        Returns:
            The model; None where it was in memory already, or there is no room.

        Raises:
            ModelError: as `get`.
        """
        name = name or self.default
        with self._lock:
            is_full = not self._max_bytes and len(self._loaded) >= self._max_models
            if is_full or name in self._loaded:
                return None
        loaded = self._get(name, self._let_go_if_too_much)
        return loaded if self.has(name) else None

    def has(self, name: str = "") -> bool:
        """Return whether a model is in memory."""
        with self._lock:
            return (name or self.default) in self._loaded

    def _get(self, name: str, settle: Callable[[str], None]) -> LoadedModel:
        """Return the model; where it is loaded now, ``settle`` is then called, with the lock held."""
        with self._lock:
            known = self._used(name)
            if known is not None:
                return known
            turn = self._loading.setdefault(name, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                with self._lock:
                    known = self._used(name)
                return known if known is not None else self._loaded_now(name, settle)
        finally:
            with self._lock:
                turn.waiting -= 1
                if not turn.waiting:
                    self._loading.pop(name, None)

    def _used(self, name: str) -> LoadedModel | None:
        """Return a model that is in memory, as the one that was used last. Needs the lock."""
        known = self._loaded.get(name)
        if known is not None:
            self._loaded.move_to_end(name)
        return known

    def _loaded_now(self, name: str, settle: Callable[[str], None]) -> LoadedModel:
        loaded = self._load(name)
        with self._lock:
            self._loaded[name] = loaded
            settle(name)
        self._changed()
        return loaded

    def _make_room(self, _: str) -> None:
        while len(self._loaded) > 1 and self._is_too_much():
            self._loaded.popitem(last=False)

    def _let_go_if_too_much(self, name: str) -> None:
        self._loaded.move_to_end(name, last=False)
        if len(self._loaded) > 1 and self._is_too_much():
            del self._loaded[name]

    def _is_too_much(self) -> bool:
        if self._max_bytes:
            return sum(each.weight_bytes for each in self._loaded.values()) > self._max_bytes
        return len(self._loaded) > self._max_models

    def keep_last(self) -> None:
        """Let go of all models but the one that was used last, and of memory that torch holds back."""
        import torch

        with self._lock:
            while len(self._loaded) > 1:
                self._loaded.popitem(last=False)
        self._changed()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def put(self, loaded: LoadedModel) -> None:
        """Hold a model that was made elsewhere, under its own name."""
        with self._lock:
            self._loaded[loaded.spec.name] = loaded
            self._loaded.move_to_end(loaded.spec.name)
        self._changed()

    def device_bytes(self) -> int:
        """Return the memory that torch holds on CUDA devices, bytes; 0 without one in use."""
        import torch

        if not torch.cuda.is_available():
            return 0
        return sum(torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count()))

    def loaded(self) -> tuple[str, ...]:
        """Return names of the models in memory, least recently used first."""
        with self._lock:
            return tuple(self._loaded)

    def automatic_objects(self) -> dict[str, tuple[ObjectKind, ...]]:
        """Return the objects that the models in memory find by prompts of their own, by the models' names."""
        with self._lock:
            return {
                name: tuple(each for each in ObjectKind if each in model.dense) for name, model in self._loaded.items()
            }

    def _changed(self) -> None:
        names = self.loaded()
        for callback in self._on_change:
            callback(names)
