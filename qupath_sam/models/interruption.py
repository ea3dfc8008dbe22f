"""An encode that stops half-way, for a click must not wait for the window of a project's run.

An encode is the longest call of a model, some tenths of a second on a processor. OpenVINO looks between two operations
whether its request is cancelled, and torch's layers get a hook that looks; either stops within milliseconds. The work
so far is lost, and the worker runs the job again later.

A wish to stop may come while the pixels are still made ready. It holds until an encode has stopped for it, or until
`EncoderStop.forget`, with which the worker ends the turn: so none is lost, and none stops another turn's encode.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from qupath_sam.models.devices import CompiledEncoder
from qupath_sam.models.jobs import Interrupted


class EncoderStop:
    """Stops the encode that runs. `ask` may be called from any thread.

    Args:
        encoder: prepared for inference, on the processor. An accelerator gets its kernels far ahead of their execution,
            so that nothing stops there; an encode takes some ten milliseconds.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._asked = threading.Event()
        self._compiled = encoder.run if isinstance(encoder, CompiledEncoder) else None
        if self._compiled is not None:
            self._compiled.before_start = self._check
        else:
            for module in encoder.modules():
                if not any(True for _ in module.children()):
                    module.register_forward_pre_hook(lambda *_: self._check())

    def ask(self) -> None:
        """Stop the encode that runs, or else the next one."""
        self._asked.set()
        if self._compiled is not None:
            self._compiled.interrupt()

    def forget(self) -> None:
        """Take back an `ask` that no encode has stopped for."""
        self._asked.clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Encode in this context.

        Raises:
            Interrupted: `ask` was called, before or meanwhile.
        """
        try:
            self._check()
            yield
        except Interrupted:
            self.forget()
            raise
        except RuntimeError as error:
            if self._compiled is None or not self._asked.is_set():
                raise
            self.forget()
            # OpenVINO has no class of its own for what it raises then.
            raise Interrupted from error

    def _check(self) -> None:
        if self._asked.is_set():
            raise Interrupted
