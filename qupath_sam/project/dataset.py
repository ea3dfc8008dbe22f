"""The annotations of a QuPath project as a data set for `qupath_sam.evaluation`: a lab's own slides, as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from qupath_sam.datasets.annotated import AnnotatedImage, Annotation, AnnotationChoices, annotated_dataset
from qupath_sam.datasets.base import Dataset, LeftOut
from qupath_sam.errors import InvalidRequest, ProjectError, SlideError
from qupath_sam.project.layout import ImageEntry, read_project
from qupath_sam.project.objects import ImageContents, Kind
from qupath_sam.project.selection import ImageSelection
from qupath_sam.slides.builder import parse_builder
from qupath_sam.slides.location import PathMap


class ObjectReader(Protocol):
    """Reads objects of images, as `qupath_sam.project.jvm.worker.QuPathWorker`."""

    def qupath_version(self) -> str:
        """Return the version of the QuPath in use; starts it."""
        ...

    def read(self, image: ImageEntry, kinds: tuple[Kind, ...] = ...) -> ImageContents:
        """Read the objects of an image."""
        ...


@dataclass(frozen=True, slots=True)
class ProjectChoices:
    """Which part of a project is evaluated.

    Attributes:
        annotations: which are objects, and at which scale they are shown.
        images: which images.
        group_by: key of the image's metadata that names the patient or case; empty makes each image its own group.
        path_map: from the folders in the project to this machine's.
    """

    annotations: AnnotationChoices = field(default_factory=AnnotationChoices)
    images: ImageSelection = field(default_factory=ImageSelection)
    group_by: str = ""
    path_map: PathMap = field(default_factory=PathMap)


def project_dataset(file: Path, reader: ObjectReader, choices: ProjectChoices) -> Dataset:
    """Read the chosen annotations of a project; locked ones too, as nothing is changed.

    Images whose objects or pixels cannot be read are left out, and named. The data set bears the name of the project's
    folder.

    Raises:
        ProjectError: no project, or no QuPath on this machine.
        InvalidRequest: nothing is left, or no image has the metadata that groups are to be made of.
    """
    project = read_project(file)
    entries = [entry for entry in project.images if choices.images.matches(entry)]
    _check_groups(entries, choices.group_by)
    names = _unique_names(entries)
    reader.qupath_version()  # where there is none, that is no fault of an image
    images: list[AnnotatedImage] = []
    left_out: list[LeftOut] = []
    for entry, name in zip(entries, names, strict=True):
        try:
            contents = reader.read(entry, (Kind.ANNOTATION,))
            recipe = parse_builder(entry.slide_builder)
        except (ProjectError, SlideError, InvalidRequest) as error:
            left_out.append(LeftOut(name, str(error)))
            continue
        annotations = [
            Annotation(each.geometry, each.path_class, each.plane.z, each.plane.t) for each in contents.objects
        ]
        group = entry.metadata.get(choices.group_by, name) if choices.group_by else name
        images.append(AnnotatedImage(name, group, recipe, annotations, choices.path_map))
    return annotated_dataset(project.folder.name, images, choices.annotations, left_out=left_out)


def _check_groups(entries: list[ImageEntry], key: str) -> None:
    if key and not any(key in entry.metadata for entry in entries):
        known = sorted({each for entry in entries for each in entry.metadata})
        raise InvalidRequest(
            f"no image has metadata {key!r} to group by; known: {', '.join(known) or 'none'} (edit it in QuPath)"
        )


def _unique_names(entries: list[ImageEntry]) -> list[str]:
    """Return the names of images, with the entry's id where several have one name."""
    counts = Counter(entry.name for entry in entries)
    return [entry.name if counts[entry.name] == 1 else f"{entry.entry_id} {entry.name}" for entry in entries]
