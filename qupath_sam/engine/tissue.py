"""Where the slides in use show tissue: estimated once an image, and held for the next clicks."""

from __future__ import annotations

import threading

from qupath_sam.errors import QupathSamError, SlideError
from qupath_sam.machine.byte_lru import ByteLru
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.tissue import TissueEstimate, estimate_tissue

#: Memory for estimates: some thirty slides.
MAX_BYTES = 8 * 2**20
_LEAST_BYTES = 1024


class TissueEstimates:
    """Estimates by image. Safe to call from many threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._held: ByteLru[str, tuple[TissueEstimate | None]] = ByteLru(max_bytes)

    def of(self, slide: SlideReader) -> TissueEstimate | None:
        """Return an image's tissue; None where it is not known, which a click does not fail of.

        Two threads may both estimate an image that is new: neither waits for the other.
        """
        image = slide.info.fingerprint
        with self._lock:
            held = self._held.get(image)
        if held is not None:
            return held[0]
        try:
            made = estimate_tissue(slide)
        except SlideError:
            made = None
        except QupathSamError:
            return None  # such as no memory now: the next click may have some
        with self._lock:
            self._held.put(image, (made,), _LEAST_BYTES if made is None else made.glass.nbytes)
        return made
