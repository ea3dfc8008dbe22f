"""``qupath-sam project``: refine and segment whole QuPath projects without QuPath's window."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import typer

from qupath_sam.cli.option_groups import grouped
from qupath_sam.cli.project_everything import EverythingInProjectOptions, segment_everything
from qupath_sam.cli.project_info import described_backups, described_images, described_runs, print_info
from qupath_sam.cli.project_options import (
    DryOption,
    HeapOption,
    ImageOption,
    KeepOption,
    LimitOption,
    ModelOptions,
    OutlineOptions,
    ProjectArgument,
    ReportedRunOptions,
    ScoreOption,
    SkipBadOption,
)
from qupath_sam.cli.project_session import (
    Session,
    check_report_folder,
    exit_if_failed,
    finish,
    print_result,
    run_one_shard,
    run_with_progress,
    say_before,
)

#: Class of prompts where none is named: what nobody draws by accident.
PROMPT_CLASS = "SAM"

app = typer.Typer(
    name="project",
    help="Refine and segment whole QuPath projects. Close the project in QuPath first: it knows no lock.",
    no_args_is_help=True,
)


class ExistingChoice(StrEnum):
    """What to do with a feature whose id is already there."""

    SKIP = "skip"
    NEW_ID = "new-id"


@app.command()
def info(
    project: ProjectArgument,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the images of PROJECT, their objects, and what can be undone. Starts no QuPath, writes nothing."""
    from qupath_sam.project.layout import read_project
    from qupath_sam.project.notices import notices

    opened = read_project(project)
    images, runs, backups = described_images(opened), described_runs(opened), described_backups(opened)
    noted = list(notices(opened))
    if as_json:
        content = {"project": str(opened.file), "qupath": opened.version, "images": images, "runs": runs}
        typer.echo(json.dumps(content | {"script_backups": backups, "notices": noted}))
        return
    print_info(opened, images, runs, backups)
    for text in noted:
        typer.echo(text)


