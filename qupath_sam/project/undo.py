"""Put back what a run has changed: the very bytes where the image was not saved since, else object by object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import shapely
from shapely.errors import GEOSException

from qupath_sam.errors import ProjectError, QupathSamError
from qupath_sam.project import decisions as rows
from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.failures import reason_of
from qupath_sam.project.layout import Project
from qupath_sam.project.objects import Edit, ImageObject, Kind, ShapeChange, parents_first
from qupath_sam.project.run import Editor, rows_file, write_edit
from qupath_sam.project.snapshot import is_same_shape
from qupath_sam.project.store.commit import ProjectStore, Run
from qupath_sam.project.store.fingerprint import Fingerprint, same_contents
from qupath_sam.project.store.lock import ProjectLock


@dataclass(frozen=True, slots=True)
class Undone:
    """The outcome of an undo.

    Attributes:
        run_id: of the undo itself, which can be undone as well.
        whole: names of images that have their very bytes again.
        by_object: name of each image changed since, with the numbers of objects put back and left as they are now.
        failed: name of each image left alone, with the reason.
    """

    run_id: str
    whole: tuple[str, ...]
    by_object: tuple[tuple[str, int, int], ...]
    failed: tuple[tuple[str, str], ...]


def undo_run(project: Project, run_id: str, editor: Editor) -> Undone:
    """Undo a run. An object that has been given another shape since stays as it is.

    Args:
        project: whose run it is.
        run_id: as the run's report named it; "last" for the newest that changed something.
        editor: asked only about images that were saved since.
    """
    whole: list[str] = []
    by_object: list[tuple[str, int, int]] = []
    failed: list[tuple[str, str]] = []
    with ProjectLock(project.folder) as lock:
        store = ProjectStore(project.file, lock=lock)
        store.recover()
        undone = _last(store) if run_id == "last" else store.run(run_id)
        run = store.begin("undo", {"run": undone.run_id})
        for entry_id in undone.images("committed"):
            name = f"image {entry_id}"
            try:
                image = project.image(entry_id)
                name = image.name
                if same_contents(Fingerprint.of(image.data_file), store.written(undone, entry_id)):
                    store.undo(run, undone, image)
                    whole.append(image.name)
                    continue
                seen = Fingerprint.of(image.data_file)
                if not rows_file(undone, entry_id).exists():
                    raise ProjectError(
                        f"the image has been changed since; run {undone.run_id} ({undone.begun.get('command', '?')}) "
                        "can be undone as a whole only"
                    )
                kinds = tuple(kind for kind in Kind if kind is not Kind.ROOT)
                decisions = list(rows.load(rows_file(undone, entry_id)))
                edit, left = inverse(decisions, editor.read(image, kinds).objects, undone.run_id)
                if edit:
                    write_edit(store, run, image, seen, edit, editor)
                by_object.append((image.name, len(edit.changes) + len(edit.additions) + len(edit.removals), left))
            except (QupathSamError, GEOSException) as error:
                failed.append((name, reason_of(error)))
        run.journal.append("end")
    return Undone(run.run_id, tuple(whole), tuple(by_object), tuple(failed))


def _last(store: ProjectStore) -> Run:
    runs = [run for run in store.runs() if run.changed]
    if not runs:
        raise ProjectError("no run that changed something is backed up in this project; there is nothing to undo")
    return runs[-1]


def inverse(decisions: Iterable[Decision], objects: Iterable[ImageObject], run_id: str) -> tuple[Edit, int]:
    """Return the edit that takes decisions back, and how many objects it leaves as they are now."""
    now = {item.object_id: item for item in objects}
    changes: list[ShapeChange] = []
    additions: list[ImageObject] = []
    removals: list[str] = []
    left = 0
    for decision in decisions:
        current, before = now.get(decision.object_id), decision.before
        if decision.action is Action.REMOVED and before is not None and current is None:
            additions.append(before)
        elif decision.action is Action.ADDED and current is not None and _has_shape(current, decision.new_wkb):
            removals.append(decision.object_id)
        elif (
            decision.action is Action.REFINED
            and before is not None
            and current is not None
            and _has_shape(current, decision.new_wkb)
        ):
            changes.append(
                ShapeChange(
                    decision.object_id,
                    current.wkb,
                    before.wkb,
                    exact_measurements=before.measurements,
                    exact_metadata=before.metadata,
                )
            )
        elif decision.action is not Action.REFUSED:
            left += 1
    parents = now.keys() - set(removals) | {item.object_id for item in additions} | {None}
    additions = [item if item.parent_id in parents else replace(item, parent_id=None) for item in additions]
    edit = Edit(tuple(changes), tuple(parents_first(additions)), tuple(removals), step=f"qupath-sam undid run {run_id}")
    return edit, left


def _has_shape(item: ImageObject, wkb: bytes) -> bool:
    return is_same_shape(item.geometry, shapely.from_wkb(wkb))
