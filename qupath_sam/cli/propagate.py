"""``qupath-sam segment --propagate``: objects of one plane of a stack, and what becomes of them on the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from qupath_sam.cli.option_groups import MAIN_PANEL
from qupath_sam.errors import InvalidPrompt, InvalidRequest
from qupath_sam.types.choices import Axis

if TYPE_CHECKING:
    from pathlib import Path

    from shapely.geometry import MultiPolygon, Polygon

    from qupath_sam.client import Access
    from qupath_sam.client.images import Slide
    from qupath_sam.client.interface import Client
    from qupath_sam.client.propagation import PlaneOutline, PropagateOptions
    from qupath_sam.qupath.geojson import AnnotationFeature, PathClass
    from qupath_sam.types.prompts import ObjectPrompts
    from qupath_sam.types.requests import OutputOptions, WindowRequest
    from qupath_sam.types.results import Prediction


@dataclass(frozen=True)
class PropagationOptions:
    """Through which planes outlines are carried."""

    PANEL: ClassVar[str] = "With --propagate"

    propagate: Annotated[
        Axis | None,
        typer.Option(help="Carry each outline through the other planes of a stack.", rich_help_panel=MAIN_PANEL),
    ] = None
    planes: Annotated[str | None, typer.Option(help="FIRST,LAST: planes to go to, from 0; all without it.")] = None
    plane_score: Annotated[float | None, typer.Option(help="An object ends where its score is lower, 0 to 1.")] = None
    plane_area_change: Annotated[
        float | None, typer.Option(help="It ends where its area changes by more than this factor from plane to plane.")
    ] = None
    plane_iou: Annotated[
        float | None, typer.Option(help="It ends where its IoU with the outline of the plane before is lower, 0 to 1.")
    ] = None

    def how(self) -> PropagateOptions:
        """Return how far outlines are carried; raises `InvalidRequest`."""
        from qupath_sam.client.propagation import PropagateOptions

        usual = PropagateOptions()
        options = PropagateOptions(
            min_score=usual.min_score if self.plane_score is None else self.plane_score,
            max_area_change=usual.max_area_change if self.plane_area_change is None else self.plane_area_change,
            min_iou=usual.min_iou if self.plane_iou is None else self.plane_iou,
        )
        if self.planes is not None:
            try:
                first, last = (int(part) for part in self.planes.split(","))
            except ValueError as error:
                raise InvalidRequest(f"{self.planes!r} is no range of planes; write FIRST,LAST, such as 0,8") from error
            options = replace(options, first=first, last=last)
        options.refining()  # raises before a model is loaded
        return options


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of one outline.

    Attributes:
        number: of the object, from 1.
        planes: as `qupath_sam.client.propagation.propagate` yields them.
    """

    number: int
    planes: tuple[PlaneOutline, ...]

    def features(self, source: Slide, path_class: PathClass | None, name: str | None) -> Iterator[AnnotationFeature]:
        """Yield an annotation for each plane on which the object is; ``source`` is where it comes from."""
        from qupath_sam.qupath.annotations import PREFIX, annotation_of

        for plane in self.planes:
            if plane.outline is not None:
                made = annotation_of(plane.result, plane.outline, plane.provenance, path_class=path_class, name=name)
                metadata = {**made.metadata, f"{PREFIX}propagated_from": f"z {source.z}, t {source.t}"}
                yield replace(made, z=plane.z, t=plane.t, metadata=metadata)

    def ends(self, axis: Axis) -> list[str]:
        """Return a sentence for each end within the stack."""
        return [
            f"object {self.number} ends before {axis.value} {_place(plane, axis)}: {plane.refusal.value}"
            for plane in self.planes
            if plane.refusal is not None
        ]


