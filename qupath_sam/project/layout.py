"""What a QuPath project says of itself in project.qpproj and summary.json, read without QuPath (version 0.5 to 0.7)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qupath_sam.errors import ProjectError
from qupath_sam.project.moved import moved_with

DATA_FILE = "data.qpdata"
SUMMARY_FILE = "summary.json"
#: QuPath moves the old data here while it saves; where it is still there, QuPath was killed while saving.
INTERRUPTED_FILE = "data.qpdata.bkp"
#: QuPath moves the old project file to this name while it saves, and leaves it there.
BACKUP_SUFFIX = ".backup"

_ENTRY_ID = re.compile(r"[0-9]{1,18}")
_MAGIC = b"\xac\xed\x00\x05"  # Java's serialisation stream, version 5
_END = b"t\x00\x03EOF"  # the string with which PathIO ends every file


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image of a project.

    Attributes:
        entry_id: QuPath's own number of the entry, as text; names the folder of its data. Image names can repeat.
        name: what QuPath shows.
        server_builder: QuPath's description of how to open the image, as parsed JSON.
        width, height: level-0 px; 0 where the project does not say.
        mpp: um per level-0 px, mean of both axes; None where the image has no pixel size.
        folder: where QuPath keeps the image's data.
        metadata: what people have noted of the image in the project, such as the patient, by key.
        moved_builder: the server builder with the places where its files are now, where the project was moved together
            with its slides; None where they are where the project says.
    """

    entry_id: str
    name: str
    server_builder: dict[str, Any]
    width: int
    height: int
    mpp: float | None
    folder: Path
    metadata: Mapping[str, str] = field(default_factory=dict)
    moved_builder: dict[str, Any] | None = None

    @property
    def slide_builder(self) -> dict[str, Any]:
        """The server builder of the slide's present place; an image's saved data keep `server_builder`."""
        return self.server_builder if self.moved_builder is None else self.moved_builder

    @property
    def data_file(self) -> Path:
        """The objects of the image, serialised by Java."""
        return self.folder / DATA_FILE

    @property
    def summary_file(self) -> Path:
        """Counts of objects, as JSON."""
        return self.folder / SUMMARY_FILE


