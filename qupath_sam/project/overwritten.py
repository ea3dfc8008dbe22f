"""Images that another program has saved since a run wrote them: what the run changed may be gone from them."""

from __future__ import annotations

from qupath_sam.project.layout import ImageEntry, Project
from qupath_sam.project.store.commit import ProjectStore
from qupath_sam.project.store.fingerprint import Fingerprint, same_contents


def overwritten_since(project: Project, store: ProjectStore) -> dict[str, tuple[ImageEntry, ...]]:
    """Return, by run id, the images that the run was the last to write and that were changed since."""
    last: dict[str, tuple[str, Fingerprint | None]] = {}
    for run in store.runs():
        for entry_id, written in run.written().items():
            last[entry_id] = run.run_id, written
    found: dict[str, list[ImageEntry]] = {}
    for image in project.images:
        if image.entry_id in last:
            run_id, written = last[image.entry_id]
            if not _is_still(image, written):
                found.setdefault(run_id, []).append(image)
    return {run_id: tuple(images) for run_id, images in found.items()}


def _is_still(image: ImageEntry, written: Fingerprint | None) -> bool:
    try:
        status = image.data_file.stat()
    except FileNotFoundError:
        return written is None
    if written is None or status.st_size != written.size:
        return False
    # The hash of a large file takes a while, and is only needed where a copy has changed the time.
    return status.st_mtime_ns == written.mtime_ns or same_contents(Fingerprint.of(image.data_file), written)
