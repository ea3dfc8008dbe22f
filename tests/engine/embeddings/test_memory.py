"""The cache in memory: bounded, least recently used first, and counted right after any sequence of calls."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.models.base import Embedding

BOUND = 100
keys = st.sampled_from("abcdefgh")
sizes = st.integers(0, BOUND + 20)


def embedding_of(size: int) -> Embedding:
    """An embedding of ``size`` bytes, in two tensors of different dtypes."""
    halves = size // 4
    tensors = {
        "image": torch.zeros(halves, dtype=torch.bfloat16),
        "rest": torch.zeros(size - 2 * halves, dtype=torch.uint8),
    }
    return Embedding(tensors, (16, 16))


class MemoryCacheMachine(RuleBasedStateMachine):
    """Any sequence of calls, beside a model that is too simple to be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = MemoryCache(BOUND)
        self.expected: OrderedDict[str, Embedding] = OrderedDict()
        self.hits = self.misses = self.evictions = 0

    @rule(key=keys, size=sizes)
    def put(self, key: str, size: int) -> None:
        embedding = embedding_of(size)
        assert self.cache.put(key, embedding) is (size <= BOUND)
        self.expected.pop(key, None)
        if size <= BOUND:
            self.expected[key] = embedding
        while sum(held.size_bytes for held in self.expected.values()) > BOUND:
            self.expected.popitem(last=False)
            self.evictions += 1

    @rule(key=keys)
    def get(self, key: str) -> None:
        found = self.cache.get(key)
        assert found is self.expected.get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            self.expected.move_to_end(key)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        assert self.cache.delete(key) is (self.expected.pop(key, None) is not None)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.expected.clear()

    @rule(key=keys)
    def contains(self, key: str) -> None:
        assert self.cache.contains(key) is (key in self.expected)

    @invariant()
    def the_bytes_are_those_of_the_entries(self) -> None:
        stats = self.cache.stats()
        assert stats.size_bytes == sum(held.size_bytes for held in self.expected.values()) <= BOUND
        assert stats.entries == len(self.expected)
        assert (stats.hits, stats.misses, stats.evictions) == (self.hits, self.misses, self.evictions)


TestMemoryCache = MemoryCacheMachine.TestCase
TestMemoryCache.settings = settings(max_examples=60, stateful_step_count=30)


def test_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(30)
    for key in "abc":
        cache.put(key, embedding_of(10))
    cache.get("a")
    cache.contains("b")  # looking does not use
    cache.put("d", embedding_of(10))
    assert [key for key in "abcd" if cache.contains(key)] == ["a", "c", "d"]


def test_the_count_survives_many_threads() -> None:
    cache, gate = MemoryCache(200), threading.Barrier(4)
    held = [embedding_of(size) for size in range(0, 80, 7)]

    def client(number: int) -> None:
        gate.wait()
        for step in range(300):
            key = str((step * (number + 3)) % 11)
            cache.put(key, held[(step + number) % len(held)])
            cache.get(str(step % 11))
            if step % 5 == number:
                cache.delete(key)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [embedding for key in range(11) if (embedding := cache.get(str(key))) is not None]
    stats = cache.stats()
    assert (stats.entries, stats.size_bytes) == (len(found), sum(embedding.size_bytes for embedding in found))
    assert stats.size_bytes <= 200


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        MemoryCache(-1)
