"""All objects of a region, tile after tile: the one file that knows the whole way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam import __version__
from qupath_sam.engine.outlines import cleaned
from qupath_sam.engine.region.candidates import candidates_of
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.engine.region.proposals import Proposer, Tile
from qupath_sam.engine.region.stitching import Candidate, Stitcher
from qupath_sam.engine.region.tiling import TileGrid
from qupath_sam.engine.region.tokens import Position, pack, request_digest, restore
from qupath_sam.errors import InvalidRegion
from qupath_sam.models.base import Embedding, MaskSet, WindowPrompts
from qupath_sam.models.load import LoadedModel
from qupath_sam.polygons import clip
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.tissue import tissue_map
from qupath_sam.types.region_requests import Prompting, RegionRequest
from qupath_sam.types.region_results import RegionBatch, RegionObject, RegionProgress
from qupath_sam.types.regions import Region
from qupath_sam.types.results import Outline, Provenance

T = TypeVar("T")

#: A token comes with every so many tiles, and with the last one.
TILES_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """What a run does, decided before its first tile.

    Attributes:
        place: the region, level-0 px; part of the image.
        downsample: level-0 px per tile px.
        tile_size: side of a tile, tile px.
        max_extent: longest side of an object, level-0 px.
        remarks: what is to be said about it.
    """

    place: Polygon | MultiPolygon
    downsample: float
    tile_size: int
    max_extent: float
    remarks: tuple[str, ...] = ()


class RegionRun:
    """One run over a region; iterate over it once.

    Args:
        request: what is asked.
        plan: from the request and the image.
        slide: where pixels come from; open until the last batch.
        loaded: the model.
        model: calls it.
        proposer: proposes the objects of a tile.

    Raises:
        InvalidRequest: the token belongs to another request.
    """

    def __init__(
        self,
        *,
        request: RegionRequest,
        plan: RegionPlan,
        slide: SlideReader,
        loaded: LoadedModel,
        model: RegionModel,
        proposer: Proposer,
    ) -> None:
        self._request = request
        self._plan = plan
        self._slide = slide
        self._loaded = loaded
        self._model = model
        self._proposer = proposer
        info = slide.info
        tissue, remarks = _tissue(slide, search_background=request.search_background)
        self._remarks = (*plan.remarks, *remarks)
        self.grid = TileGrid(
            extent=info.extent,
            downsample=plan.downsample,
            tile_size=plan.tile_size,
            region=plan.place,
            tissue=tissue,
            info=info,
        )
        self.stitcher = Stitcher(self.grid, max_extent=plan.max_extent, admits=self._admits)
        self._digest = request_digest(
            __version__,
            info.fingerprint,
            info.mpp,
            loaded.spec.name,
            loaded.weights_sha256,
            sorted((objects.value, head.sha256) for objects, head in loaded.dense.items()),
            loaded.segmenter.preprocessing_version,
            (plan.place.wkb_hex, plan.downsample, plan.tile_size, plan.max_extent, plan.remarks),
            request.prompting,
            _without_geometry(request),
            *((example.label, _exact(example.place)) for example in request.examples),
        )
        self._position = Position(0, 0)
        if request.resume_token:
            self._position = restore(request.resume_token, self._digest, self.stitcher, tiles=len(self.grid))
            for row, column in self.grid.order[: self._position.tiles_done]:
                self.grid.done(row, column)

    def __iter__(self) -> Iterator[RegionBatch]:
        """Give out a batch before the first tile, and one after each.

        Raises:
            SlideUnreadable: the pixels cannot be read.
            OutOfMemory, Cancelled, DeadlineExceeded, ServerBusy: the work could not be done.
        """
        started = time.perf_counter()
        first = self._position.tiles_done
        yield RegionBatch(
            objects=(),
            progress=self._progress(None),
            resume_token=self._token(),
            provenance=self._provenance(),
            downsample=self._plan.downsample,
            tile_size=self._plan.tile_size,
        )
        for index in range(first, len(self.grid)):
            self._model.check_wanted()
            objects = self._tile(*self.grid.order[index])
            done = index + 1
            self._position = Position(done, self._position.objects + len(objects))
            elapsed = time.perf_counter() - started
            is_last = done == len(self.grid)
            if is_last:
                self._model.timings.total = elapsed * 1e3
            yield RegionBatch(
                objects=tuple(objects),
                progress=self._progress(elapsed / (done - first) * (len(self.grid) - done)),
                resume_token=self._token() if is_last or done % TILES_PER_TOKEN == 0 else b"",
                timings=self._model.timings if is_last else None,
            )

    def _tile(self, row: int, column: int) -> list[RegionObject]:
        """Return the objects that this tile decides."""
        window = self.grid.window(row, column)
        embedding = self._model.embedding(window)
        mpp = self._slide.info.mpp
        tile = Tile(
            window=window,
            core=self.grid.core(row, column),
            embedding=embedding,
            model=_TileModel(self._model, embedding),
            mpp=mpp * self._plan.downsample if mpp else None,
            read=partial(self._model.read, window),
        )
        proposals = self._proposer.propose(tile)
        self._model.check_wanted()
        started = time.perf_counter()
        candidates = candidates_of(proposals, window, self._slide.info.extent)
        self.grid.done(row, column)
        decided = self.stitcher.add(candidates)
        objects: list[RegionObject] = []
        for candidate in decided:
            answer = self._answer(candidate, self._position.objects + len(objects))
            if answer is not None:
                objects.append(answer)
        self._model.timings.trace += (time.perf_counter() - started) * 1e3
        return objects

    def _admits(self, candidate: Candidate) -> bool:
        """Return whether a whole object passes the filters, before it competes with others."""
        asked = self._request.filter
        if asked.min_score is not None and candidate.score < asked.min_score:
            return False
        area = candidate.area * (self._slide.info.mpp or 1.0) ** 2
        if area < asked.min_area or (asked.max_area and area > asked.max_area):
            return False
        return bool(shapely.intersects(self._plan.place, candidate.geometry))

    def _answer(self, candidate: Candidate, number: int) -> RegionObject | None:
        """Return a decided object as it is given out; None where it does not belong to the region."""
        place, mpp = self._plan.place, self._slide.info.mpp
        geometry = candidate.geometry
        if self._request.filter.leave_out_border:
            belongs = bool(shapely.contains_properly(place, geometry))
        else:
            belongs = self._request.clip or bool(shapely.intersects(place, geometry.centroid))
        if not belongs:
            return None
        geometry = cleaned(geometry, self._request.output, mpp or 1.0)
        if self._request.clip:
            geometry = clip(geometry, place)
        if geometry.is_empty:
            return None
        area_um2 = geometry.area * mpp**2 if mpp else None
        return RegionObject(
            number=number,
            outline=Outline(geometry, candidate.score, geometry.area, area_um2),
            point=candidate.point,
            is_cut=candidate.is_cut,
            likeness=candidate.likeness,
        )

    def _progress(self, seconds_left: float | None) -> RegionProgress:
        return RegionProgress(
            tiles_done=self._position.tiles_done,
            tiles_total=len(self.grid),
            tiles_skipped=self.grid.skipped,
            objects=self._position.objects,
            too_large=self.stitcher.too_large,
            seconds_left=seconds_left,
        )

    def _token(self) -> bytes:
        return pack(self._digest, self._position, self.stitcher)

    def _provenance(self) -> Provenance:
        info, loaded = self._slide.info, self._loaded
        return Provenance(
            model=loaded.spec.name,
            weights_sha256=loaded.weights_sha256,
            preprocessing_version=loaded.segmenter.preprocessing_version,
            server_version=__version__,
            image_fingerprint=info.fingerprint,
            pixel_source=info.reader,
            device=loaded.device,
            mpp=info.mpp,
            remarks=(*info.all_remarks, *self._remarks),
        )


@dataclass(frozen=True, slots=True)
class _TileModel:
    """The model and one tile's embedding, as a proposer uses them."""

    model: RegionModel
    embedding: Embedding

    def decode(self, prompts: Sequence[WindowPrompts], *, several_masks: bool = False) -> list[MaskSet]:
        return self.model.decode(self.embedding, prompts, several_masks=several_masks)

    def run(self, job: Callable[[], T]) -> T:
        return self.model.run(job)


