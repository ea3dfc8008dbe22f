"""Imports of large libraries."""

from __future__ import annotations

import gc

import pytest

from qupath_sam.machine.imports import without_collection


def _fail() -> None:
    with without_collection():
        assert not gc.isenabled()
        raise ImportError("no torch")


def test_the_collector_is_as_before_whatever_happens() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError, match="no torch"):
        _fail()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled(), "what the caller has set stays"
    finally:
        gc.enable()
