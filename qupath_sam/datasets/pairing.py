"""Pairs annotation files with slides by their names, below one folder.

A file belongs to the slide whose name it bears, with or without the slide's suffix and with or without the number that
an export of a project puts before it: ``a.geojson``, ``a.svs.geojson`` and ``3 a.svs.geojson`` belong to ``a.svs``. Of
several slides, those of the whole name come first, then those in the file's own folder, then slides before plain
pictures: an overview ``a.png`` often lies beside ``a.svs``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qupath_sam.datasets.base import SLIDE_SUFFIXES, LeftOut, walk_folders

_EXPORT_NUMBER = re.compile(r"^\d+ ")


@dataclass(frozen=True, slots=True)
class PairedFiles:
    """Annotations with their slides.

    Attributes:
        of_slides: by slide, its files of annotations; in the files' order.
        left_out: files that belong to no slide, or to one of several that their names do not decide.
    """

    of_slides: dict[Path, tuple[Path, ...]]
    left_out: tuple[LeftOut, ...]


def pair_files(root: Path, *, annotations: Sequence[str], slides: Sequence[str]) -> PairedFiles:
    """Return each file of annotations in or below ``root`` with its slide.

    Args:
        root: a folder.
        annotations: suffixes of files of annotations.
        slides: suffixes of what they may belong to. Suffixes are compared without case.
    """
    files = [path for folder in walk_folders(root) for path in sorted(folder.iterdir()) if path.is_file()]
    candidates = [path for path in files if path.suffix.lower() in slides]
    of_slides: dict[Path, tuple[Path, ...]] = {}
    left_out: list[LeftOut] = []
    for path in (path for path in files if path.suffix.lower() in annotations):
        owners = _owners(path, candidates)
        if len(owners) == 1:
            of_slides[owners[0]] = (*of_slides.get(owners[0], ()), path)
        else:
            reason = f"{len(owners) or 'no'} slides of that name in {root}"
            left_out.append(LeftOut(path.relative_to(root).as_posix(), reason))
    return PairedFiles(of_slides, tuple(left_out))


def _owners(path: Path, slides: Sequence[Path]) -> list[Path]:
    """Return slides that a file of annotations may belong to."""
    names = {path.stem, _EXPORT_NUMBER.sub("", path.stem)}
    found = [s for s in slides if s.name in names] or [s for s in slides if s.stem in names]
    found = [s for s in found if s.parent == path.parent] or found
    return [s for s in found if s.suffix.lower() in SLIDE_SUFFIXES] or found