def place_of(request: RegionRequest, extent: Region) -> Polygon | MultiPolygon:
    """Return the part of the image that a request is about, level-0 px.

    Raises:
        InvalidRegion: the region lies outside the image.
    """
    whole = shapely.box(*extent.bounds)
    if request.place is None:
        return whole
    asked = shapely.box(*request.place.bounds) if isinstance(request.place, Region) else request.place
    place = clip(asked, whole)
    if place.is_empty:
        bounds = tuple(round(value) for value in asked.bounds)
        raise InvalidRegion(
            f"region {bounds} lies outside the image's pixels {extent.bounds} "
            "(min x, min y, max x, max y in level-0 px)"
        )
    return place


def _tissue(slide: SlideReader, *, search_background: bool) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Return where to look, None for everywhere, and what is to be said about it."""
    if search_background:
        return None, ()
    tissue = tissue_map(slide)
    if not tissue.any():
        return None, ("colour does not separate tissue from background: all tiles are looked at",)
    return tissue, ()


def _without_geometry(request: RegionRequest) -> RegionRequest:
    """Return the request without its token, and without outlines, of which a ``repr`` shows the beginning alone."""
    output = replace(request.output, clip=None)
    return replace(request, resume_token=b"", place=None, examples=(), output=output, prompting=Prompting.GRID)


def _exact(place: Polygon | MultiPolygon | tuple[float, float]) -> object:
    return place if isinstance(place, tuple) else place.wkb_hex
