"""Which images and which of their objects a run is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import ImageObject, Kind


@dataclass(frozen=True, slots=True)
class ImageSelection:
    """Images by name or entry id; empty takes all.

    Attributes:
        patterns: names as a shell matches them (``*.svs``), or entry ids.
    """

    patterns: tuple[str, ...] = ()

    def matches(self, image: ImageEntry) -> bool:
        """Return whether the run is about that image."""
        return not self.patterns or any(
            pattern == image.entry_id or fnmatchcase(image.name, pattern) for pattern in self.patterns
        )


@dataclass(frozen=True, slots=True)
class ObjectSelection:
    """Annotations with an area, by class, name and size.

    Attributes:
        path_classes: classes to take, "Unclassified" for none; empty takes all. "Tumor" takes "Tumor" and what
            is derived from it ("Tumor: Positive").
        not_classes: classes to leave out, in the same way.
        names: names as a shell matches them; empty takes all.
        min_area, max_area: in um2, or level-0 px2 where the image has no pixel size; 0 and infinity take all.
        locked: take locked ones as well.
    """

    path_classes: tuple[str, ...] = ()
    not_classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    min_area: float = 0.0
    max_area: float = float("inf")
    locked: bool = False

    def select(self, objects: Iterable[ImageObject], image: ImageEntry) -> list[ImageObject]:
        """Return the ``objects`` that match, in order."""
        return [item for item in objects if self.matches(item, image)]

    def matches(self, item: ImageObject, image: ImageEntry) -> bool:
        """Return whether an object is wanted. Lines and points have no area, and never are."""
        if item.kind is not Kind.ANNOTATION or item.geometry.geom_type not in ("Polygon", "MultiPolygon"):
            return False
        if self.path_classes and not is_of_class(item.path_class, self.path_classes):
            return False
        if is_of_class(item.path_class, self.not_classes):
            return False
        if self.names and not any(fnmatchcase(item.name or "", pattern) for pattern in self.names):
            return False
        area = item.geometry.area * (image.mpp**2 if image.mpp else 1.0)
        return self.min_area <= area <= self.max_area


def is_of_class(path_class: str | None, wanted: Iterable[str]) -> bool:
    """Return whether a class is one of ``wanted`` or derived from one."""
    name = path_class or "Unclassified"
    return any(name == base or name.startswith(f"{base}: ") for base in wanted)
