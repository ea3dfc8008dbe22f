"""A synthetic image of purple blobs on white, and a proposer that sees them as they are: connected pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.call import Call
from qupath_sam.engine.embeddings.memory import MemoryCache
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.engine.region.proposals import Proposal, Proposer, Tile, cropped
from qupath_sam.engine.region.run import RegionPlan, RegionRun, place_of
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.models.dense import DenseMaps
from qupath_sam.models.load import load_segmenter
from qupath_sam.polygons import trace_labels
from qupath_sam.slides.pushed import PushedReader
from qupath_sam.types.region_requests import RegionRequest

PURPLE = (120, 40, 140)


def blobs(width: int, height: int, *, seed: int = 0, sizes: Sequence[int] = (8, 40), share: float = 0.3):
    """Ellipses that do not touch each other, uint8 ``(H, W, 3)``; ``sizes`` are the least and the largest diameter."""
    random = np.random.default_rng(seed)
    taken = np.zeros((height, width), bool)
    wanted = int(share * width * height / (np.mean(sizes) ** 2 * 0.8))
    for _ in range(wanted):
        a, b = random.uniform(*sizes, size=2) / 2
        x, y, angle = random.uniform(0, width), random.uniform(0, height), random.uniform(0, np.pi)
        reach = int(max(a, b)) + 3
        left, top = max(0, int(x) - reach), max(0, int(y) - reach)
        box = slice(top, int(y) + reach + 1), slice(left, int(x) + reach + 1)
        rows, columns = np.mgrid[box[0], box[1]]
        rows, columns = rows[: height - top, : width - left], columns[: height - top, : width - left]
        dx, dy = columns + 0.5 - x, rows + 0.5 - y
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        ellipse, room = (u / a) ** 2 + (v / b) ** 2 <= 1, (u / (a + 2)) ** 2 + (v / (b + 2)) ** 2 <= 1
        if not (taken[box] & room).any():
            taken[box] |= ellipse
    return painted(taken)


def painted(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    pixels = np.full((*mask.shape, 3), 255, np.uint8)
    pixels[mask] = PURPLE
    return pixels


def truth(pixels: NDArray[np.uint8]) -> list[Polygon | MultiPolygon]:
    """The outlines of the blobs of a whole image, level-0 px."""
    labels, _ = ndimage.label(pixels[..., 1] < 128)
    return list(trace_labels(labels).values())


class ConnectedPixels:
    """Proposes what is purple; the score falls with the colour of the blob, so that it is the same in every tile."""

    def propose(self, tile: Tile) -> list[Proposal]:
        labels, _ = ndimage.label(tile.pixels[..., 1] < 128)
        found = []
        for index, box in enumerate(ndimage.find_objects(labels), 1):
            rows, columns = box
            found.append(Proposal(labels[box] == index, 0.9, at=(columns.start, rows.start)))
        return found


@dataclass
class Noisy:
    """As another proposer, with what real models add: the same object twice, a part of it, and what fills the tile."""

    proposer: Proposer

    def propose(self, tile: Tile) -> list[Proposal]:
        found = list(self.proposer.propose(tile))
        side = tile.window.width
        background = cropped(tile.pixels[..., 1] >= 128, 0.99)
        doubled = [Proposal(p.mask, p.score - 0.05, at=p.at) for p in found]
        halves = [Proposal(p.mask[: max(1, p.mask.shape[0] // 2)], p.score - 0.1, at=p.at) for p in found]
        assert side > 0
        return [*doubled, *halves, *found, *([background] if background is not None else [])]


@contextmanager
def region_run(
    pixels: NDArray[np.uint8],
    *,
    request: RegionRequest | None = None,
    tile_size: int = 512,
    max_extent: float = 512.0,
    downsample: float = 1.0,
    mpp: float | None = 0.25,
    proposer: Proposer | None = None,
    call: Call | None = None,
    dense: DenseMaps | None = None,
) -> Iterator[RegionRun]:
    """A run over an image with the fake model's encoder, and that dense head beside it."""
    request = request or RegionRequest()
    slide = PushedReader.of_image(pixels, mpp)
    loaded = load_segmenter("fake", device="cpu")
    loaded = replace(loaded, dense={dense.objects: dense} if dense else {})
    worker = InferenceWorker()
    try:
        yield RegionRun(
            request=request,
            plan=RegionPlan(place_of(request, slide.info.extent), downsample, tile_size, max_extent),
            slide=slide,
            loaded=loaded,
            model=RegionModel(
                worker=worker,
                embeddings=EmbeddingStore(MemoryCache(1 << 20)),
                loaded=loaded,
                slide=slide,
                call=call or Call(),
            ),
            proposer=proposer or ConnectedPixels(),
        )
    finally:
        worker.close()


def outlines_in(pixels: NDArray[np.uint8], **options: object) -> list[Polygon | MultiPolygon]:
    """The outlines that a run gives out."""
    with region_run(pixels, **options) as run:  # type: ignore[arg-type]
        return [each.geometry for batch in run for each in batch.objects]


def as_set(geometries: Sequence[Polygon | MultiPolygon]) -> set[str]:
    """What can be compared, whatever order and first vertices."""
    return {geometry.normalize().wkt for geometry in geometries}
