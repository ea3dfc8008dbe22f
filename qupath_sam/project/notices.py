"""What a person should know of a project before it is worked on."""

from __future__ import annotations

from collections.abc import Iterator

from qupath_sam.project.layout import ImageEntry, Project
from qupath_sam.project.qupath_process import running_qupath
from qupath_sam.project.store.lock import ProjectLock


def notices(project: Project) -> Iterator[str]:
    """Yield sentences, the gravest first; none where all is well."""
    for process in running_qupath():
        where = "with this project" if process.has_opened(project.file) else "on this machine"
        yield (
            f"QuPath is running {where} (process {process.pid}): close this project there, or do not save it there "
            "before File > Reload data; what it saves replaces what is written here"
        )
    if writer := ProjectLock.held_by(project.folder):
        yield f"another qupath-sam writes to this project ({writer}); wait for it"
    for entry in project.unusable:
        yield f"left alone: {entry}"
    moved = [image for image in project.images if image.moved_builder is not None]
    if moved:
        yield (
            f"the project was moved: {_count(moved)} opened where they lie beside it now, such as {_place(moved[0])}; "
            "open the project in QuPath once to make that last"
        )


def _count(images: list[ImageEntry]) -> str:
    return "1 slide is" if len(images) == 1 else f"{len(images)} slides are"


def _place(image: ImageEntry) -> str:
    """Return the first place that differs from what the project says."""
    return next(iter(_uris(image.slide_builder)), image.name)


def _uris(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("uri"), str):
            yield value["uri"]
        for item in value.values():
            yield from _uris(item)
    elif isinstance(value, list):
        for item in value:
            yield from _uris(item)