def run_propagation(
    image: Slide,
    objects: Sequence[ObjectPrompts],
    axis: Axis,
    options: PropagateOptions,
    to: Path,
    *,
    model: str,
    window: WindowRequest,
    output: OutputOptions,
    path_class: PathClass | None,
    name: str | None,
    server: str | None,
    access: Access,
    device: str,
    as_json: bool,
) -> None:
    """Write the outlines of objects on all planes to a GeoJSON file.

    An object that is an outline alone is carried as it is; it is in the user's hands already, so the file leaves it
    out. Others are outlined on the plane of ``image`` first.

    Args:
        image: with the plane to begin with.
        objects: level-0 px.
        axis: through which planes.
        options: how far.
        to: GeoJSON to write.
        model: empty takes the default.
        window, output: as for `qupath_sam.client.Image.segment`.
        path_class, name: of all annotations.
        server: address; None runs the model here.
        access: to the server.
        device: of a model that runs here.
        as_json: print a summary as JSON.

    Raises:
        InvalidPrompt: nothing was found on the plane to begin with.
        QupathSamError: as `qupath_sam.client.propagation.propagate`; nothing is written.
    """
    from qupath_sam.cli.everything import opened_client
    from qupath_sam.client.propagation import propagate
    from qupath_sam.qupath.annotations import annotations_of
    from qupath_sam.qupath.geojson import write_geojson

    with opened_client(server, access, device) as client, _status(hidden=as_json) as show:
        outlines, made = _begin(client, image, objects, model=model, window=window, output=output)
        carried = []
        for number, outline in enumerate(outlines, 1):
            planes = []
            for plane in propagate(
                client, image, outline, axis, options=options, model=model, window=window, output=output
            ):
                planes.append(plane)
                show(f"object {number} of {len(outlines)}, {axis.value} {_place(plane, axis)}")
            carried.append(Carried(number, tuple(planes)))
    features = [] if made is None else annotations_of(made, path_class=path_class, name=name, z=image.z, t=image.t)
    features += [feature for each in carried for feature in each.features(image, path_class, name)]
    write_geojson(to, features)
    say(carried, axis, to, as_json=as_json)


def _begin(
    client: Client,
    image: Slide,
    objects: Sequence[ObjectPrompts],
    *,
    model: str,
    window: WindowRequest,
    output: OutputOptions,
) -> tuple[list[Polygon | MultiPolygon], Prediction | None]:
    """Return the outlines to be carried, and the answer where some were made here."""
    from qupath_sam.cli.prompts import refining
    from qupath_sam.types.regions import Region

    given = [each.outline for each in objects if each.outline is not None and not each.clicks and each.box is None]
    asked = [each for each in objects if each.clicks or each.box is not None]
    if not asked:
        return given, None

    def extent() -> Region:
        about = client.describe(image)
        return Region(0, 0, about.width, about.height)

    made = client.predict(image, refining(asked, extent), model=model, window=window, output=output)
    found = [result.outlines[0].geometry for result in made.results if result.outlines]
    if not found and not given:
        raise InvalidPrompt(f"nothing was found at z {image.z}, t {image.t}; click where the object is, or give a box")
    return found + given, made


@contextmanager
def _status(*, hidden: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows on stderr what has been done."""
    from rich.console import Console

    console = Console(stderr=True, quiet=hidden)
    with console.status("asking") as status:
        yield status.update


def say(carried: Sequence[Carried], axis: Axis, output: Path, *, as_json: bool) -> None:
    """Print what came of the outlines.

    Args:
        carried: each.
        axis: through which.
        output: that was written.
        as_json: a machine reads it.
    """
    if as_json:
        from qupath_sam.machine.description import report

        typer.echo(json.dumps(report("segment", _summary(carried, axis, output)), indent=2))
        return
    for each in carried:
        found = [plane for plane in each.planes if plane.outline is not None]
        places = sorted(_place(plane, axis) for plane in found)
        where = f" ({axis.value} {places[0]} to {places[-1]})" if places else ""
        typer.echo(f"object {each.number}: outlines of {len(found)} more planes{where}")
        for sentence in each.ends(axis):
            typer.echo(sentence)
    typer.echo(f"wrote {output}")


def _summary(carried: Sequence[Carried], axis: Axis, output: Path) -> dict[str, Any]:
    return {
        "axis": axis.value,
        "output": str(output),
        "objects": [
            {
                "object": each.number,
                "planes": [
                    {
                        "z": plane.z,
                        "t": plane.t,
                        "score": None if plane.outline is None else round(plane.outline.score, 4),
                        "area_px2": None if plane.outline is None else plane.outline.area_px2,
                        "refusal": None if plane.refusal is None else plane.refusal.value,
                    }
                    for plane in each.planes
                ],
            }
            for each in carried
        ],
    }


def _place(plane: PlaneOutline, axis: Axis) -> int:
    return plane.z if axis is Axis.Z else plane.t