@app.command()
@grouped(
    {
        "Which annotations": ("not_class", "name", "min_area", "max_area", "locked"),
        "What the model is given": ("coarsest_mpp", "interior_points", "exterior_points", "box", "mask"),
        "Guards": ("min_iou", "min_part_iou", "max_area_change", "min_score", "allow_cut_off"),
        "Outlines": ("clean",),
    }
)
def refine(
    project: ProjectArgument,
    *,
    image: ImageOption = None,
    path_class: Annotated[
        list[str] | None, typer.Option("--class", help="Class to refine, with those derived from it; may be repeated.")
    ] = None,
    not_class: Annotated[list[str] | None, typer.Option(help="Class to leave alone; may be repeated.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Name, as a shell matches it; may be repeated.")] = None,
    min_area: Annotated[float, typer.Option(help="Smallest area, µm².")] = 0.0,
    max_area: Annotated[float, typer.Option(help="Largest area, µm².")] = float("inf"),
    locked: Annotated[bool, typer.Option("--locked", help="Refine locked annotations as well.")] = False,
    model: ModelOptions,
    coarsest_mpp: Annotated[
        float, typer.Option(help="Outlines too large for a window at this µm per px are followed along their border.")
    ] = 2.0,
    interior_points: Annotated[int, typer.Option(help="Most points inside the outline given to the model.")] = 1,
    exterior_points: Annotated[int, typer.Option(help="Most points outside.")] = 0,
    box: Annotated[bool, typer.Option("--box/--no-box", help="Give the outline's box to the model.")] = True,
    mask: Annotated[bool, typer.Option("--mask/--no-mask", help="Give the outline itself as mask prompt.")] = True,
    min_iou: Annotated[float, typer.Option(help="Refuse outlines that agree less with the old one.")] = 0.5,
    min_part_iou: Annotated[
        float,
        typer.Option(help="Refuse outlines of which a part or a hole agrees less with the old one; 0 looks at none."),
    ] = 0.5,
    max_area_change: Annotated[float, typer.Option(help="Refuse areas this many times larger or smaller.")] = 2.0,
    min_score: ScoreOption = 0.0,
    allow_cut_off: Annotated[
        bool, typer.Option("--allow-cut-off", help="Take masks that run into the edge of their window.")
    ] = False,
    clean: Annotated[
        float, typer.Option(help="Fill holes and drop parts below this share of the old outline, 0 to 1.")
    ] = 0.02,
    outline: OutlineOptions,
    shard: Annotated[
        str, typer.Option(help="I/N, or slurm: be one of N tasks that share the images; `project merge` writes.")
    ] = "",
    run: ReportedRunOptions,
) -> None:
    """Redraw annotations with a model: the same objects, with better outlines. `undo` brings the old ones back."""
    asked = _asked(locals())
    from qupath_sam.engine.refine_guards import Guards
    from qupath_sam.engine.refine_options import PromptOptions
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.project.classes import check_classes
    from qupath_sam.project.refine import RefineOptions, refine_image
    from qupath_sam.project.run import RunOptions, select_images
    from qupath_sam.project.selection import ObjectSelection

    opened, images = select_images(project, image or ())
    say_before(opened, check_classes(images, path_class or (), not_class or ()))
    with Session.of(model, run) as session:
        options = RefineOptions(
            selection=ObjectSelection(
                tuple(path_class or ()), tuple(not_class or ()), tuple(name or ()), min_area, max_area, locked
            ),
            prompts=PromptOptions(outline=mask, box=box, interior=interior_points, exterior=exterior_points),
            guards=Guards(min_iou, max_area_change, min_score, allow_cut_off, min_part_iou),
            model=model.model,
            output=outline.output(),
            mpp=model.mpp,
            coarsest_mpp=coarsest_mpp,
            window_px=session.window_px(model.model),
            clean_share=clean,
            provenance=outline.provenance,
        )

        def propose(worker: int, entry: Any, contents: Any) -> Any:
            predictor, source = session.server(worker)
            return refine_image(entry, contents.objects, options, predictor, source)

        if shard:
            if run.dry_run or run.resume:
                raise InvalidRequest("a shard writes nothing and goes on by itself; leave out --dry-run and --resume")
            run_one_shard(opened, images, propose, session, shard, asked)
            return
        workers = model.workers or session.servers
        run_options = RunOptions("refine", asked, run.dry_run, run.resume, workers, run.keep_runs)
        check_report_folder(opened, run.report, run_options)
        result = run_with_progress(opened, images, propose, session, run_options)
        finish(opened, result, session, run.report, run_options, thumbnails=run.thumbnails)


@app.command()
@grouped()
def merge(
    project: ProjectArgument,
    *,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what is there, though some images are not done.")
    ] = False,
    run: ReportedRunOptions,
) -> None:
    """Write what the tasks of `refine --shard` propose, as one run with backup and report; `undo` takes it back."""
    from qupath_sam.errors import InvalidRequest, ProjectError
    from qupath_sam.project.run import RunOptions, select_images
    from qupath_sam.project.shards import ShardStore, merged_proposals

    opened, _ = select_images(project, ())
    stores = ShardStore.all(opened)
    if not stores:
        raise ProjectError(f"no shards wait in {opened.folder}; run `qupath-sam project refine --shard 1/8 ...` first")
    if run.resume:
        raise InvalidRequest("merge needs no --resume; run it again")
    for store in stores:
        command, asked = store.job
        opened, images = select_images(project, asked.get("image") or ())
        missing = store.missing(images)
        if missing and not partial:
            raise ProjectError(
                f"{len(missing)} of {len(images)} images are not done ({missing[0].name}, ...); run the shards again, "
                "or say --partial"
            )
        done = [image for image in images if image not in missing]
        say_before(opened)
        with Session.open_without_server(run.heap, run.time_limit) as session:
            run_options = RunOptions(command, asked, run.dry_run, keep_runs=run.keep_runs)
            check_report_folder(opened, run.report, run_options)
            result = run_with_progress(opened, done, merged_proposals(store), session, run_options)
            if not (run.dry_run or result.stopped or missing or any(image.error for image in result.images)):
                store.remove()
            finish(opened, result, session, run.report, run_options, thumbnails=run.thumbnails)


