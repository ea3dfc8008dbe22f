"""``qupath-sam project segment --everything``: all objects of a project's regions, for a night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import typer

from qupath_sam.cli.option_groups import MAIN_PANEL
from qupath_sam.cli.project_options import ModelOptions, OutlineOptions, ReportedRunOptions
from qupath_sam.cli.project_session import Session, check_report_folder, finish, run_with_progress, say_before
from qupath_sam.types.choices import Effort, ObjectKind

if TYPE_CHECKING:
    from qupath_sam.project.everything import RegionPredictor

#: Class of the regions where none is named.
REGION_CLASS = "Region*"


@dataclass(frozen=True, kw_only=True)
class EverythingInProjectOptions:
    """Which objects of which regions."""

    PANEL: ClassVar[str] = "With --everything"

    everything: Annotated[
        bool,
        typer.Option("--everything", help="Find all objects of regions, as detections.", rich_help_panel=MAIN_PANEL),
    ] = False
    whole_image: Annotated[
        bool, typer.Option("--whole-image", help="Look at all of an image that has no such region.")
    ] = False
    like: Annotated[
        list[str] | None, typer.Option(help="Class of examples: find what looks like them; may be repeated.")
    ] = None
    unlike: Annotated[
        list[str] | None, typer.Option(help="Class of examples of what is not wanted; may be repeated.")
    ] = None
    like_threshold: Annotated[
        float | None, typer.Option(help="Least likeness, 0 to 1; else what the examples suggest.")
    ] = None
    objects: Annotated[ObjectKind, typer.Option(help="Which objects are meant; --like says it by its examples.")] = (
        ObjectKind.NUCLEI
    )
    effort: Annotated[Effort, typer.Option(help="fast decodes less.")] = Effort.BEST
    keep_earlier: Annotated[
        bool, typer.Option("--keep-earlier", help="Leave what an earlier run has found in the regions.")
    ] = False

    @property
    def given(self) -> list[str]:
        """Options that need ``--everything`` and are not as they are by default, as they are written."""
        defaults = EverythingInProjectOptions()
        names = ("whole_image", "like", "unlike", "like_threshold", "objects", "effort", "keep_earlier")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) != getattr(defaults, name)]


def segment_everything(
    project: Path,
    asked: dict[str, Any],
    image: Sequence[str] | None,
    path_class: Sequence[str] | None,
    every: EverythingInProjectOptions,
    model: ModelOptions,
    min_score: float,
    outline: OutlineOptions,
    run: ReportedRunOptions,
) -> None:
    """Find all objects of the regions of a project's images, with backup, journal and report.

    Args:
        project: its file or folder.
        asked: all options as JSON values; a run is resumed only with the same.
        image: patterns of names.
        path_class: classes of the regions, or ``REGIONS=FOUND``.
        every, model, min_score, outline, run: options of the command.
    """
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.project.classes import check_classes
    from qupath_sam.project.everything import KINDS, EverythingOptions, everything_in_image
    from qupath_sam.project.run import RunOptions, select_images
    from qupath_sam.types.region_requests import ObjectFilter, RegionRequest

    if model.push_pixels:
        raise InvalidRequest("--everything needs a server that opens the slides itself; leave --push-pixels out")
    if not every.like and (every.unlike or every.like_threshold is not None):
        raise InvalidRequest("--unlike and --like-threshold go with --like; name the class of what is wanted too")
    if every.like and every.objects is not ObjectKind.NUCLEI:
        raise InvalidRequest("--like finds what its examples are; leave --objects out")
    opened, images = select_images(project, image or ())
    classes = region_classes(path_class or (REGION_CLASS,))
    say_before(opened, check_classes(images, [] if every.whole_image else list(classes)))
    options = EverythingOptions(
        classes=classes,
        whole_image=every.whole_image,
        like=tuple(every.like or ()),
        unlike=tuple(every.unlike or ()),
        request=RegionRequest(
            objects=every.objects,
            effort=every.effort,
            like_threshold=every.like_threshold,
            output=outline.output(),
            filter=ObjectFilter(min_score=min_score or None),
        ),
        mpp=model.mpp,
        model=model.model,
        replace_earlier=not every.keep_earlier,
        provenance=outline.provenance,
    )
    with Session.of(model, run) as session:

        def propose(worker: int, entry: Any, contents: Any) -> Any:
            predictor, source = session.server(worker)
            # A session's predictors are clients, of a server or of this process: both find regions' objects too.
            regions = cast("RegionPredictor", predictor)
            return everything_in_image(entry, contents.objects, options, regions, source)

        workers = model.workers or session.servers
        run_options = RunOptions("everything", asked, run.dry_run, run.resume, workers, run.keep_runs, KINDS)
        check_report_folder(opened, run.report, run_options)
        result = run_with_progress(opened, images, propose, session, run_options)
        finish(opened, result, session, run.report, run_options, thumbnails=run.thumbnails)


def region_classes(texts: Sequence[str]) -> dict[str, str | None]:
    """Map the class of the regions to that of what is found: ``REGIONS=FOUND``, or the regions' alone for none."""
    pairs = (text.partition("=") for text in texts)
    return {regions: found or None for regions, _, found in pairs}
