"""What a QuPath project says of itself in project.qpproj and summary.json, read without QuPath (version 0.5 to 0.7)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qupath_sam.errors import ProjectError

DATA_FILE = "data.qpdata"
SUMMARY_FILE = "summary.json"
#: QuPath moves the old data here while it saves; where it is still there, QuPath was killed while saving.
INTERRUPTED_FILE = "data.qpdata.bkp"

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
    """

    entry_id: str
    name: str
    server_builder: dict[str, Any]
    width: int
    height: int
    mpp: float | None
    folder: Path
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def data_file(self) -> Path:
        """The objects of the image, serialised by Java."""
        return self.folder / DATA_FILE

    @property
    def summary_file(self) -> Path:
        """Counts of objects, as JSON."""
        return self.folder / SUMMARY_FILE

    @property
    def server_builder_json(self) -> str:
        """What a server needs to open the same image."""
        return json.dumps(self.server_builder)


@dataclass(frozen=True, slots=True)
class Project:
    """A project file and its images, in the project's order."""

    file: Path
    version: str
    images: tuple[ImageEntry, ...]

    @property
    def folder(self) -> Path:
        """Where the project lies."""
        return self.file.parent

    def image(self, entry_id: str) -> ImageEntry:
        """The image of that entry id, or `ProjectError`."""
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
        content = json.loads(file.read_text(encoding="utf-8"))
        images = tuple(_entry(image, file.parent) for image in content["images"])
        return Project(file, str(content.get("version", "")), images)
    except FileNotFoundError as error:
        raise ProjectError(f"no QuPath project at {file}; give the path of a project.qpproj") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{file} cannot be read as a QuPath project ({error!r}); open it in QuPath once") from error


def checked_entry_id(entry_id: object) -> str:
    """QuPath's number of an entry, as text. It becomes the name of a folder, so that nothing but digits may be in it.

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
    """The "hierarchy" part of summary.json; empty where there is none."""
    try:
        summary = json.loads(image.summary_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    hierarchy = summary.get("hierarchy") if isinstance(summary, dict) else None
    return hierarchy if isinstance(hierarchy, dict) else {}


def check_data_file(path: Path) -> None:
    """Raise `ProjectError` unless ``path`` begins and ends as a whole data.qpdata does.

    QuPath reads a truncated file as an image without objects, or goes round for ever; this sees it first.
    """
    if (interrupted := path.with_name(INTERRUPTED_FILE)).exists():
        raise ProjectError(
            f"QuPath was interrupted while saving ({interrupted} is still there); "
            "open the image in QuPath, check it and save it"
        )
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_END)))
        end = file.read()
    if start != _MAGIC or end != _END:
        raise ProjectError(
            f"{path} is truncated or not QuPath's; restore it from a backup (yours, or one in .qupath-sam/backups)"
        )


def _entry(image: dict[str, Any], folder: Path) -> ImageEntry:
    builder = image["serverBuilder"]
    metadata = _metadata(builder)
    calibration = metadata.get("pixelCalibration", {})
    sides = [calibration.get(side, {}) for side in ("pixelWidth", "pixelHeight")]
    in_um = all(side.get("unit") in ("µm", "um") and float(side.get("value", 0)) > 0 for side in sides)
    entry_id = checked_entry_id(image["entryID"])
    return ImageEntry(
        entry_id=entry_id,
        name=str(image.get("imageName", "")),
        server_builder=builder,
        width=int(metadata.get("width", 0)),
        height=int(metadata.get("height", 0)),
        mpp=sum(float(side["value"]) for side in sides) / 2 if in_um else None,
        folder=folder / "data" / entry_id,
        metadata={str(key): str(value) for key, value in (image.get("metadata") or {}).items()},
    )


def _metadata(builder: dict[str, Any]) -> dict[str, Any]:
    """Metadata of the image as QuPath shows it; wrappers without metadata of their own leave size and scale unknown."""
    metadata = builder.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
