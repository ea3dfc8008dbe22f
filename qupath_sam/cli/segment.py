"""``qupath-sam segment``: outlines of objects of one slide, as GeoJSON that QuPath imports unchanged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qupath_sam.cli.access import TlsCaOption, TlsOption, TokenFileOption, read_access
from qupath_sam.cli.everything import EverythingOptions, region_request, run_everything
from qupath_sam.cli.option_groups import grouped
from qupath_sam.cli.project_options import SkipBadOption
from qupath_sam.cli.propagate import PropagationOptions, run_propagation
from qupath_sam.cli.rendering import ChannelsOption, DisplayOption, RangesOption, TOption, ZOption, parse_rendering
from qupath_sam.cli.targets import check_target
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.machine.imports import later, without_collection
from qupath_sam.types.choices import MaskChoice
from qupath_sam.types.regions import Region, Window

if TYPE_CHECKING:
    from qupath_sam.client import Access
    from qupath_sam.client.images import Slide
    from qupath_sam.slides.base import SlideReader
    from qupath_sam.types.prompts import ObjectPrompts
    from qupath_sam.types.results import Prediction

    #: Makes the prompts; its argument gives the image's extent when it is needed.
    MakePrompts = Callable[[Callable[[], Region]], list[ObjectPrompts]]

#: What to do about a doubt, by its value.
_DOUBTS = {
    "low score": "the model is not sure; look at the outline, add a click or give a box",
    "large": "far larger than what was looked at, or a quarter of the tissue; give --region, --downsample or a box, "
    "or click again",
    "background": "mostly glass without tissue; click on tissue",
}


@grouped()
def segment(
    slide: Annotated[str, typer.Argument(help="Path or URI of the slide.")],
    *,
    every: EverythingOptions,
    through: PropagationOptions,
    point: Annotated[list[str] | None, typer.Option(help="X,Y or X,Y,neg; in order, may be repeated.")] = None,
    box: Annotated[list[str] | None, typer.Option(help="X,Y,WIDTH,HEIGHT; one object each.")] = None,
    outline: Annotated[
        list[Path] | None, typer.Option(help="GeoJSON of existing outlines to refine; one object each.")
    ] = None,
    interior_points: Annotated[
        int, typer.Option(help="Most points inside each --outline given to the model; yours take their place.")
    ] = 1,
    skip_bad: SkipBadOption = False,
    region: Annotated[
        str | None, typer.Option(help="X,Y,WIDTH,HEIGHT: the window itself; with --everything where to look.")
    ] = None,
    downsample: Annotated[float | None, typer.Option(help="Level-0 px per window px.")] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per window px.")] = None,
    view_downsample: Annotated[
        float, typer.Option(help="How far a viewer would be zoomed out: a hint for the scale of clicks; 0 for none.")
    ] = 0.0,
    channels: ChannelsOption = None,
    ranges: RangesOption = None,
    display: DisplayOption = None,
    z: ZOption = 0,
    t: TOption = 0,
    model: Annotated[str, typer.Option(help="See `qupath-sam models list`.")] = "",
    server: Annotated[str | None, typer.Option(help="HOST:PORT; without it the model runs here.")] = None,
    token_file: TokenFileOption = None,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    device: Annotated[str, typer.Option(help="Without --server: auto, cpu, cuda or mps.")] = "auto",
    masks: Annotated[MaskChoice, typer.Option(help="Which masks of an ambiguous first prompt.")] = MaskChoice.BEST,
    keep_parts: Annotated[
        bool, typer.Option("--keep-parts", help="Keep parts of a mask that no click points at, and pinholes.")
    ] = False,
    clip: Annotated[Path | None, typer.Option(help="GeoJSON of an outline to cut the result to.")] = None,
    min_area: Annotated[float, typer.Option(help="Drop parts below this area, µm².")] = 0.0,
    clean: Annotated[
        float | None,
        typer.Option(
            help="Fill holes and drop parts below this share of an --outline or of the answer to a --box, 0 to 1.",
            show_default="0.02",
        ),
    ] = None,
    fill_holes: Annotated[float, typer.Option(help="Fill holes up to this area, µm².")] = 0.0,
    simplify: Annotated[float, typer.Option(help="Let the outline move by at most this, µm.")] = 0.0,
    path_class: Annotated[str | None, typer.Option("--class", help="QuPath class of the annotations.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the annotations.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="GeoJSON to write.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="PNG to draw the outlines into.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Segment objects of SLIDE from clicks, boxes and outlines, all in level-0 pixels."""
    from qupath_sam.cli.prompts import (
        objects_from,
        parse_box,
        parse_point,
        parse_region,
        read_examples,
        read_outlines,
        refining,
    )
    from qupath_sam.client.images import Slide
    from qupath_sam.qupath.annotations import annotations_of
    from qupath_sam.qupath.geojson import PathClass, write_geojson
    from qupath_sam.types.requests import OutputOptions, WindowRequest

    check_target(output)
    check_target(overlay, suffix=".png")
    if clean is not None and not (outline or box):
        raise InvalidRequest(
            "--clean is a share of an --outline, or of the answer to a --box; "
            "without one give --min-area and --fill-holes"
        )
    read = partial(read_outlines, skip_bad=skip_bad, note=partial(typer.echo, err=True))
    # The server has another working folder; a URI stays as it is.
    location = os.path.abspath(slide) if os.path.exists(slide) else slide
    rendering = parse_rendering(channels or [], ranges or [], display)
    image = Slide(location, z=z, t=t, rendering=rendering)
    classification = PathClass.of(path_class) if path_class else None
    if every.everything:
        if through.propagate is not None:
            raise InvalidRequest("--everything looks at one plane: leave --propagate out, or give prompts of objects")
        if point or box or outline or clip or overlay:
            raise InvalidRequest(
                "--everything places the prompts itself: leave points, boxes, outlines, --clip and --overlay out"
            )
        if name is not None:
            raise InvalidRequest("--everything gives detections no name: leave --name out; --class is there")
        if output is None:
            raise InvalidRequest("--everything may find thousands of objects: say where to write them with -o FILE")
        asked = region_request(
            every,
            place=parse_region(region) if region is not None else None,
            downsample=downsample,
            mpp=mpp,
            min_area=min_area,
            output=OutputOptions(fill_holes_area=fill_holes, simplify_tolerance=simplify),
            read=read,
            read_examples=partial(read_examples, skip_bad=skip_bad, note=partial(typer.echo, err=True)),
        )
        run_everything(
            image,
            asked,
            output,
            resume=every.resume,
            model=model,
            path_class=classification,
            server=server,
            access=read_access(token_file, tls, tls_ca),
            device=device,
            as_json=as_json,
        )
        return
    outlines = [geometry for path in outline or [] for geometry in read(path)]
    objects = objects_from([parse_point(p) for p in point or []], [parse_box(b) for b in box or []], outlines)
    options: dict[str, Any] = {
        "model": model,
        "window": WindowRequest(
            region=parse_region(region) if region is not None else None,
            downsample=downsample,
            mpp=mpp,
            view_downsample=view_downsample,
        ),
        "output": OutputOptions(
            choice=masks,
            keep_parts=keep_parts,
            fill_holes_area=fill_holes,
            min_area=min_area,
            simplify_tolerance=simplify,
            clip=_union(read(clip)) if clip is not None else None,
            clean_share=OutputOptions().clean_share if clean is None else clean,
        ),
    }
    if through.propagate is not None:
        if overlay is not None or clip is not None:
            raise InvalidRequest("--propagate goes through many planes: leave --overlay and --clip out")
        if output is None:
            raise InvalidRequest("--propagate makes an outline for each plane: say where to write them with -o FILE")
        run_propagation(
            image,
            objects,
            through.propagate,
            through.how(),
            output,
            **options,
            path_class=classification,
            name=name,
            server=server,
            access=read_access(token_file, tls, tls_ca),
            device=device,
            as_json=as_json,
        )
        return
    make_prompts = partial(refining, objects, interior=interior_points)
    if server is not None:
        if overlay is not None and (fault := _undrawable(image)):
            typer.echo(f"{overlay} will not be drawn: {fault}", err=True)
            overlay = None
        objects, prediction = _predict_there(image, make_prompts, server, read_access(token_file, tls, tls_ca), options)
    else:
        objects, prediction = _predict_here(image, make_prompts, device, options)
    features = annotations_of(prediction, path_class=classification, name=name, z=z, t=t)
    if output is not None:
        write_geojson(output, features)
    if overlay is not None and not _draw(image, prediction, objects, overlay):
        overlay = None
    if as_json:
        typer.echo(json.dumps(_summary(prediction), indent=2))
    else:
        _print_table(prediction, output, overlay)