@app.command()
@grouped({"Prompts": ("together", "keep_prompts"), "Guards": ("min_score",)})
def segment(
    project: ProjectArgument,
    *,
    image: ImageOption = None,
    path_class: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Class of the prompts, or PROMPTS=OUTLINES; may be repeated. SAM where left out. With --everything "
            "class of the regions, or REGIONS=FOUND; Region* where left out.",
        ),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="All points of one annotation are one object, not one each.")
    ] = False,
    keep_prompts: Annotated[
        bool, typer.Option("--keep-prompts/--remove-prompts", help="Leave the points and rectangles in the project.")
    ] = False,
    every: EverythingInProjectOptions,
    model: ModelOptions,
    min_score: ScoreOption = 0.0,
    outline: OutlineOptions,
    run: ReportedRunOptions,
) -> None:
    """Turn point and rectangle annotations into outlines. Points of an ignored class (name*) say what is not meant.

    With --everything: find all objects of regions, as detections below them.
    """
    asked = _asked(locals())
    if every.everything:
        if together or keep_prompts:
            raise typer.BadParameter("--everything has no prompts: leave --together and --keep-prompts out")
        segment_everything(project, asked, image, path_class, every, model, min_score, outline, run)
        return
    if every.given:
        raise typer.BadParameter(f"{', '.join(every.given)}: add --everything")
    from qupath_sam.project.classes import check_classes
    from qupath_sam.project.run import RunOptions, select_images
    from qupath_sam.project.segment import SegmentOptions, segment_image
    from qupath_sam.types.requests import WindowRequest

    opened, images = select_images(project, image or ())
    classes = _classes(path_class or (PROMPT_CLASS,))
    say_before(opened, check_classes(images, classes))
    with Session.of(model, run) as session:
        options = SegmentOptions(
            classes=classes,
            together=together,
            keep_prompts=keep_prompts,
            model=model.model,
            window=WindowRequest(mpp=model.mpp),
            output=outline.output(),
            min_score=min_score,
            provenance=outline.provenance,
        )

        def propose(worker: int, entry: Any, contents: Any) -> Any:
            predictor, source = session.server(worker)
            return segment_image(entry, contents.objects, options, predictor, source)

        workers = model.workers or session.servers
        run_options = RunOptions("segment", asked, run.dry_run, run.resume, workers, run.keep_runs)
        check_report_folder(opened, run.report, run_options)
        result = run_with_progress(opened, images, propose, session, run_options)
        finish(opened, result, session, run.report, run_options, thumbnails=run.thumbnails)


@app.command("import")
def import_(
    project: ProjectArgument,
    source: Annotated[Path, typer.Argument(metavar="GEOJSON", help="The folder of an export, or a file for --image.")],
    *,
    image: ImageOption = None,
    existing: Annotated[
        ExistingChoice, typer.Option(help="Features whose id is in the image already: leave out, or add with a new id.")
    ] = ExistingChoice.SKIP,
    skip_bad: SkipBadOption = False,
    dry_run: DryOption = False,
    heap: HeapOption = "2g",
    time_limit: LimitOption = 900.0,
    keep_runs: KeepOption = 10,
) -> None:
    """Add the objects of GeoJSON files to the images of PROJECT. What is there stays as it is."""
    from qupath_sam.cli.prompts import usable
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.project.exchange import Existing, file_of, import_features, source_of
    from qupath_sam.project.objects import Kind
    from qupath_sam.project.run import RunOptions, select_images
    from qupath_sam.qupath.geojson import read_collection

    opened, images = select_images(project, image or ())
    say_before(opened)
    if source.is_dir():
        images = [entry for entry in images if file_of(source, entry) is not None]
        if not images:
            raise InvalidRequest(f"no file in {source} is for one of the images: a name begins with the image's id")
    elif len(images) != 1:
        raise InvalidRequest(f"say for which of the {len(images)} images {source} is: add --image NAME")

    # Looked at before the run begins: a file that cannot be used leaves no run behind. The last one is kept.
    @lru_cache(maxsize=1)
    def features_for(entry_id: str) -> Any:
        path = source_of(opened.image(entry_id), source)
        return usable(read_collection(path), path, skip_bad=skip_bad, note=notes.append)

    notes: list[str] = []
    for entry in images:
        features_for(entry.entry_id)
    for text in notes:
        typer.echo(text, err=True)

    def propose(worker: int, entry: Any, contents: Any) -> Any:
        return import_features(entry, features_for(entry.entry_id), contents.objects, Existing(existing.value))

    with Session.open_without_server(heap, time_limit) as session:
        kinds = tuple(kind for kind in Kind if kind is not Kind.ROOT)
        options = RunOptions("import", {"source": str(source)}, dry_run, keep_runs=keep_runs, kinds=kinds)
        result = run_with_progress(opened, images, propose, session, options)
    print_result(opened, result, dry=dry_run)
    exit_if_failed(result)


