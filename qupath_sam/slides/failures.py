"""What decoders raise, as errors of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qupath_sam.errors import OutOfMemory, QupathSamError, SlideUnreadable, SlideUnsupported


@contextmanager
def decoding(given: str) -> Iterator[None]:
    """Map what tifffile, tiffslide, zarr and imagecodecs raise on files that are broken or unknown to them.

    Their exceptions have no common base: Jpeg8Error, TiffFileError, IndexError, KeyError, struct.error and more.
    """
    try:
        yield
    except QupathSamError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"no memory left to decode {given}; read a smaller region") from error
    except NotImplementedError as error:
        raise SlideUnsupported(
            f"{given} is laid out in a way that its decoder does not know: {error}; push the pixels"
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip(": ")
        raise SlideUnreadable(
            f"{given} cannot be decoded ({reason}); check that it opens in QuPath, or copy it again"
        ) from error
