"""``qupath-sam bench project``: what refining 1,000 annotations of 20 images costs beyond the model."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import shapely
from shapely.geometry import Point

from qupath_sam.client import SamClient
from qupath_sam.errors import ServerUnavailable
from qupath_sam.machine.description import Json, report
from qupath_sam.project.decisions import Tally
from qupath_sam.project.jvm.worker import QuPathWorker
from qupath_sam.project.layout import Project, read_project
from qupath_sam.project.objects import Edit, ImageContents, ImageObject, Kind
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import ImageReport, RunOptions, run_project, write_edit
from qupath_sam.project.store.commit import ProjectStore

_SIDE = 2048


def run(*, annotations: int = 1000, images: int = 20, model: str = "fake") -> Json:
    """Make a project, start a server, refine everything, put all away.

    Args:
        annotations: in all images together.
        images: number of slides, 2048 x 2048 px each.
        model: the server's.

    Returns:
        ``images``, ``annotations``, ``refused`` (number by reason), ``image_s.{p50, p95}`` (one image from the first
        byte read to the last one written), ``total_s`` (QuPath's start included), ``model_s`` (what the server says it
        spent), ``overhead_s_per_1000`` annotations, ``peak_rss_mb.{client, jvm, server}`` (as seen after each image).

    Raises:
        ProjectError: no QuPath is installed.
    """
    with TemporaryDirectory(prefix="qupath-sam-bench-") as name, _server(model) as (address, server):
        project = make_project(Path(name), images)
        with QuPathWorker() as editor:
            fill(project, editor, annotations)
        peaks = {"client": 0, "jvm": 0, "server": 0}
        started = time.perf_counter()
        with QuPathWorker() as editor, SamClient(address) as client:
            options = RefineOptions(model=model, window_px=client.models()[0].input_size)

            def propose(worker: int, image: Any, contents: ImageContents) -> Proposal:
                return refine_image(image, contents.objects, options, client, ServerReadsSlides())

            def note(report: ImageReport) -> None:
                for part, bytes_now in (
                    ("client", psutil.Process().memory_info().rss),
                    ("jvm", editor.peak_rss_bytes),
                    ("server", server.memory_info().rss),
                ):
                    peaks[part] = max(peaks[part], bytes_now)

            result = run_project(project, project.images, propose, editor, RunOptions("refine"), finished=note)
            total = time.perf_counter() - started
        seconds = [image.seconds for image in result.images]
        model_s = sum(image.model_s for image in result.images)
        failed = [image.error for image in result.images if image.error]
        return report(
            "bench-project",
            {
                "images": len(result.images),
                "annotations": len(result.decisions),
                "refused": dict(Tally.of(result.decisions).refusals),
                "failed": failed,
                "image_s": {
                    "p50": round(statistics.median(seconds), 3),
                    "p95": round(float(np.percentile(seconds, 95)), 3),
                },
                "total_s": round(total, 2),
                "model_s": round(model_s, 2),
                "overhead_s_per_1000": round((total - model_s) * 1000 / max(1, len(result.decisions)), 2),
                "peak_rss_mb": {part: round(peak / 1e6) for part, peak in peaks.items()},
            },
        )


def make_project(folder: Path, images: int) -> Project:
    """Make a project of synthetic slides, without objects. Slides are copies of one: tiled TIFFs with a pixel size."""
    import tifffile

    slide = folder / "slide 1.tiff"
    pixels = np.random.default_rng(0).integers(180, 250, (_SIDE, _SIDE, 3), dtype=np.uint8)
    resolution = 10_000 / 0.5  # 0.5 um a pixel
    tifffile.imwrite(
        slide,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        resolution=(resolution, resolution),
        resolutionunit="CENTIMETER",
    )
    entries = []
    for number in range(1, images + 1):
        path = folder / f"slide {number}.tiff"
        if not path.exists():
            shutil.copyfile(slide, path)
        entries.append({"serverBuilder": _builder(path), "entryID": number, "imageName": path.name})
    file = folder / "project.qpproj"
    file.write_text(json.dumps({"version": "0.6.0", "images": entries}), encoding="utf-8")
    return read_project(file)


def fill(project: Project, editor: QuPathWorker, annotations: int) -> None:
    """Give every image its share of roughly drawn discs."""
    chance = np.random.default_rng(1)
    store = ProjectStore(project.file)
    run = store.begin("fill", {})
    for index, image in enumerate(project.images):
        count = len(range(index, annotations, len(project.images)))
        places = chance.uniform((150, 150, 30), (_SIDE - 150, _SIDE - 150, 90), (count, 3))
        additions = tuple(_disc(x, y, radius) for x, y, radius in places)
        write_edit(store, run, image, None, Edit(additions=additions), editor)
    run.journal.append("end")


def _disc(x: float, y: float, radius: float) -> ImageObject:
    shape = Point(x, y).buffer(radius, quad_segs=6)
    return ImageObject(str(uuid.uuid4()), Kind.ANNOTATION, "Polygon", shapely.to_wkb(shape), path_class="Tumor")


def _builder(path: Path) -> dict[str, Any]:
    pixel = {"value": 0.5, "unit": "µm"}
    return {
        "builderType": "uri",
        "providerClassName": "qupath.lib.images.servers.openslide.OpenslideServerBuilder",
        "uri": path.as_uri(),
        "args": [],
        "metadata": {
            "name": path.name,
            "width": _SIDE,
            "height": _SIDE,
            "sizeZ": 1,
            "sizeT": 1,
            "channelType": "DEFAULT",
            "isRGB": True,
            "pixelType": "UINT8",
            "levels": [{"downsample": 1.0, "width": _SIDE, "height": _SIDE}],
            "channels": [
                {"name": name, "color": color}
                for name, color in (("Red", -65536), ("Green", -16711936), ("Blue", -16776961))
            ],
            "pixelCalibration": {
                "pixelWidth": pixel,
                "pixelHeight": pixel,
                "zSpacing": {"value": 1.0, "unit": "z-slice"},
                "timeUnit": "SECONDS",
                "timepoints": [],
            },
            "preferredTileWidth": 256,
            "preferredTileHeight": 256,
        },
    }


@contextmanager
def _server(model: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server in a process of its own, so that its memory can be measured alone."""
    command = [sys.executable, "-m", "qupath_sam", "serve", "--port", "0", "--model", model]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            raise ServerUnavailable(f"the server did not start; try `{' '.join(command[1:])}`")
        yield line.split()[2], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
