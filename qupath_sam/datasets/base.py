"""What a data set is, and how its files are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.options import Target
from qupath_sam.errors import InvalidRequest

#: Glands and regions of EBHI-Seg are scored from this area on (its masks hold fragments), nuclei from the other (px).
MIN_AREA_GLANDS, MIN_AREA_NUCLEI = 400, 60
#: The whole-image protocol shows the top-left 256 px of a tile, so that small nuclei keep the pixels they have.
TILE_CROP = 256

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".svslide")


def min_area_of(kind: Kind) -> int:
    """Return the area from which on objects of a kind are scored, px."""
    return MIN_AREA_NUCLEI if kind in (Kind.NUCLEUS, Kind.BRIGHT_NUCLEUS) else MIN_AREA_GLANDS


def crop_of(kind: Kind) -> int | None:
    """Return the side of the square of a tile that the whole-image protocol shows, px; None shows all of it."""
    return TILE_CROP if kind in (Kind.NUCLEUS, Kind.BRIGHT_NUCLEUS) else None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image of a data set that is not evaluated, or not all of it, and why."""

    image: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Tiles under one name, and how the protocol scores them unless the caller says otherwise.

    Attributes:
        name: in reports.
        tiles: in a stable order.
        target: what counts as one object.
        min_area: px of the smallest object that is scored.
        crop: side of the top-left square that the whole-image protocol shows, px; None shows the whole tile.
        kind: of its objects.
        left_out: what could not be had, and does not end the evaluation of the rest.
    """

    name: str
    tiles: tuple[Tile, ...]
    target: Target = Target.INSTANCES
    min_area: int = MIN_AREA_NUCLEI
    crop: int | None = TILE_CROP
    kind: Kind = Kind.NUCLEUS
    left_out: tuple[LeftOut, ...] = ()

    def drawn(self, images: int | None, *, seed: int) -> Dataset:
        """Return at most so many tiles in their order, drawn without regard to what they show; all of them for None."""
        if images is None or images >= len(self.tiles):
            return self
        order = np.random.default_rng(seed).permutation(len(self.tiles))
        return replace(self, tiles=tuple(self.tiles[i] for i in sorted(order[:images])))

    def of_split(self, split: str | None) -> Dataset:
        """Return the tiles of one split; all tiles where ``split`` is None or the data set names no splits.

        Raises:
            InvalidRequest: no tile has this split.
        """
        known = sorted({t.split for t in self.tiles if t.split is not None})
        if split is None or not known:
            return self
        tiles = tuple(t for t in self.tiles if t.split == split)
        if not tiles:
            raise InvalidRequest(
                f"data set {self.name} has no split {split!r}; known: {', '.join(known)}, or 'all' for every tile"
            )
        return replace(self, tiles=tiles)

    @property
    def groups(self) -> frozenset[str]:
        """Groups of the tiles."""
        return frozenset(t.group for t in self.tiles)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read the pixels of an image file: uint8 ``(H, W, 3)`` RGB; an alpha channel is dropped, grey becomes RGB.

    Raises:
        InvalidRequest: missing, not an image, or of more than 8 bits, which Pillow would clip to white or to a byte.
    """
    image = open_image(path)
    if image.mode[0] in "IF" or _is_stored_deeper(path):
        raise InvalidRequest(
            f"{path} has more than 8 bits a channel, and nothing says which value is white; save it as 8-bit"
        )
    return np.asarray(image.convert("RGB"))


def _is_stored_deeper(path: Path) -> bool:
    """Return whether Pillow has an 8-bit mode for 16 bits of the file: it drops RGB's lower byte without a word."""
    with Image.open(path) as header:
        return any(";16" in str(tile[3]) for tile in header.tile)


def open_image(path: Path) -> Image.Image:
    """Open an image file and read it whole.

    Raises:
        InvalidRequest: missing, or not an image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path} is missing; the data set is incomplete, fetch it again") from error
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidRequest(f"{path} cannot be read as an image ({error}); the data set is broken there") from error


def by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Return the files of a folder by name without suffix, sorted; suffixes are compared without case.

    Raises:
        InvalidRequest: two files differ in their suffixes alone, and only one could be had.
    """
    wanted = tuple(suffixes)
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in wanted and not p.name.startswith(".")):
        if path.stem in found:
            raise InvalidRequest(
                f"{folder} holds {found[path.stem].name} and {path.name}, and files pair by that name; move one away"
            )
        found[path.stem] = path
    return found


def without_partner(one: Mapping[str, Path], other: Mapping[str, Path], *, folders: tuple[str, str]) -> list[LeftOut]:
    """Return files that have none of their name among the others.

    Args:
        one, other: of `by_stem`.
        folders: what to call where they lie.
    """
    first, second = folders
    alone = [(path, second) for stem, path in one.items() if stem not in other]
    alone += [(path, first) for stem, path in other.items() if stem not in one]
    return [LeftOut(f"{path.parent.name}/{path.name}", f"no file of that name in {there}/") for path, there in alone]


def first_folder(root: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the named folders that exists in ``root``; names are compared without case."""
    if not root.is_dir():
        return None
    folders = {p.name.lower(): p for p in root.iterdir() if p.is_dir()}
    return next((folders[name] for name in names if name in folders), None)


def walk_folders(root: Path) -> Iterator[Path]:
    """Yield ``root`` and every folder below it, sorted."""
    yield root
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        yield from walk_folders(folder)
