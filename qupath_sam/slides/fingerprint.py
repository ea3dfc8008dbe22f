"""What makes the pixels of a slide what they are, in one hex digest."""

from __future__ import annotations

import hashlib


def fingerprint(*facts: object) -> str:
    """Return the SHA-256 of facts.

    Each is written out with its length, so that no two lists of facts run into one text.
    """
    digest = hashlib.sha256()
    for fact in facts:
        data = fact if isinstance(fact, bytes) else str(fact).encode("utf-8", "surrogatepass")
        digest.update(f"{type(fact).__name__}:{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()
