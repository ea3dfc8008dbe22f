"""Entries with weights: bounded, least recently used first, and counted right after any sequence of calls."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qupath_sam.machine.byte_lru import ByteLru

keys = st.sampled_from("abcdef")


class ByteLruMachine(RuleBasedStateMachine):
    """Any sequence of calls, beside a model that is too simple to be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.bound = 100
        self.lru: ByteLru[str, object] = ByteLru(self.bound)
        self.expected: OrderedDict[str, tuple[object, int]] = OrderedDict()

    def gives_way(self) -> int:
        dropped = 0
        while sum(size for _, size in self.expected.values()) > self.bound:
            self.expected.popitem(last=False)
            dropped += 1
        return dropped

    @rule(key=keys, size=st.integers(0, 120))
    def put(self, key: str, size: int) -> None:
        value = object()
        self.expected.pop(key, None)
        if size <= self.bound:
            self.expected[key] = value, size
        assert self.lru.put(key, value, size) == self.gives_way()
        assert (key in self.lru) is (size <= self.bound)

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert self.lru.get(key) is self.expected.get(key, (None, 0))[0]
        if key in self.expected:
            self.expected.move_to_end(key)

    @rule(key=keys)
    def pop(self, key: str) -> None:
        assert self.lru.pop(key) is self.expected.pop(key, (None, 0))[0]

    @rule(bound=st.integers(0, 150))
    def resize(self, bound: int) -> None:
        self.bound = bound
        assert self.lru.resize(bound) == self.gives_way()

    @rule()
    def clear(self) -> None:
        self.lru.clear()
        self.expected.clear()

    @invariant()
    def counts_are_right(self) -> None:
        assert self.lru.items() == [(key, value) for key, (value, _) in self.expected.items()]
        assert self.lru.size_bytes == sum(size for _, size in self.expected.values()) <= self.lru.max_bytes
        assert len(self.lru) == len(self.expected)
        if self.expected:
            assert self.lru.oldest == next(iter(self.expected))


TestByteLru = ByteLruMachine.TestCase


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        ByteLru(-1)