def _predict_there(
    slide: Slide, make_prompts: MakePrompts, server: str, access: Access, options: dict[str, Any]
) -> tuple[list[ObjectPrompts], Prediction]:
    from qupath_sam.client import SamClient

    def extent() -> Region:
        about = client.describe(slide)
        return Region(0, 0, about.width, about.height)

    with SamClient(server, access=access) as client:
        objects = make_prompts(extent)
        return objects, client.predict(slide, objects, **options)


def _predict_here(
    slide: Slide, make_prompts: MakePrompts, device: str, options: dict[str, Any]
) -> tuple[list[ObjectPrompts], Prediction]:
    with without_collection(), later():
        from qupath_sam.client.local import LocalClient
        from qupath_sam.engine.settings import EngineSettings

    def extent() -> Region:
        with local.reader(slide) as reader:
            return reader.info.extent

    with LocalClient(EngineSettings(device=device)) as local:
        objects = make_prompts(extent)
        return objects, local.predict(slide, objects, **options)


def _union(outlines: list[Any]) -> Any:
    import shapely

    return shapely.union_all(outlines)


def _undrawable(slide: Slide) -> str:
    """Return why no overlay can be drawn of a slide; empty where it can be opened here."""
    try:
        with _opened(slide):
            return ""
    except QupathSamError as error:
        return str(error)


