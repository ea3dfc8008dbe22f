"""What an embedding depends on, as one digest."""

from __future__ import annotations

import hashlib
import json

from qupath_sam.types.regions import Window

#: Part of every key. To be changed with anything below, so that no embedding is found under an old key's meaning.
_SCHEME = "qupath-sam embedding key 1"


def embedding_key(
    slide_fingerprint: str, window: Window, model_name: str, weights_sha256: str, preprocessing_version: str
) -> str:
    """Name the embedding of a window: equal exactly where everything that shapes the embedding is equal.

    The downsample needs no place of its own: a window has its region in level-0 px and its size in window px.

    Args:
        slide_fingerprint: `SlideInfo.fingerprint`.
        window: the pixels encoded.
        model_name: as the registry has it.
        weights_sha256: hex digest of the checkpoint file.
        preprocessing_version: `Segmenter.preprocessing_version`.

    Returns:
        Hex SHA-256 over a JSON array of all of these, whose quoting keeps one field from running into the next.
    """
    region = window.region
    fields = [
        _SCHEME,
        slide_fingerprint,
        [region.x, region.y, region.width, region.height],
        [window.width, window.height],
        model_name,
        weights_sha256,
        preprocessing_version,
    ]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode("ascii")).hexdigest()
