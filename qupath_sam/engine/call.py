"""One object's fold under way: between what is held of it, what a model is asked next, and what is held afterwards."""

from __future__ import annotations

from qupath_sam.engine.states import FoldContext, Resumed, StateStore
from qupath_sam.engine.steps import DecodeRequest, State, Step, run_steps, steps_of
from qupath_sam.engine.windows import Ladder
from qupath_sam.models.base import MaskSet
from qupath_sam.types.results import ObjectRequest


class Fold:
    """One object's fold under way: what it wants decoded next, and in the end its state and token."""

    def __init__(self, states: StateStore, context: FoldContext, request: ObjectRequest, ladder: Ladder) -> None:
        self.request = request
        self._states = states
        self._context = context
        self._steps: tuple[Step, ...] = steps_of(request.prompts)
        self.resumed: Resumed = states.resume(context, self._steps, request.token)
        self.wanted: DecodeRequest | None = None
        self.token = b""
        self._generator = run_steps(
            self._steps,
            ladder=ladder,
            request=self.resumed.request,
            choice=context.choice,
            done=self.resumed.steps,
            state=self.resumed.state,
        )
        self._state = self.resumed.state
        self._advance(None)

    @property
    def state(self) -> State:
        """After the last step."""
        assert self._state is not None
        return self._state

    def place(self) -> tuple[float, ...]:
        """Sorts folds that look at one window together."""
        if self.wanted is None:
            return ()
        region = self.wanted.window.region
        return self.wanted.window.downsample, region.y, region.x

    def forget(self) -> None:
        """Let go of masks and logits: the result has been taken."""
        self._state = None

    def send(self, answer: MaskSet) -> None:
        """Give the answer to what was wanted."""
        self._advance(answer)

    def _advance(self, answer: MaskSet | None) -> None:
        try:
            self.wanted = next(self._generator) if answer is None else self._generator.send(answer)
        except StopIteration as finished:
            self.wanted = None
            states: list[State] = finished.value
            self.token = self._states.keep(self._context, self.resumed, self._steps, states)
            if states:
                self._state = states[-1]