@contextmanager
def _opened(slide: Slide) -> Iterator[SlideReader]:
    from qupath_sam.slides.open import open_slide

    with closing(open_slide(str(slide.location), z=slide.z, t=slide.t, rendering=slide.rendering)) as reader:
        yield reader


def _draw(slide: Slide, prediction: Prediction, objects: list[ObjectPrompts], path: Path) -> bool:
    """Draw the overlay; where the slide cannot be read here, say so: the answer is there without it."""
    from qupath_sam.qupath.overlay import draw_prediction

    try:
        with _opened(slide) as reader:
            draw_prediction(reader, prediction, objects).save(path)
    except QupathSamError as error:
        typer.echo(f"{path} is not drawn: {error}", err=True)
        return False
    return True


def _summary(prediction: Prediction) -> dict[str, Any]:
    from qupath_sam.machine.description import report

    made = prediction.provenance
    results = {
        "model": made.model,
        "weights_sha256": made.weights_sha256,
        "pixels": made.pixel_source,
        "mpp": made.mpp,
        "remarks": list(made.remarks),
        "total_ms": round(prediction.timings.total, 1),
        "objects": [
            {
                "object": index,
                "window": list(result.window.region.bounds),
                "downsample": result.window.downsample,
                "touches_window_edge": result.touches_window_edge,
                "doubts": [doubt.value for doubt in result.doubts],
                "outlines": [
                    {
                        "score": round(o.score, 4),
                        "area_px2": o.area_px2,
                        "area_um2": o.area_um2,
                        "window": list((o.window or result.window).region.bounds),
                        "downsample": (o.window or result.window).downsample,
                        "wkt": o.geometry.wkt,
                    }
                    for o in result.outlines
                ],
            }
            for index, result in enumerate(prediction.results, 1)
        ],
    }
    return report("segment", results)


def _place(window: Window) -> tuple[str, str]:
    """Return place and scale of a window for the table."""
    region = window.region
    return f"{region.x},{region.y} {region.width}x{region.height}", f"{window.downsample:g}"


def _print_table(prediction: Prediction, output: Path | None, overlay: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    made = prediction.provenance
    unit = "µm²" if made.mpp else "px²"
    table = Table("object", "score", f"area {unit}", "window", "downsample", "at edge", title=f"{made.model}")
    for index, result in enumerate(prediction.results, 1):
        where, scale = _place(result.window)
        edge = "yes" if result.touches_window_edge else "no"
        if not result.outlines:
            table.add_row(str(index), "-", "nothing found", where, scale, edge)
        for o in result.outlines:
            area = o.area_um2 if o.area_um2 is not None else o.area_px2
            where, scale = _place(o.window or result.window)
            at_edge = edge if o.window is None else "no"
            table.add_row(str(index), f"{o.score:.2f}", f"{area:.1f}", where, scale, at_edge)
    console.print(table)
    for index, result in enumerate(prediction.results, 1):
        for doubt in result.doubts:
            console.print(f"object {index}: {_DOUBTS[doubt.value]}")
    for remark in made.remarks:
        console.print(f"note: {remark}")
    console.print(f"{prediction.timings.total:.0f} ms in all")
    for path in (output, overlay):
        if path is not None:
            console.print(f"wrote {path}")
