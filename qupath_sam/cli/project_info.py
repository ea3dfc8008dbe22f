"""The table of ``qupath-sam project info``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.project.layout import ImageEntry, Project


def print_info(
    opened: Project,
    images: Sequence[dict[str, Any]],
    runs: Sequence[dict[str, Any]],
    backups: Sequence[dict[str, Any]],
) -> None:
    """Print images, runs and scripts' backups, as ``project info --json`` has them, for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("id", "image", "px", "µm/px", "objects", "annotations by class", title=str(opened.file))
    for image in images:
        counts = image["objects"]
        by_class = counts.get("annotationClassificationCounts", {})
        table.add_row(
            image["id"],
            image["name"],
            f"{image['width']} x {image['height']}",
            f"{image['mpp']:g}" if image["mpp"] else "?",
            str(max(0, counts.get("nObjects", 1) - 1)),
            ", ".join(f"{name} {count}" for name, count in by_class.items()),
        )
    console.print(table)
    for image in images:
        if image["fault"]:
            console.print(f"{image['name']}: {image['fault']}", markup=False)
    for run in runs:
        console.print(f"run {run['run']}: {_said_of(run)}", markup=False)
    for backup in backups:
        names = ", ".join(backup["images"])
        console.print(
            f"before a script in QuPath, {backup['utc']}: {names}; copied to {backup['folder']}", markup=False
        )
    if backups:
        console.print(
            "to go back to such a copy, close the project and copy its files over those in data", markup=False
        )


def described_images(opened: Project) -> list[dict[str, Any]]:
    """Describe the images of a project for ``project info --json``; "fault" says why one cannot be read."""
    from qupath_sam.project.layout import count_objects

    return [
        {
            "id": image.entry_id,
            "name": image.name,
            "width": image.width,
            "height": image.height,
            "mpp": image.mpp,
            "objects": count_objects(image),
            "fault": _fault_of(image),
        }
        for image in opened.images
    ]


def described_runs(opened: Project) -> list[dict[str, Any]]:
    """Describe the runs of a project for ``project info --json``; "overwritten" names images that were saved since."""
    from qupath_sam.project.overwritten import overwritten_since
    from qupath_sam.project.store.commit import ProjectStore

    store = ProjectStore(opened.file)
    overwritten = overwritten_since(opened, store)
    return [
        {
            "run": run.run_id,
            "utc": run.begun.get("utc", ""),
            "command": run.begun.get("command", ""),
            "images": len(run.changed),
            "failed": len(run.failed),
            "ended": run.ended,
            "reported": run.reported,
            "overwritten": [image.name for image in overwritten.get(run.run_id, ())],
        }
        for run in store.runs()
    ]


def described_backups(opened: Project) -> list[dict[str, Any]]:
    """Return what scripts in QuPath have copied before they changed it, as ``project info --json`` has it."""
    from qupath_sam.project.script_backups import script_backups

    names = {image.entry_id: image.name for image in opened.images}
    return [
        {
            "utc": backup.utc,
            "folder": str(backup.folder),
            "images": [names.get(entry_id, f"entry {entry_id}, which is gone") for entry_id in backup.entry_ids],
        }
        for backup in script_backups(opened)
    ]


def _fault_of(image: ImageEntry) -> str:
    from qupath_sam.errors import ProjectError
    from qupath_sam.project.layout import check_saved

    try:
        check_saved(image)
    except ProjectError as error:
        return str(error)
    return ""


def _said_of(run: dict[str, Any]) -> str:
    """Return one line about a run: what it did, whether it can be taken up, what has happened since."""
    parts = [run["command"], f"{run['images']} images" if run["images"] else "changed nothing"]
    if run["failed"]:
        parts.append(f"{run['failed']} images failed")
    parts.append(run["utc"])
    can_resume = run["command"] in ("refine", "segment")
    if not run["ended"]:
        parts.append("unfinished")
    elif can_resume and not run["reported"]:
        parts.append("without a report")
    text = ", ".join(parts)
    if can_resume and (not run["ended"] or run["failed"] or not run["reported"]):
        text += " (--resume)"
    if run["overwritten"]:
        names = ", ".join(run["overwritten"])
        text += f"; saved by another program since, so that what the run changed may be gone: {names}"
    return text
