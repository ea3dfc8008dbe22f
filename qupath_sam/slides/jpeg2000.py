"""What colours a JPEG 2000 stream decodes to: the stream knows, and the tags of the TIFF around it often do not."""

from __future__ import annotations

import struct

HEADER_BYTES = 65_536
"""How much of a stream is enough to ask; an ICC profile may stand before the first marker."""

_CODESTREAM = b"\xff\x4f\xff\x51"
_COD = 0xFF52
_SOT = 0xFF90
_SYCC = 18


def stays_ycbcr(head: bytes) -> bool:
    """Return whether a stream that holds YCbCr comes out of OpenJPEG (by imagecodecs) as YCbCr.

    The decoder makes RGB of three kinds: where the stream itself transforms its components (MCT), where their chroma is
    subsampled, and where a JP2 box names sYCC. It leaves everything else as it is stored.

    Args:
        head: the first `HEADER_BYTES` of the stream.
    """
    start = head.find(_CODESTREAM)
    if start < 0 or len(head) < start + 42:
        return True
    if _names_sycc(head[:start]):
        return False
    (components,) = struct.unpack_from(">H", head, start + 40)
    steps = head[start + 42 : start + 42 + 3 * components]
    if components == 3 and len(steps) == 9 and steps[4] != 1:
        return False
    return not _transforms_components(head, start + 2)


def _names_sycc(boxes: bytes) -> bool:
    """Return whether a colour box with an enumerated colour space says sYCC."""
    place = boxes.find(b"colr")
    if place < 0 or len(boxes) < place + 11 or boxes[place + 4] != 1:
        return False
    (space,) = struct.unpack_from(">I", boxes, place + 7)
    return bool(space == _SYCC)


def _transforms_components(head: bytes, place: int) -> bool:
    """Return whether the main header's COD marker switches the multiple component transformation on."""
    while place + 4 <= len(head):
        marker, length = struct.unpack_from(">HH", head, place)
        if marker == _COD:
            # Scod 1 byte, progression 1, layers 2, then the transformation
            return len(head) > place + 8 and head[place + 8] == 1
        if marker == _SOT or length < 2:
            return False
        place += 2 + length
    return False
