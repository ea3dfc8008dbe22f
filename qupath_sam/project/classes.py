"""Classes that a command names, held against those of the project: a misspelt one selects nothing, in silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from qupath_sam.errors import InvalidRequest
from qupath_sam.project.layout import ImageEntry, count_objects
from qupath_sam.project.selection import is_of_class


def annotation_classes(images: Iterable[ImageEntry]) -> list[str] | None:
    """Return the classes of the images' annotations, "Unclassified" for none, as QuPath counted them when it saved.

    None where an image with objects has no count.
    """
    classes: dict[str, None] = {}
    for image in images:
        counts = count_objects(image).get("annotationClassificationCounts")
        if isinstance(counts, dict):
            classes |= dict.fromkeys(str(name) for name in counts)
        elif image.data_file.exists():
            return None
    return sorted(classes)


def check_classes(images: Sequence[ImageEntry], wanted: Iterable[str], not_wanted: Iterable[str] = ()) -> list[str]:
    """See that the classes that a command names are classes of the images' annotations.

    Args:
        images: those that the command is about.
        wanted: classes that it takes.
        not_wanted: classes that it leaves out.

    Returns:
        Sentences about classes that no annotation has, where others of ``wanted`` do.

    Raises:
        InvalidRequest: a class is nearly one of the project's, or no annotation has any of ``wanted``.
    """
    known = annotation_classes(images)
    if known is None:
        return []
    wanted, not_wanted = list(wanted), list(not_wanted)
    missing = list(_missing([*wanted, *not_wanted], known))
    shown = ", ".join(repr(name) for name in known) or "none"
    for name in missing:
        if near := _nearest(name, known):
            raise InvalidRequest(
                f"no annotation of these images is of class {name!r}; did you mean {near!r}? There are: {shown}"
            )
    lacking = [name for name in wanted if name in missing]
    if lacking and len(lacking) == len(wanted):
        names = ", ".join(repr(name) for name in lacking)
        raise InvalidRequest(f"no annotation of these images is of class {names}; name one of: {shown}")
    return [f"no annotation of these images is of class {name!r}" for name in missing]


def _missing(names: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    for name in names:
        if not any(is_of_class(each, (name,)) for each in known):
            yield name


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the class that differs by its case or a letter or two; classes that others derive from count as well."""
    every = dict.fromkeys(
        ": ".join(parts[:end]) for each in known for parts in [each.split(": ")] for end in _ends(parts)
    )
    folded = {each.casefold(): each for each in every if each != "Unclassified" or name.casefold().startswith("un")}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.75)
    return folded[near[0]] if near else None


def _ends(parts: Sequence[str]) -> range:
    return range(1, len(parts) + 1)
