"""Models in memory: loaded once, and nothing left behind by names that are none."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from qupath_sam.engine.pool import ModelPool
from qupath_sam.errors import UnknownModel


def test_a_thousand_unknown_names_leave_nothing_behind():
    def load(name: str):
        raise UnknownModel(name)

    pool = ModelPool("x", load)
    for number in range(1000):
        with pytest.raises(UnknownModel):
            pool.get(f"no model {number}")
    assert not pool._loading


def test_many_that_want_one_model_load_it_once():
    loads, begun, go = [], threading.Event(), threading.Event()

    def load(name: str):
        loads.append(name)
        begun.set()
        assert go.wait(30)
        return SimpleNamespace(name=name)

    pool = ModelPool("x", load)
    threads = [threading.Thread(target=pool.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert loads == ["x"]
    assert not pool._loading


def test_the_least_recently_used_model_goes_where_the_memory_is_full():
    def load(name: str):
        return SimpleNamespace(name=name, weight_bytes=40, dense=None)

    pool = ModelPool("a", load, max_models=10, max_bytes=100)
    for name in ("a", "b", "a", "c"):
        pool.get(name)
    assert pool.loaded() == ("a", "c")
    pool.keep_last()
    assert pool.loaded() == ("c",)


def test_a_model_that_is_too_large_alone_is_kept_alone():
    pool = ModelPool("a", lambda name: SimpleNamespace(name=name, weight_bytes=40, dense=None), max_bytes=10)
    assert pool.get("a").name == "a"
    assert pool.get("b").name == "b"
    assert pool.loaded() == ("b",)


@pytest.mark.parametrize(
    ("limits", "expected"), [({}, ("b", "a")), ({"max_models": 1}, ("a",)), ({"max_bytes": 60}, ("a",))]
)
def test_a_model_that_is_loaded_ahead_takes_no_place_of_another(limits, expected):
    pool = ModelPool("a", lambda name: SimpleNamespace(name=name, weight_bytes=40, dense=None), **limits)
    pool.get("a")
    assert (pool.load_ahead("b") is not None) == ("b" in expected)
    assert pool.loaded() == expected  # the one that nobody has asked for goes first


def test_a_click_that_waits_for_a_model_loaded_ahead_uses_it():
    loads, begun, go = [], threading.Event(), threading.Event()

    def load(name: str):
        loads.append(name)
        if name == "b":
            begun.set()
            assert go.wait(30)
        return SimpleNamespace(name=name, weight_bytes=40, dense=None)

    pool = ModelPool("a", load)
    pool.get("a")
    ahead = threading.Thread(target=pool.load_ahead, args=("b",))
    ahead.start()
    assert begun.wait(30)
    click = threading.Thread(target=pool.get, args=("b",))
    click.start()
    while pool._loading["b"].waiting < 2:
        pass
    go.set()
    ahead.join(30)
    click.join(30)
    assert loads == ["a", "b"]
    assert pool.loaded() == ("a", "b")
