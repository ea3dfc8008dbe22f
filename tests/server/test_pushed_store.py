"""Pixels that clients push: whose they are, and what gives way."""

from __future__ import annotations

import numpy as np
import pytest

from qupath_sam.errors import PixelsMissing, RequestTooLarge
from qupath_sam.server.clients import Client
from qupath_sam.server.images import PushedStore
from qupath_sam.server.tokens import Limits
from qupath_sam.slides.pushed import PushedReader


def pixels(value: int) -> PushedReader:
    return PushedReader.of_image(np.full((4, 4, 3), value, np.uint8), mpp=None)


def test_a_client_whose_limit_is_above_the_servers_is_told_what_is_too_much() -> None:
    """It once got a digest whose pixels were gone already."""
    store = PushedStore(100)
    with pytest.raises(RequestTooLarge, match="100 allowed"):
        store.put(pixels(1), 150, owner=Client("anna", Limits(pushed_bytes=1000)))
    assert store.size_bytes == 0


def test_a_clients_own_pixels_give_way_first() -> None:
    store = PushedStore(100)
    other = store.put(pixels(1), 40, owner=Client("bert"))
    anna = Client("anna", Limits(pushed_bytes=60))
    first, second = (store.put(pixels(value), 40, owner=anna) for value in (2, 3))
    assert store.get(other)
    assert store.get(second)
    with pytest.raises(PixelsMissing):
        store.get(first)
    assert (store.bytes_of("anna"), store.bytes_of("bert"), store.size_bytes) == (40, 40, 80)


def test_beyond_the_servers_limit_the_least_recently_used_give_way() -> None:
    store = PushedStore(100)
    first, second = (store.put(pixels(value), 40, owner=Client("anna")) for value in (1, 2))
    store.get(first)
    store.put(pixels(3), 40, owner=Client("bert"))
    store.get(first)
    with pytest.raises(PixelsMissing):
        store.get(second)
    store.resize(50)
    assert store.size_bytes == 40
