"""How images of labels and of masks are read: transparency says nothing, and a colour is no number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qupath_sam.datasets.base import open_image
from qupath_sam.errors import InvalidRequest

#: Of the px of a mask with smooth edges that are neither 0 nor 255, no larger share has only its like around it.
#: Measured: below .02 of masks that were scaled, blurred or JPEG once; above .17 of labels, even of fragments of 6 px.
_MOST_LEVEL = 0.05


def read_labels(path: Path) -> NDArray[np.integer]:
    """Read the labels of an image file: integer ``(H, W)``.

    An image of two colours is a mask: any channel above 0 is an object.

    Raises:
        InvalidRequest: missing, not an image, a JPEG, in several colours, or of floating-point labels.
    """
    image = open_image(path)
    if _is_jpeg(image):
        raise InvalidRequest(
            f"{path} is a JPEG, which changes the numbers of objects; save labels as PNG or TIFF, or put a mask into a "
            "folder 'masks'"
        )
    values = _values(image, path)
    if values.ndim == 2:
        return values
    # Packed into one number a px, colours are sorted many times faster than by rows.
    colours = len(np.unique(values.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)))
    if colours > 2:
        raise InvalidRequest(
            f"{path} tells objects by {colours} colours; save one number an object (8- or 16-bit grey PNG or TIFF)"
        )
    return np.asarray((values > 0).any(axis=-1), dtype=np.uint8)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read the foreground of a binary mask: bool ``(H, W)``; any channel above 0.

    Raises:
        InvalidRequest: missing, not an image, or of floating-point values.
    """
    mask: NDArray[np.bool_] = _largest_channel(_values(open_image(path), path)) > 0
    return mask


def read_components(path: Path) -> NDArray[np.integer]:
    """Read a mask's 4-connected parts as labels, or the labels that the file holds already: integer ``(H, W)``.

    A file of two values is a mask: all but 0 is foreground. So is one in colour: any channel above 0. What lies above
    half of a file's largest value is foreground

    - where the file is a JPEG, which makes many values of two;
    - where its largest value is 255 and hardly any px between 0 and 255 has only its like around it: those are edges
      that scaling or smoothing has left. Inside an object of a label image, all px have their like around them.

    Any other file of more than two values is a label image.

    Raises:
        InvalidRequest: missing, not an image, or of floating-point values.
    """
    image = open_image(path)
    values = _values(image, path)
    grey = _largest_channel(values)
    if _is_jpeg(image) or _has_smooth_edges(grey):
        mask = grey > grey.max() / 2
    elif values.ndim == 2 and len(np.unique(values)) > 2:
        return values
    else:
        mask = grey != 0
    components: NDArray[np.integer] = ndimage.label(mask)[0]
    return components


def _values(image: Image.Image, path: Path) -> NDArray[np.integer]:
    """Return integers ``(H, W)``, of a palette its numbers, or uint8 ``(H, W, 3)`` RGB of a colour image; no alpha."""
    if image.mode in ("LA", "La", "PA"):
        return np.asarray(image)[..., 0]
    if len(image.getbands()) > 1:
        return np.asarray(image.convert("RGB"))
    values: NDArray[np.integer] = np.asarray(image)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if not np.issubdtype(values.dtype, np.integer):
        raise InvalidRequest(f"{path} holds {values.dtype} values; labels must be integers (8- or 16-bit PNG or TIFF)")
    return values


def _largest_channel(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return values if values.ndim == 2 else np.asarray(values.max(axis=-1))


def _is_jpeg(image: Image.Image) -> bool:
    return image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg"


def _has_smooth_edges(grey: NDArray[np.integer]) -> bool:
    if grey.max() != 255:
        return False
    between = (grey > 0) & (grey < 255)
    level = ndimage.maximum_filter(grey, size=3) == ndimage.minimum_filter(grey, size=3)
    return bool(np.count_nonzero(between & level) <= _MOST_LEVEL * np.count_nonzero(between))
