"""``qupath-sam embed``: encode a slide ahead of time, onto disk or on a server, so that clicks on it are warm."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qupath_sam.cli.access import TlsCaOption, TlsOption, TokenFileOption, read_access
from qupath_sam.cli.rendering import ChannelsOption, DisplayOption, RangesOption, TOption, ZOption

if TYPE_CHECKING:
    from qupath_sam.engine.windows import Scales
    from qupath_sam.slides.base import SlideReader
    from qupath_sam.types.regions import Region, Window


def embed(
    slide: Annotated[str, typer.Argument(help="Path or URI of the slide.")],
    *,
    folder: Annotated[
        Path | None, typer.Option(help="Where embeddings are kept: give `serve --embedding-folder` the same.")
    ] = None,
    server: Annotated[
        str, typer.Option(help="HOST:PORT of a server that keeps them instead; people's clicks there go first.")
    ] = "",
    token_file: TokenFileOption = None,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    region: Annotated[
        list[str] | None, typer.Option(help="X,Y,WIDTH,HEIGHT of what to encode; may be repeated.")
    ] = None,
    tissue: Annotated[bool, typer.Option("--tissue", help="Encode wherever there is tissue.")] = False,
    downsample: Annotated[float | None, typer.Option(help="Level-0 px per window px.")] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per window px.")] = None,
    channels: ChannelsOption = None,
    ranges: RangesOption = None,
    display: DisplayOption = None,
    z: ZOption = 0,
    t: TOption = 0,
    model: Annotated[str, typer.Option(help="See `qupath-sam models list`.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    folder_gib: Annotated[int, typer.Option(help="Most GiB in the folder.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Encode SLIDE's windows ahead of the first click. Ctrl-C keeps what is done; a second call goes on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from qupath_sam.cli.embed_targets import embed_into, embed_on
    from qupath_sam.cli.prompts import parse_region
    from qupath_sam.cli.rendering import parse_rendering
    from qupath_sam.client import Slide
    from qupath_sam.errors import InvalidRegion, InvalidRequest
    from qupath_sam.slides.open import open_slide
    from qupath_sam.types.requests import WindowRequest

    if (folder is None) == (not server):
        raise InvalidRequest("say where embeddings are kept: either --folder or --server")
    if bool(region) == tissue:
        raise InvalidRegion("say what to encode: either --region (once or more) or --tissue")
    request = WindowRequest(downsample=downsample, mpp=mpp)
    started = time.perf_counter()
    rendering = parse_rendering(channels or [], ranges or [], display)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with closing(open_slide(slide, z=z, t=t, rendering=rendering)) as reader:
        request.check_pixel_size(reader.info.mpp)
        if folder is not None:
            target = embed_into(folder, reader, model=model, device=device, gib=folder_gib)
        else:
            image = Slide(slide, z=z, t=t, rendering=rendering)
            target = embed_on(server, read_access(token_file, tls, tls_ca), reader, image, model=model)
        with target as there:
            scale = there.scales.for_request(request) or there.scales.default_downsample
            views = [parse_region(text) for text in region or []]
            windows = _windows(reader, there.scales, scale, views)
            ready = there.ready(windows)
            missing = [window for window in windows if window not in ready]
            with Progress(*columns, disable=as_json) as progress:
                for window in progress.track(missing, description="encoding"):
                    there.encode(window)
    seconds = time.perf_counter() - started
    summary = {
        "windows": len(windows),
        "already_there": len(ready),
        "encoded": len(missing),
        "downsample": scale,
        "seconds": round(seconds, 2),
        "folder": None if folder is None else str(folder),
        "server": server or None,
    }
    if as_json:
        from qupath_sam.machine.description import report

        typer.echo(json.dumps(report("embed", summary), indent=2))
    else:
        typer.echo(
            f"{len(windows)} windows at downsample {scale:g}: {len(missing)} encoded, {len(ready)} were there, "
            f"{seconds:.1f} s" + (f"; next: qupath-sam serve --embedding-folder {folder}" if folder is not None else "")
        )


def _windows(reader: SlideReader, scales: Scales, scale: float, views: list[Region]) -> list[Window]:
    """Return the windows of the regions, or of the tissue where no region is given, each once."""
    from qupath_sam.errors import InvalidRegion
    from qupath_sam.slides.tissue import has_tissue, tissue_map

    extent = scales.extent
    seen: dict[Window, None] = {}
    for view in views or [extent]:
        found = scales.windows_in_view(view, scale, (view.x, view.y))
        if not found:
            raise InvalidRegion(f"region {view.bounds} lies outside the image {extent.bounds} (level-0 px)")
        seen.update(dict.fromkeys(found))
    if views:
        return list(seen)
    tissue = tissue_map(reader)
    return [window for window in seen if has_tissue(tissue, window.region, reader.info)]
