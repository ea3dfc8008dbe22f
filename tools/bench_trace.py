"""Compare our tracer with GDAL's (`rasterio.features.shapes`), in speed and in outlines.

Usage: python -m tools.bench_trace [--repeats 9]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import features
from shapely.geometry import MultiPolygon, Polygon, shape

from qupath_sam.machine.description import Json, report
from qupath_sam.polygons import trace_labels, trace_mask, trace_masks

_SIZE = 1024
Outlines = list[Polygon | MultiPolygon]
Tracer = Callable[[], Outlines]


def run(*, repeats: int = 9) -> Json:
    """Time both tracers in turn on three 1024 x 1024 cases.

    Returns:
        ``schema``, ``machine`` and ``cases.{region, nuclei300, masks64}.{ours_ms, rasterio_ms, speedup, equal}``:
        medians of ``repeats``; ``equal`` after normalising, to the last coordinate.
    """
    region, nuclei, masks = region_mask(), nuclei_labels(), many_masks()
    cases = {
        "region": _compare(lambda: [trace_mask(region)], lambda: _gdal(region), repeats),
        "nuclei300": _compare(lambda: list(trace_labels(nuclei).values()), lambda: _gdal(nuclei), repeats),
        "masks64": _compare(lambda: trace_masks(masks), lambda: [_gdal(mask)[0] for mask in masks], repeats),
    }
    return report("bench-trace", {"cases": cases})


def region_mask() -> NDArray[np.bool_]:
    """One region of about 350,000 px with a rough border and six holes."""
    rows, columns = np.indices((_SIZE, _SIZE)) - _SIZE / 2
    random = np.random.default_rng(1)
    roughness = random.normal(0, 0.7, (_SIZE, _SIZE))
    angle = np.arctan2(rows, columns)
    radius = 342 + 25 * np.sin(3 * angle) + 10 * np.sin(11 * angle)
    mask: NDArray[np.bool_] = np.hypot(rows, columns) + roughness < radius
    for index in range(6):
        turn = index * np.pi / 3
        mask &= np.hypot(rows - 180 * np.sin(turn), columns - 180 * np.cos(turn)) + roughness > 18 + 4 * index
    return mask


def nuclei_labels() -> NDArray[np.int32]:
    """300 ellipses of about 350 px with rough borders, some of which touch."""
    random = np.random.default_rng(2)
    labels = np.zeros((_SIZE, _SIZE), np.int32)
    rows, columns = np.indices((41, 41)) - 20
    label = 0
    while label < 300:
        top, left = random.integers(0, _SIZE - 41, 2)
        long, angle = random.uniform(9, 14), random.uniform(0, np.pi)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        across = rows * np.cos(angle) - columns * np.sin(angle)
        inside = (along / long) ** 2 + (across / (0.75 * long)) ** 2 + random.normal(0, 0.03, rows.shape) < 1
        place = labels[top : top + 41, left : left + 41]
        free = inside & (place == 0)
        if free.sum() > 0.8 * inside.sum():
            label += 1
            place[free] = label
    return labels


def many_masks() -> NDArray[np.bool_]:
    """64 full-frame masks of one object each, as a model returns them."""
    random = np.random.default_rng(3)
    rows, columns = np.indices((_SIZE, _SIZE), dtype=np.float32)
    masks = np.zeros((64, _SIZE, _SIZE), np.bool_)
    for mask in masks:
        y, x = random.uniform(100, _SIZE - 100, 2)
        distance, angle = np.hypot(rows - y, columns - x), np.arctan2(rows - y, columns - x)
        mask[:] = distance + 4 * np.sin(7 * angle) < random.uniform(15, 90)
    return masks


def _gdal(labels: NDArray[Any]) -> Outlines:
    """Return what GDAL traces, one geometry a label, as one would write it with rasterio."""
    image = labels.astype(np.uint8) if labels.dtype == np.bool_ else labels
    parts: dict[int, list[Any]] = defaultdict(list)
    for outline, label in features.shapes(image, mask=image != 0, connectivity=4):
        parts[int(label)].append(shape(outline))
    return [part[0] if len(part) == 1 else MultiPolygon(part) for _, part in sorted(parts.items())]


def _compare(ours: Tracer, theirs: Tracer, repeats: int) -> Json:
    """Both in turn, so that whatever else the machine does falls on both."""
    found, expected = np.asarray(ours()), np.asarray(theirs())
    equal = len(found) == len(expected) and bool(
        shapely.equals_exact(shapely.normalize(found), shapely.normalize(expected), 0).all()
    )
    times = [(_milliseconds(ours), _milliseconds(theirs)) for _ in range(repeats)]
    ours_ms, rasterio_ms = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "ours_ms": round(ours_ms, 3),
        "rasterio_ms": round(rasterio_ms, 3),
        "speedup": round(rasterio_ms / ours_ms, 2),
        "equal": equal,
    }


def _milliseconds(call: Tracer) -> float:
    begin = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begin)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, and print the results as JSON; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_trace", description="Our tracer against GDAL's.")
    parser.add_argument("--repeats", type=int, default=9, help="times each tracer runs; medians are reported")
    sys.stdout.write(json.dumps(run(repeats=parser.parse_args(arguments).repeats), indent=2) + "\n")


if __name__ == "__main__":
    main()
