"""``qupath-sam bench region``: peak memory of server and client while all objects of regions of several sizes come.

The slide is made of the packaged one, repeated and mirrored so that it has no seams. Each region runs with a server and
a client in processes of their own, which have seen nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from qupath_sam.assets import demo_slide_path
from qupath_sam.client.process import server_process
from qupath_sam.machine.description import report
from qupath_sam.slides.open import open_slide
from qupath_sam.types.regions import Window

#: Level-0 px per tile px, so that 20,000 px are some hundred tiles; and the grid's spacing, so that discs do not touch.
DOWNSAMPLE, SPACING_UM = 4.0, 250.0
#: Seconds between two looks at a process.
_LOOK_S = 0.02
_TILE = 256
_MIB = 2**20


def run(sides: Sequence[int] = (5_000, 20_000), *, effort: str = "fast") -> dict[str, Any]:
    """Measure regions of the fake model.

    Args:
        sides: of the square regions, level-0 px.
        effort: as of `segment`.

    Returns:
        ``schema``, ``machine``, ``effort`` and ``regions.<side>.{tiles, objects, seconds, server_mib, client_mib,
        token_kib}``: peaks of resident memory, and the largest resume token.
    """
    regions = {}
    for side in sides:
        with tempfile.TemporaryDirectory() as folder:
            slide = Path(folder) / f"{side}.tif"
            write_repeated_slide(slide, side)
            regions[str(side)] = _measured(slide, effort)
    return report("bench-region", {"effort": effort, "regions": regions})


def write_repeated_slide(path: Path, side: int) -> None:
    """Write the packaged slide, mirrored and repeated to a square of ``side`` px, as a tiled JPEG TIFF of 0.5 um/px."""
    slide = open_slide(str(demo_slide_path()))
    try:
        pixels = slide.read(Window.of(slide.info.extent, 1.0))
    finally:
        slide.close()
    tiles_across = -(-side // _TILE)
    tifffile.imwrite(
        path,
        _tiles(pixels, tiles_across),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(_TILE, _TILE),
        photometric="rgb",
        compression="jpeg",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )


def _tiles(pixels: NDArray[np.uint8], across: int) -> Iterator[NDArray[np.uint8]]:
    height, width = pixels.shape[:2]
    for row in range(across):
        rows = _mirrored(np.arange(row * _TILE, (row + 1) * _TILE), height)
        for column in range(across):
            yield pixels[rows[:, None], _mirrored(np.arange(column * _TILE, (column + 1) * _TILE), width)]


def _mirrored(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    place = positions % (2 * length)
    return np.minimum(place, 2 * length - 1 - place)


def _measured(slide: Path, effort: str) -> dict[str, Any]:
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    with server_process(["--model", "fake", "--device", "cpu"]) as address:
        (server,) = [child for child in me.children() if child.pid not in before]
        started = time.perf_counter()
        command = [sys.executable, "-m", __name__, address, str(slide), effort]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        peaks = _Peaks({"server": server, "client": psutil.Process(client.pid)})
        output, _ = client.communicate()
        peaks.stop()
        seconds = time.perf_counter() - started
    if client.returncode:
        raise RuntimeError(f"the client of the measurement ended with {client.returncode}; see its message above")
    return {
        **json.loads(output),
        "seconds": round(seconds, 1),
        **{f"{name}_mib": round(peak / _MIB) for name, peak in peaks.bytes.items()},
    }


class _Peaks:
    """Looks at processes until it is stopped.

    Args:
        processes: by name.
    """

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self.bytes = dict.fromkeys(processes, 0)
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            for name, process in self._processes.items():
                try:
                    self.bytes[name] = max(self.bytes[name], process.memory_info().rss)
                except psutil.Error:
                    continue


def _client(address: str, slide: str, effort: str) -> None:
    """Take all objects of a slide and keep none; print how many there were."""
    from qupath_sam import Effort, GridOptions, Prompting, RegionRequest, SamClient, Slide

    request = RegionRequest(
        prompting=Prompting.GRID,
        effort=Effort(effort),
        grid=GridOptions(spacing=SPACING_UM, min_stability=0.5),
        downsample=DOWNSAMPLE,
        search_background=True,
    )
    objects = tiles = token = 0
    with SamClient(address) as sam:
        for batch in sam.segment_region(Slide(slide), request):
            objects += len(batch.objects)
            tiles = batch.progress.tiles_total
            token = max(token, len(batch.resume_token))
    sys.stdout.write(json.dumps({"tiles": tiles, "objects": objects, "token_kib": round(token / 1024)}))


if __name__ == "__main__":
    _client(*sys.argv[1:])
