"""Which replica answers: the one that has the image's embeddings, states and pushed pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from qupath_sam.protocol.route import ROUTE_METADATA


def route_of(metadata: Iterable[tuple[str, str | bytes]], peer: str) -> str:
    """Return what a call is routed by: the key that the client sends, else the address of its machine.

    Args:
        metadata: of the call.
        peer: its connection, ``ipv4:192.0.2.7:4711``.
    """
    for key, value in metadata:
        if key == ROUTE_METADATA and value:
            return str(value)
    return peer.rpartition(":")[0]


def ranked(route: str, replicas: Sequence[str]) -> list[str]:
    """Return replicas in the order in which they are asked: a route keeps its replica when others come or go.

    Rendezvous hashing: the replica whose digest with the route is the highest has it, so that a replica that goes
    hands its own routes to all others, and no other route moves (Thaler and Ravishankar 1998, IEEE/ACM Transactions on
    Networking 6:1, "Using name-based mappings to increase hit rates").

    Args:
        route: as `route_of`.
        replicas: their names.
    """
    return sorted(replicas, key=lambda name: hashlib.sha256(f"{route} {name}".encode()).digest(), reverse=True)
