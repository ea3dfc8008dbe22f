"""Plain images, from header to RGB pixels, without trusting either."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from qupath_sam.errors import OutOfMemory, QupathSamError, SlideUnreadable, SlideUnsupported
from qupath_sam.slides.resampling import WHITE

_OPAQUE = {"RGB", "L", "P", "1"}
_TRANSPARENT = {"RGBA", "LA", "PA", "La", "RGBa"}
_PNG_DEPTH_AT = 24

ToRgb = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Px of more than 8 bits, ``(height, width, samples)``, to uint8 ``(height, width, 3)`` RGB."""


def decode_rgb(
    stream: IO[bytes],
    *,
    name: str,
    formats: tuple[str, ...],
    check_size: Callable[[int, int], None],
    deep: ToRgb | None = None,
) -> NDArray[np.uint8]:
    """Decode an image to uint8 ``(height, width, 3)`` RGB.

    Grey becomes three equal channels, a palette its colours; what is transparent is laid on white. Orientation tags are
    ignored, as QuPath ignores them.

    Args:
        stream: positioned at the image's first byte.
        formats: names of Pillow's decoders to allow.
        check_size: is given the header's width and height before anything is decoded, and raises to refuse.
        deep: makes RGB of a PNG of 16 bits a sample; where it is None, such an image is refused.

    Raises:
        SlideUnreadable: no such image, or a broken or truncated one.
        SlideUnsupported: so many pixels that Pillow takes it for an attack, more than 8 bits a channel, or no RGB.
    """
    try:
        start = stream.tell()
        with Image.open(stream, formats=formats) as image:
            check_size(image.width, image.height)
            if image.format == "PNG" and _depth_of_png(stream, start) > 8:
                # Pillow drops the lower byte of 16-bit RGB without a word.
                return _decode_deep(stream, start, name, deep)
            if image.mode not in _OPAQUE | _TRANSPARENT:
                raise SlideUnsupported(
                    f"{name} is not 8-bit RGB or grey (Pillow mode {image.mode}): how it looks depends on the viewer; "
                    "push the pixels as QuPath renders them"
                )
            return _to_rgb(image)
    except QupathSamError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise SlideUnsupported(f"{name} has too many pixels to decode at once; convert it to a tiled TIFF") from error
    except MemoryError as error:
        raise OutOfMemory(f"no memory left to decode {name}; convert it to a tiled TIFF") from error
    except UnidentifiedImageError as error:
        raise SlideUnreadable(f"{name} is no {' or '.join(formats)} image; check the file") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError) as error:
        # what Pillow's decoders raise on broken data; SyntaxError is its own for broken PNG chunks
        raise SlideUnreadable(f"{name} cannot be decoded ({error}); copy the image again") from error


def _depth_of_png(stream: IO[bytes], start: int) -> int:
    """Return the bits of a sample, by the header; leave the stream where it was."""
    place = stream.tell()
    stream.seek(start + _PNG_DEPTH_AT)
    depth = stream.read(1)
    stream.seek(place)
    return depth[0] if depth else 0


def _decode_deep(stream: IO[bytes], start: int, name: str, deep: ToRgb | None) -> NDArray[np.uint8]:
    if deep is None:
        raise SlideUnsupported(
            f"{name} has 16 bits a sample, not 8: how it looks depends on the viewer; push the pixels as QuPath "
            "renders them"
        )
    import imagecodecs

    stream.seek(start)
    try:
        pixels = imagecodecs.png_decode(stream.read())
    except imagecodecs.PngError as error:
        raise SlideUnreadable(f"{name} cannot be decoded ({error}); copy the image again") from error
    return deep(pixels[:, :, None] if pixels.ndim == 2 else pixels)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (WHITE, WHITE, WHITE, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))
