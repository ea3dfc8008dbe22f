"""Copies of images' data that QuPath's scripts make before they change a project (ProjectBackup.java)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qupath_sam.project.layout import Project

#: Beside the project; as ``FOLDER`` in ProjectBackup.java.
FOLDER = ".qupath-sam/script-backups"


@dataclass(frozen=True, slots=True)
class ScriptBackup:
    """The copies that one run of a script made.

    Attributes:
        utc: when the run began, such as ``20261130T012000Z``.
        folder: has a folder for each image, as ``data`` of the project has.
        entry_ids: of the images that were copied.
    """

    utc: str
    folder: Path
    entry_ids: tuple[str, ...]


def script_backups(project: Project) -> tuple[ScriptBackup, ...]:
    """Return the backups that are there, oldest first; those without any image's data are left out."""
    folders = sorted(path for path in (project.folder / FOLDER).glob("*") if path.is_dir())
    found = (ScriptBackup(path.name, path, _entries_in(path)) for path in folders)
    return tuple(backup for backup in found if backup.entry_ids)


def _entries_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in folder.glob("*/data.qpdata")))
