"""The states that the next click continues from, held for as long as there is room.

A token names the state after a step: it is a digest over everything that the steps depend on (image, model, window
options, every step so far), so a token can be checked against the prompts that come with it. A state that has been
dropped, or a token that belongs to other prompts, costs a replay and never a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from qupath_sam.engine.step import State, Step
from qupath_sam.machine.byte_lru import ByteLru
from qupath_sam.types.requests import MaskChoice, WindowRequest

TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True)
class StepsContext:
    """What the steps of an object depend on besides themselves.

    Attributes:
        image: fingerprint of the pixels.
        model: name, weights digest and preprocessing version.
        mpp: um per level-0 px in force, or None; it shapes the scales.
        request: the caller's window options.
        choice: which mask an ambiguous first step continues from.
        keep_parts: whether parts that no click points at stay.
    """

    image: str
    model: tuple[str, str, str]
    mpp: float | None
    request: WindowRequest
    choice: MaskChoice
    keep_parts: bool = False

    @property
    def base(self) -> bytes:
        """Digest of everything but the hints, which may change while an object lives."""
        region = self.request.region
        fields = [
            self.image,
            list(self.model),
            None if self.mpp is None else float(self.mpp).hex(),
            None if region is None else list(region.bounds),
            None if self.request.downsample is None else float(self.request.downsample).hex(),
            None if self.request.mpp is None else float(self.request.mpp).hex(),
            self.choice.value,
            self.keep_parts,
        ]
        return _digest(json.dumps(fields, separators=(",", ":")).encode())

    @property
    def root(self) -> bytes:
        """Digest of everything, the start of the chain over the steps."""
        request = self.request
        hints = f"{float(request.view_downsample).hex()} {request.prefer_embedded} {request.closer_look}"
        return _digest(self.base, hints.encode())


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where the steps of an object go on.

    Attributes:
        root: start of the chain of tokens; that of the held state where one was found.
        request: the window options that the held state was made with.
        steps: number of steps already done; 0 without a held state.
        state: after those steps, or None.
    """

    root: bytes
    request: WindowRequest
    steps: int
    state: State | None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    state: State
    base: bytes
    root: bytes
    request: WindowRequest
    steps: int
    owner: str


class StateStore:
    """States of the least recent steps give way, bounded in bytes. Safe to use from several threads.

    Where there is no room, the client that holds most gives way: one that asks for much pushes out its own states, not
    those of a person who clicks now and then.

    Args:
        max_bytes: of all states together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: dict[bytes, _Held] = {}
        self._of_owner: dict[str, ByteLru[bytes, _Held]] = {}
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    @property
    def max_bytes(self) -> int:
        """The limit."""
        return self._max_bytes

    def __len__(self) -> int:
        return len(self._held)

    def resume(self, context: StepsContext, steps: Sequence[Step], token: bytes) -> Resumed:
        """Return the furthest held state of these steps: the token's where it fits, else the longest known prefix."""
        with self._lock:
            held = self._held.get(token)
        # The digests of an outline of a million vertices take most of a second, outside of the lock.
        if held is not None and _belongs(held, token, context, steps):
            return self._take(token, held)
        for known in reversed(tokens(context.root, steps)):
            with self._lock:
                held = self._held.get(known)
            if held is not None:
                return self._take(known, held)
        return Resumed(context.root, context.request, 0, None)

    def keep(
        self, context: StepsContext, resumed: Resumed, token: bytes, state: State, *, done: int, owner: str = ""
    ) -> None:
        """Hold the state after a step.

        Args:
            context: of the steps.
            resumed: where they went on.
            token: of the step, from `tokens` of ``resumed.root``.
            state: after the step.
            done: how many steps led to it.
            owner: on whose account it is held.
        """
        held = _Held(state, context.base, resumed.root, resumed.request, done, owner)
        with self._lock:
            self._put(token, held)

    def resize(self, max_bytes: int) -> None:
        """Change the limit; those who hold most give way."""
        with self._lock:
            self._max_bytes = max_bytes
            self._make_room()

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._held.clear()
            self._of_owner.clear()
            self._bytes = 0

    def _take(self, token: bytes, held: _Held) -> Resumed:
        with self._lock:
            if self._held.get(token) is held:
                self._of_owner[held.owner].get(token)  # now the most recently used
        return Resumed(held.root, held.request, held.steps, held.state)

    def _put(self, token: bytes, held: _Held) -> None:
        if token in self._held:
            self._drop(token)
        size = held.state.size_bytes
        if size > self._max_bytes:
            return
        self._held[token] = held
        self._of_owner.setdefault(held.owner, ByteLru()).put(token, held, size)
        self._bytes += size
        self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes:
            heaviest = max(self._of_owner.values(), key=lambda states: states.size_bytes)
            self._drop(heaviest.oldest)

    def _drop(self, token: bytes) -> None:
        """Take a state out. No other place does, so that the count of bytes stays right."""
        held = self._held.pop(token)
        self._bytes -= held.state.size_bytes
        self._of_owner[held.owner].pop(token)
        if not self._of_owner[held.owner]:
            del self._of_owner[held.owner]


def _belongs(held: _Held, token: bytes, context: StepsContext, steps: Sequence[Step]) -> bool:
    """Return whether a held state is a prefix of these steps on the same image with the same model."""
    if held.base != context.base or held.steps > len(steps):
        return False
    return tokens(held.root, steps[: held.steps])[-1] == token


def tokens(root: bytes, steps: Sequence[Step]) -> list[bytes]:
    """Return the token after each step: a chain of digests from ``root``."""
    chain: list[bytes] = []
    previous = root
    for step in steps:
        previous = _digest(previous, _encode(step))
        chain.append(previous)
    return chain


def _encode(step: Step) -> bytes:
    fields: list[object] = [
        [[click.label.value, [[float(x).hex(), float(y).hex()] for x, y in click.points]] for click in step.clicks],
        None if step.box is None else [float(v).hex() for v in step.box.bounds],
        None if step.outline is None else shapely.to_wkb(step.outline, hex=True, byte_order=1),
    ]
    if step.from_mask is not None:
        fields.append(step.from_mask)
    return json.dumps(fields, separators=(",", ":")).encode()


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()[:TOKEN_BYTES]
