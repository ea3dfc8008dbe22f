"""``qupath-sam bench region --speed``: what finding all objects of a tile costs beside encoding it.

Times are processor seconds of this process on one thread, so other work on the machine changes them little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from qupath_sam.assets import demo_slide_path
from qupath_sam.engine.build import build_engine
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.machine.description import report
from qupath_sam.machine.threads import configure_torch
from qupath_sam.models.load import load_segmenter
from qupath_sam.models.registry import DEFAULT_MODEL
from qupath_sam.slides.open import open_slide
from qupath_sam.types.region_requests import Effort, Prompting, RegionRequest
from qupath_sam.types.regions import Region, Window

#: Tissue of the packaged slide: epidermis, and dermis with few nuclei. Left, top, level-0 px.
_CORNER = 900, 800


def run(*, model: str = "", side: int = 600, device: str = "cpu") -> dict[str, Any]:
    """Find all objects of a region of the packaged slide by automatic prompts, and encode as many bare tiles.

    Args:
        model: with a dense head; empty takes the default.
        side: of the region, level-0 px.
        device: as `load_segmenter` takes it.

    Returns:
        ``schema``, ``machine``, ``model``, ``side`` and ``speed.{bare encode, fast, best}.{tiles, objects, ms_a_tile,
        tiles_a_second, of_bare_encode}``, all by processor time.

    Raises:
        UnsupportedPrompting: the model has no dense head.
        ModelError: it cannot be had.
    """
    configure_torch(1)
    name = model or DEFAULT_MODEL
    region = Region(*_CORNER, side, side)
    found: dict[str, dict[str, Any]] = {}
    with (
        closing(open_slide(str(demo_slide_path()))) as slide,
        closing(build_engine(EngineSettings(model=name, device=device))) as engine,
    ):
        engine.warm_up()
        shown: tuple[float, int] = 1.0, 0
        for effort in Effort:
            request = RegionRequest(region, prompting=Prompting.AUTOMATIC, effort=effort, search_background=True)
            objects = tiles = 0

            def all_objects(request: RegionRequest = request) -> None:
                nonlocal objects, tiles, shown
                for batch in engine.segment_region(slide, request):
                    objects += len(batch.objects)
                    tiles = batch.progress.tiles_total
                    shown = (batch.downsample, batch.tile_size) if batch.tile_size else shown

            seconds = _processor_seconds(all_objects)
            found[effort.value] = {"tiles": tiles, "objects": objects, "seconds": seconds / tiles}
        downsample, tile_size = shown
        extent = tile_size * downsample
        pixels = slide.read(Window.of(Region(*_CORNER, round(extent), round(extent)), downsample))
    segmenter = load_segmenter(name, device=device).segmenter
    segmenter.embed(pixels)
    encodes = found[Effort.FAST.value]["tiles"]

    def encode() -> None:
        for _ in range(encodes):
            segmenter.embed(pixels)

    bare = _processor_seconds(encode) / encodes
    speed = {"bare encode": {"tiles": encodes, "objects": 0, "seconds": bare}} | found
    return report(
        "bench-region-speed",
        {"model": name, "side": side, "speed": {way: _figures(figures, bare) for way, figures in speed.items()}},
    )


def _processor_seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _figures(found: dict[str, Any], bare: float) -> dict[str, Any]:
    seconds = found["seconds"]
    return {
        "tiles": found["tiles"],
        "objects": found["objects"],
        "ms_a_tile": round(1e3 * seconds),
        "tiles_a_second": round(1 / seconds, 2),
        "of_bare_encode": round(seconds / bare, 2),
    }
