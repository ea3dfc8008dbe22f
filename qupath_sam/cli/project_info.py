"""The table of ``qupath-sam project info``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.project.layout import Project


def print_info(opened: Project, images: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> None:
    """Print images and runs, as ``project info --json`` has them, for people."""
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
    for run in runs:
        state = "" if run["ended"] else ", unfinished"
        if state and run["command"] in ("refine", "segment"):
            state += " (--resume)"
        console.print(f"run {run['run']}: {run['command']}, {run['images']} images, {run['utc']}{state}", markup=False)