@dataclass(frozen=True, slots=True)
class UnusableEntry:
    """An entry of a project that cannot be worked with: its name (or number), and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Project:
    """A project file and its images, in the project's order.

    Attributes:
        unusable: entries that are no images, as after an edit by hand; the others can be worked on.
    """

    file: Path
    version: str
    images: tuple[ImageEntry, ...]
    unusable: tuple[UnusableEntry, ...] = ()

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.file.parent

    def image(self, entry_id: str) -> ImageEntry:
        """Return the image of that entry id, or `ProjectError`."""
        for image in self.images:
            if image.entry_id == entry_id:
                return image
        raise ProjectError(f"no image with entry id {entry_id} in {self.file}; see `qupath-sam project info`")


def read_project(file: Path) -> Project:
    """Read a project file (or the one in a folder).

    Raises:
        ProjectError: it is not there, or not a QuPath project.
    """
    if file.is_dir():
        file = file / "project.qpproj"
    file = file.absolute()
    try:
        content = json.loads(file.read_bytes())
        entries = list(content["images"])
    except FileNotFoundError as error:
        backup = file.with_name(f"{file.name}{BACKUP_SUFFIX}")
        if backup.is_file():
            raise ProjectError(
                f"QuPath was interrupted while saving {file}; rename {backup.name} to {file.name} and open it in QuPath"
            ) from error
        raise ProjectError(f"no QuPath project at {file}; give the path of a project.qpproj") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProjectError(f"{file} cannot be read as a QuPath project ({error!r}); open it in QuPath once") from error
    images: list[ImageEntry] = []
    unusable: list[UnusableEntry] = []
    for number, entry in enumerate(entries, 1):
        try:
            images.append(_entry(entry, file, content.get("uri")))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            unusable.append(UnusableEntry(_name_of(entry, number), _what_is_odd(error)))
    return Project(file, str(content.get("version", "")), tuple(images), tuple(unusable))


def checked_entry_id(entry_id: object) -> str:
    """Return QuPath's number of an entry, as text.

    It becomes the name of a folder, so that nothing but digits may be in it.

    Raises:
        ProjectError: it is no number.
    """
    text = str(entry_id)
    if not _ENTRY_ID.fullmatch(text):
        raise ProjectError(
            f"the project has an image with the entry id {text[:40]!r}, which is no number; QuPath writes none: do "
            "not use this project file"
        )
    return text


def count_objects(image: ImageEntry) -> dict[str, Any]:
    """Return the "hierarchy" part of summary.json; empty where there is none."""
    try:
        summary = json.loads(image.summary_file.read_bytes())
    except (OSError, ValueError):
        return {}
    hierarchy = summary.get("hierarchy") if isinstance(summary, dict) else None
    return hierarchy if isinstance(hierarchy, dict) else {}


def check_saved(image: ImageEntry) -> None:
    """Raise `ProjectError` where an image's objects are not where QuPath has saved them.

    An image that was never saved has no data, and no objects; one whose data is gone only looks like it.
    """
    _check_not_interrupted(image.data_file)
    if image.data_file.exists():
        return
    count = count_objects(image).get("nObjects")
    if isinstance(count, int) and count > 1:  # the root counts
        raise ProjectError(
            f"QuPath has saved {count - 1} objects of image {image.name!r}, but {image.data_file} is not there; "
            "restore it from a backup (yours, or one in .qupath-sam/backups)"
        )


def check_data_file(path: Path) -> None:
    """Raise `ProjectError` unless ``path`` begins and ends as a whole data.qpdata does.

    QuPath reads a truncated file as an image without objects, or goes round for ever; this sees it first.
    """
    _check_not_interrupted(path)
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_END)))
        end = file.read()
    if start != _MAGIC or end != _END:
        raise ProjectError(
            f"{path} is truncated or not QuPath's; restore it from a backup (yours, or one in .qupath-sam/backups)"
        )


def _check_not_interrupted(data_file: Path) -> None:
    if (interrupted := data_file.with_name(INTERRUPTED_FILE)).exists():
        raise ProjectError(
            f"QuPath was interrupted while saving ({interrupted} is still there); "
            "open the image in QuPath, check it and save it"
        )


def _entry(image: dict[str, Any], project_file: Path, saved_at: object) -> ImageEntry:
    builder = image["serverBuilder"]
    if not isinstance(builder, dict):
        raise ValueError(f"its serverBuilder is {json.dumps(builder)[:40]}")
    metadata = _object(builder.get("metadata"))
    calibration = _object(metadata.get("pixelCalibration"))
    sides = [_object(calibration.get(side)) for side in ("pixelWidth", "pixelHeight")]
    in_um = all(side.get("unit") in ("µm", "um") and _number(side.get("value")) > 0 for side in sides)
    entry_id = checked_entry_id(image["entryID"])
    return ImageEntry(
        entry_id=entry_id,
        name=str(image.get("imageName") or ""),
        server_builder=builder,
        width=int(_number(metadata.get("width"))),
        height=int(_number(metadata.get("height"))),
        mpp=sum(_number(side.get("value")) for side in sides) / 2 if in_um else None,
        folder=project_file.parent / "data" / entry_id,
        metadata={str(key): str(value) for key, value in _object(image.get("metadata")).items()},
        moved_builder=moved_with(builder, project_file.parent, saved_at),
    )


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object; wrappers leave out metadata of their own, which leaves size and scale unknown."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    """Return a number; 0 where there is none."""
    number = float(value or 0)
    return number if math.isfinite(number) else 0.0


def _name_of(entry: Any, number: int) -> str:
    """Return the name of an entry for messages."""
    name = entry.get("imageName") if isinstance(entry, dict) else None
    return str(name) if name else f"entry {number} of the project"


def _what_is_odd(error: Exception) -> str:
    what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
    return f"{what}; remove the image from the project in QuPath and add it again"
