"""A folder of images beside a folder of masks, without an index.

``images/`` holds the images; ``instances/`` or ``labels/`` label images (each value an object), or else ``masks/`` or
``regions/`` binary masks (`read_components` says which files are). Files pair by their names without suffix. Every
image is a group of its own, as nothing says which belong together.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from qupath_sam.datasets.base import IMAGE_SUFFIXES, Dataset, by_stem, first_folder, read_rgb, without_partner
from qupath_sam.datasets.label_images import read_components, read_labels
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest

_LABEL_FOLDERS, _MASK_FOLDERS = ("instances", "labels"), ("masks", "mask", "regions")


def recognises(root: Path) -> bool:
    """Return whether there is an image folder with a folder of labels or masks beside it."""
    return (
        first_folder(root, ("images",)) is not None and first_folder(root, _LABEL_FOLDERS + _MASK_FOLDERS) is not None
    )


def read(root: Path) -> Dataset:
    """Read one tile for every image that has a mask; whole tiles, as the data set is of unknown scale.

    Raises:
        InvalidRequest: no image has a mask.
    """
    images = first_folder(root, ("images",))
    labels = first_folder(root, _LABEL_FOLDERS)
    annotations = labels or first_folder(root, _MASK_FOLDERS)
    if images is None or annotations is None:
        raise InvalidRequest(f"{root} needs a folder 'images' and one of {', '.join(_LABEL_FOLDERS + _MASK_FOLDERS)}")
    masks, pictures = by_stem(annotations, IMAGE_SUFFIXES), by_stem(images, IMAGE_SUFFIXES)
    pairs = [(image, masks[stem]) for stem, image in pictures.items() if stem in masks]
    if not pairs:
        raise InvalidRequest(f"no image of {images} has a mask of the same name in {annotations}; rename one of them")
    name = root.resolve().name
    tiles = tuple(
        Tile(
            dataset=name,
            image_id=image.name,
            group=image.stem,
            split=None,
            mpp=None,
            read_pixels=partial(read_rgb, image),
            read_labels=partial(read_labels if labels else read_components, mask),
        )
        for image, mask in pairs
    )
    left_out = without_partner(pictures, masks, folders=(images.name, annotations.name))
    return Dataset(name, tiles, crop=None, left_out=tuple(left_out))