@app.command()
def export(
    project: ProjectArgument,
    folder: Annotated[Path, typer.Argument(help="Where to write one GeoJSON file for each image.")],
    *,
    image: ImageOption = None,
    detections: Annotated[
        bool, typer.Option("--detections/--no-detections", help="Export detections and cells as well.")
    ] = True,
    heap: HeapOption = "2g",
    time_limit: LimitOption = 900.0,
) -> None:
    """Write the objects of PROJECT's images as GeoJSON with ids, planes, classes, measurements and metadata."""
    from qupath_sam.errors import ProjectError
    from qupath_sam.project.exchange import export_image
    from qupath_sam.project.objects import Kind
    from qupath_sam.project.run import select_images

    opened, images = select_images(project, image or ())
    for odd in opened.unusable:
        typer.echo(str(odd), err=True)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = (Kind.ANNOTATION, Kind.DETECTION, Kind.CELL, Kind.TILE) if detections else (Kind.ANNOTATION,)
    failed = False
    with Session.open_without_server(heap, time_limit) as session:
        session.editor.qupath_version()  # where there is none, that is no fault of an image
        for entry in images:
            try:
                exported = export_image(entry, session.editor.read(entry, kinds).objects, folder)
            except ProjectError as error:
                typer.echo(f"{entry.name}: {error}", err=True)
                failed = True
                continue
            left = f", {exported.left_out} without a valid shape left out" if exported.left_out else ""
            typer.echo(f"{exported.path}: {exported.objects} objects{left}")
    if failed:
        raise typer.Exit(1)


@app.command()
def undo(
    project: ProjectArgument,
    *,
    run: Annotated[str, typer.Option(help="Id of the run (see `project info`), or last.")] = "last",
    heap: HeapOption = "2g",
    time_limit: LimitOption = 900.0,
) -> None:
    """Put back what a run has changed. Objects that were reshaped since stay as they are now."""
    from qupath_sam.project.layout import read_project
    from qupath_sam.project.undo import undo_run

    opened = read_project(project)
    say_before(opened)
    with Session.open_without_server(heap, time_limit) as session:
        undone = undo_run(opened, run, session.editor)
    for name in undone.whole:
        typer.echo(f"{name}: as it was, byte by byte")
    for name, count, left in undone.by_object:
        typer.echo(f"{name}: saved since; {count} objects put back, {left} left as they are now")
    for name, reason in undone.failed:
        typer.echo(f"{name}: {reason}", err=True)
    typer.echo(f"undone (to undo that: --run {undone.run_id})")
    if undone.failed:
        raise typer.Exit(1)


#: Options that need not be the same for a run to be resumed: where to work, not what to do.
_CIRCUMSTANCES = frozenset(
    {
        "project",
        "server",
        "token_file",
        "tls",
        "tls_ca",
        "workers",
        "path_map",
        "push_pixels",
        "dry_run",
        "resume",
        "report",
        "thumbnails",
        "shard",
    }
    | {"heap", "time_limit", "keep_runs"}
)


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """Return what a command was asked to do, as JSON values: its options, those of its groups among them."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {key: value}
    plain = {key: value.value if isinstance(value, Enum) else value for key, value in flat.items()}
    return {key: value for key, value in plain.items() if key not in _CIRCUMSTANCES}


def _classes(texts: Sequence[str]) -> dict[str, str]:
    """Parse ``PROMPTS=OUTLINES`` or just the class of both."""
    pairs = (text.partition("=") for text in texts)
    return {prompts: outlines or prompts for prompts, _, outlines in pairs}
