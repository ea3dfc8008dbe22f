"""How much memory the weights of a segmenter take."""

from __future__ import annotations

from torch import nn


def weight_bytes(segmenter: object) -> int:
    """Return the bytes of all parameters and buffers of a segmenter's networks; what they share counts once."""
    storages: dict[int, int] = {}
    for network in _networks(segmenter, seen=set()):
        for tensor in (*network.parameters(), *network.buffers()):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _networks(holder: object, *, seen: set[int]) -> list[nn.Module]:
    """Return the networks among the attributes of a segmenter, and of the segmenters among them."""
    if id(holder) in seen:
        return []
    seen.add(id(holder))
    found: list[nn.Module] = []
    for value in vars(holder).values() if hasattr(holder, "__dict__") else ():
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, nn.Module):
                found.append(each)
            elif hasattr(each, "decode"):
                found += _networks(each, seen=seen)
    return found
