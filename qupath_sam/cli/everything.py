"""``qupath-sam segment --everything``: all objects of a region as detections, written as they come, and resumed."""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import typer

from qupath_sam.cli.option_groups import MAIN_PANEL
from qupath_sam.errors import InvalidRequest
from qupath_sam.types.choices import Effort, ObjectKind, Prompting

if TYPE_CHECKING:
    from shapely.geometry import MultiPolygon, Polygon

    from qupath_sam.client import Access
    from qupath_sam.client.images import Slide
    from qupath_sam.client.interface import Client
    from qupath_sam.qupath.geojson import PathClass
    from qupath_sam.types.region_requests import RegionRequest
    from qupath_sam.types.region_results import RegionBatch, RegionProgress
    from qupath_sam.types.regions import Region
    from qupath_sam.types.requests import OutputOptions
    from qupath_sam.types.results import Provenance


@dataclass(frozen=True)
class EverythingOptions:
    """Which objects, of which part of the slide."""

    PANEL: ClassVar[str] = "With --everything"

    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Find all objects of the slide or of a --region.", rich_help_panel=MAIN_PANEL
        ),
    ] = False
    inside: Annotated[Path | None, typer.Option(help="GeoJSON of outlines to look in, instead of --region.")] = None
    cut: Annotated[bool, typer.Option("--cut", help="Cut objects at the border of the region.")] = False
    leave_out_border: Annotated[
        bool, typer.Option("--leave-out-border", help="Leave out objects that cross the border of the region.")
    ] = False
    like: Annotated[
        Path | None, typer.Option(help="GeoJSON of examples, outlines or points in some: find what looks like them.")
    ] = None
    unlike: Annotated[Path | None, typer.Option(help="GeoJSON of examples of what is not wanted.")] = None
    like_threshold: Annotated[
        float | None, typer.Option(help="Least likeness, 0 to 1; else what the examples suggest.")
    ] = None
    prompting: Annotated[Prompting, typer.Option(help="How objects are found; --like sets it.")] = Prompting.DEFAULT
    objects: Annotated[ObjectKind, typer.Option(help="Which objects are meant; --like says it by its examples.")] = (
        ObjectKind.NUCLEI
    )
    effort: Annotated[Effort, typer.Option(help="fast decodes less.")] = Effort.BEST
    spacing: Annotated[float | None, typer.Option(help="Of grid: distance of two clicks, µm.")] = None
    min_stability: Annotated[float | None, typer.Option(help="Of grid: least stability of a mask, 0 to 1.")] = None
    min_score: Annotated[float | None, typer.Option(help="Leave out objects with a lower score, 0 to 1.")] = None
    max_area: Annotated[float, typer.Option(help="Leave out objects above this area, µm²; 0 for none.")] = 0.0
    search_background: Annotated[
        bool, typer.Option("--search-background", help="Look at tiles without tissue too.")
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False


@dataclass(frozen=True, slots=True)
class Saved:
    """What a stopped run has left beside its output.

    Attributes:
        offset: byte of the output at which to go on.
        token: of the last batch that is in it; a server knows by it whether the request is the same.
        path_class: of the objects that are in it, which no request holds; None for none.
    """

    offset: int
    token: bytes
    path_class: str | None

    @classmethod
    def read(cls, path: Path) -> Saved:
        """Return it; raises `InvalidRequest` where there is none."""
        try:
            state = json.loads(path.read_text("utf-8"))
            token = base64.b64decode(state["token"], validate=True)
            return cls(int(state["offset"]), token, state["class"])
        except FileNotFoundError as error:
            raise InvalidRequest(
                f"there is no {path}: no run of this output was stopped; leave --resume out"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(f"{path} cannot be read ({error}); begin again without --resume") from error

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        from qupath_sam.machine.files import atomic_write

        token = base64.b64encode(self.token).decode()
        state = {"offset": self.offset, "token": token, "class": self.path_class}
        with atomic_write(path, durable=True) as file:
            file.write(json.dumps(state).encode())


def region_request(
    every: EverythingOptions,
    *,
    place: Region | None,
    downsample: float | None,
    mpp: float | None,
    min_area: float,
    output: OutputOptions,
    read: Callable[[Path], list[Polygon | MultiPolygon]],
    read_examples: Callable[[Path], list[Polygon | MultiPolygon | tuple[float, float]]],
) -> RegionRequest:
    """Return what the options ask for.

    Args:
        place: of --region.
        downsample, mpp: scale of the tiles.
        min_area: um2.
        output: what to do to each outline.
        read: gives the outlines of a GeoJSON file.
        read_examples: gives its outlines and points.

    Raises:
        InvalidRequest: options that do not go together, or a file that is none.
    """
    import shapely

    from qupath_sam.types.prompts import Label
    from qupath_sam.types.region_requests import Example, GridOptions, ObjectFilter, RegionRequest

    if every.inside is not None and place is not None:
        raise InvalidRequest("give --region or --inside, not both")
    if every.like is None and (every.unlike is not None or every.like_threshold is not None):
        raise InvalidRequest("--unlike and --like-threshold go with --like; give examples of what is wanted too")
    if every.like is not None and every.objects is not ObjectKind.NUCLEI:
        raise InvalidRequest("--like finds what its examples are; leave --objects out")
    if every.like is not None and every.prompting not in (Prompting.DEFAULT, Prompting.LIKE):
        raise InvalidRequest(f"--like finds objects by examples, not by {every.prompting.value}; leave --prompting out")
    examples = [
        Example(place_of_one, label)
        for path, label in ((every.like, Label.POSITIVE), (every.unlike, Label.NEGATIVE))
        if path is not None
        for place_of_one in read_examples(path)
    ]
    outlines = read(every.inside) if every.inside is not None else []
    inside = cast("Polygon | MultiPolygon", shapely.union_all(outlines)) if outlines else None
    return RegionRequest(
        place=place if inside is None else inside,
        clip=every.cut,
        prompting=Prompting.LIKE if every.like is not None else every.prompting,
        objects=every.objects,
        effort=every.effort,
        grid=GridOptions(spacing=every.spacing, min_stability=every.min_stability),
        examples=tuple(examples),
        like_threshold=every.like_threshold,
        downsample=downsample,
        mpp=mpp,
        output=output,
        filter=ObjectFilter(
            min_area=min_area,
            max_area=every.max_area,
            min_score=every.min_score,
            leave_out_border=every.leave_out_border,
        ),
        search_background=every.search_background,
    )


def run_everything(
    image: Slide,
    request: RegionRequest,
    output: Path,
    *,
    resume: bool,
    model: str,
    path_class: PathClass | None,
    server: str | None,
    access: Access,
    device: str,
    as_json: bool,
) -> None:
    """Write all objects of a region to a GeoJSON file as they come.

    Until it is finished, the file is beside ``output``, with ``.part`` at its end, and with it what is needed to go on.

    Args:
        image: the slide.
        request: what is asked of it.
        output: GeoJSON to write.
        resume: go on with a run that was stopped.
        model: empty takes the default.
        path_class: of all objects.
        server: address; None runs the model here.
        access: to the server.
        device: of a model that runs here.
        as_json: print a summary as JSON.

    Raises:
        InvalidRequest: there is nothing to resume, or its objects have another class.
        QupathSamError: as `Client.segment_region`; what was found stays, and ``--resume`` goes on.
    """
    from qupath_sam.qupath.annotations import detection_of
    from qupath_sam.qupath.geojson.streaming import GrowingGeoJson

    part, saved_path = _beside(output, ".part"), _beside(output, ".resume")
    offset, class_name = None, str(path_class) if path_class is not None else None
    if resume:
        saved = Saved.read(saved_path)
        _check_class(saved.path_class, class_name, saved_path)
        request, offset = replace(request, resume_token=saved.token), saved.offset
    elif saved_path.exists():
        raise InvalidRequest(
            f"an earlier run was stopped: --resume goes on with it; to begin again, delete {saved_path}"
        )
    last: RegionBatch | None = None
    made: Provenance | None = None
    try:
        with (
            opened_client(server, access, device) as client,
            GrowingGeoJson(part, offset=offset) as file,
            _bar(hidden=as_json) as show,
        ):
            for batch in client.segment_region(image, request, model=model):
                made = made or batch.provenance
                name = made.model if made is not None else ""
                file.append(
                    detection_of(each, model=name, path_class=path_class, z=image.z, t=image.t)
                    for each in batch.objects
                )
                if batch.resume_token:
                    file.sync()
                    Saved(file.offset, batch.resume_token, class_name).write(saved_path)
                last = batch
                show(batch.progress)
    except BaseException:
        if last is not None:
            done = last.progress
            typer.echo(
                f"stopped after {done.tiles_done} of {done.tiles_total} tiles; {part} has {done.objects} objects; "
                "the same command with --resume goes on",
                err=True,
            )
        raise
    os.replace(part, output)
    saved_path.unlink(missing_ok=True)
    assert last is not None
    _say(last, made, output, as_json=as_json)


def _check_class(before: str | None, now: str | None, path: Path) -> None:
    if before != now:
        way_out = "leave --class out" if before is None else f"give --class {shlex.quote(before)}"
        given = "no class" if before is None else f"the class {before}"
        raise InvalidRequest(
            f"the run that was stopped gives its objects {given}: {way_out} to go on with it; "
            f"to begin again, delete {path}"
        )


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(output.name + ending)


@contextmanager
def opened_client(server: str | None, access: Access, device: str) -> Iterator[Client]:
    """Yield a client of a server, or one whose model runs here where there is no address."""
    if server is not None:
        from qupath_sam.client import SamClient

        with SamClient(server, access=access) as there:
            yield there
        return
    from qupath_sam.client.local import LocalClient
    from qupath_sam.engine.settings import EngineSettings

    with LocalClient(EngineSettings(device=device)) as here:
        yield here


@contextmanager
def _bar(*, hidden: bool) -> Iterator[Any]:
    """Yield a function that shows progress on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("tiles"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[objects]} objects, {task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=hidden) as progress:
        task = progress.add_task("tiles", total=None, objects=0, left="")

        def show(now: RegionProgress) -> None:
            progress.update(
                task,
                total=now.tiles_total,
                completed=now.tiles_done,
                objects=now.objects,
                left=_time_left(now.seconds_left),
            )

        yield show


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left"


def _say(last: RegionBatch, made: Provenance | None, output: Path, *, as_json: bool) -> None:
    done = last.progress
    if as_json:
        from qupath_sam.machine.description import report

        summary = {
            "model": made.model if made is not None else "",
            "remarks": list(made.remarks) if made is not None else [],
            "objects": done.objects,
            "tiles": done.tiles_total,
            "tiles_skipped": done.tiles_skipped,
            "too_large": done.too_large,
            "output": str(output),
        }
        typer.echo(json.dumps(report("segment", summary), indent=2))
        return
    for remark in made.remarks if made is not None else ():
        typer.echo(f"note: {remark}")
    if done.too_large:
        typer.echo(
            f"note: {done.too_large} masks larger than a tile were left out; a larger --mpp shows larger objects"
        )
    skipped = f", {done.tiles_skipped} without tissue skipped" if done.tiles_skipped else ""
    typer.echo(f"{done.objects} objects in {done.tiles_total} tiles{skipped}")
    typer.echo(f"wrote {output}")
