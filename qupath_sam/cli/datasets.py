"""Options that say what ``evaluate`` and ``train`` work on: data sets, and the annotations of QuPath projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from qupath_sam.cli.option_groups import MAIN_PANEL
from qupath_sam.datasets.options import Target

if TYPE_CHECKING:
    from qupath_sam.datasets import Dataset

FORMATS_HELP = (
    "FOLDER, whose format is found out, or FORMAT:FOLDER with FORMAT one of index, folder, dsb2018, pannuke, monuseg, "
    "paip2019-x5, paip2019-whole-x5, camelyon16-x5, camelyon16-x10, geojson (slides with QuPath's GeoJSON, each "
    "annotation an object), geojson-x5, geojson-x10 (all of a patch as one)."
)

#: So many of what a data set leaves out are named; the report of ``evaluate`` names all.
_NAMED = 10
_ANNOTATED_FORMATS = ("geojson:", "geojson-x5:", "geojson-x10:")


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What to work on.

    Attributes:
        datasets: an argument of the command, not an option of the group.
    """

    PANEL: ClassVar[str] = "What of a project or data set"

    datasets: Sequence[str] = ()
    project: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="X.qpproj",
            help="A QuPath project, each annotation an object; may be repeated.",
            rich_help_panel=MAIN_PANEL,
        ),
    ] = None
    path_class: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Of a project or GeoJSON: this class, with those derived from it; may be repeated. "
            "Else all but those that QuPath ignores (name*).",
            rich_help_panel=MAIN_PANEL,
        ),
    ] = None
    image: Annotated[
        list[str] | None, typer.Option(help="Of a project: only images of this name or entry id; may be repeated.")
    ] = None
    group_by: Annotated[
        str, typer.Option(metavar="KEY", help="Of a project: images with the same metadata KEY are of one patient.")
    ] = ""
    target: Annotated[
        Target | None, typer.Option(help="Each labelled object, or all foreground of an image as one region.")
    ] = None
    mpp: Annotated[float | None, typer.Option(help="Of a project or GeoJSON: µm per px; else by each size.")] = None
    downsample: Annotated[float | None, typer.Option(help="The same, level-0 px per px.")] = None
    path_map: Annotated[
        list[str] | None, typer.Option(help="CLIENT=SERVER prefix of a project's slide paths; may be repeated.")
    ] = None
    heap: Annotated[str, typer.Option(help="Java heap of QuPath's process, for a project.")] = "2g"


def open_all(options: DatasetOptions) -> list[Dataset]:
    """Open every data set and project, all splits; what they leave out is named on stderr.

    Projects are read by a QuPath that is gone again when this returns.

    Raises:
        InvalidRequest: nothing is named, or options are given for what is not there.
        ProjectError: no such project, or no QuPath on this machine.
    """
    from qupath_sam.datasets import open_dataset
    from qupath_sam.datasets.annotated import AnnotationChoices

    _check(options)
    annotations = AnnotationChoices(tuple(options.path_class or ()), options.target, options.mpp, options.downsample)
    opened = [open_dataset(each, annotations=annotations) for each in options.datasets]
    if options.project:
        from qupath_sam.project.dataset import ProjectChoices, project_dataset
        from qupath_sam.project.jvm.worker import QuPathWorker, WorkerOptions
        from qupath_sam.project.selection import ImageSelection
        from qupath_sam.slides.location import PathMap

        selection, path_map = ImageSelection(tuple(options.image or ())), PathMap.parse(options.path_map or ())
        choices = ProjectChoices(annotations, selection, options.group_by, path_map)
        with QuPathWorker(WorkerOptions(heap=options.heap)) as qupath:
            opened += [project_dataset(file, qupath, choices) for file in options.project]
    _name_left_out(opened)
    return opened


def _check(options: DatasetOptions) -> None:
    from qupath_sam.errors import InvalidRequest

    if not options.datasets and not options.project:
        raise InvalidRequest("no data are named; name a DATASET, or a QuPath project with --project")
    annotated = options.project or any(each.startswith(_ANNOTATED_FORMATS) for each in options.datasets)
    if (options.path_class or options.mpp or options.downsample) and not annotated:
        raise InvalidRequest("--class, --mpp and --downsample are for a --project or geojson:FOLDER; name one")
    if (options.image or options.group_by or options.path_map) and not options.project:
        raise InvalidRequest("--image, --group-by and --path-map are for a --project; name one")


def _name_left_out(datasets: Sequence[Dataset]) -> None:
    for dataset in datasets:
        for each in dataset.left_out[:_NAMED]:
            typer.echo(f"{dataset.name}: left out of {each.image}: {each.reason}", err=True)
        if len(dataset.left_out) > _NAMED:
            typer.echo(f"{dataset.name}: and {len(dataset.left_out) - _NAMED} more", err=True)
