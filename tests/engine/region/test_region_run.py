"""A region gives each object once and whole, however it is tiled, stopped and resumed."""

from __future__ import annotations

import itertools
import zlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import shapely
import torch
from shapely.geometry import Polygon

from qupath_sam.engine.call import Call
from qupath_sam.engine.cancellation import CancelToken
from qupath_sam.engine.region.run import TILES_PER_TOKEN
from qupath_sam.engine.region.tokens import MAX_TOKEN_BYTES
from qupath_sam.errors import Cancelled, DeadlineExceeded, InvalidRegion, InvalidRequest
from qupath_sam.models.dense import DenseMaps, DenseWeights
from qupath_sam.models.devices import Execution, Precision
from qupath_sam.networks.dense_head import DenseHead
from qupath_sam.types.choices import ObjectKind
from qupath_sam.types.region_requests import ObjectFilter, RegionRequest
from qupath_sam.types.regions import Region

from .scene import ConnectedPixels, Noisy, as_set, blobs, outlines_in, painted, region_run, truth


@pytest.fixture(scope="module")
def pixels():
    return blobs(1100, 900, sizes=(8, 60))


@pytest.mark.parametrize("tile_size", [256, 512, 1024])
def test_the_objects_are_those_of_the_image_whatever_the_tile_size(pixels, tile_size):
    found = outlines_in(pixels, tile_size=tile_size, max_extent=200.0)
    assert len(found) == len(truth(pixels)) > 100
    assert as_set(found) == as_set(truth(pixels))


def test_large_objects_that_no_tile_shows_whole_are_joined():
    pixels = blobs(1500, 1100, seed=3, sizes=(200, 450), share=0.5)
    small, large = (outlines_in(pixels, tile_size=size, max_extent=512.0) for size in (512, 1024))
    assert as_set(small) == as_set(large) == as_set(truth(pixels))
    overlap = 512 // 4
    assert any(max(np.diff(np.reshape(g.bounds, (2, 2)), axis=0)[0]) > overlap for g in small)


@pytest.mark.parametrize("tile_size", [512, 1024])
def test_duplicates_parts_and_what_fills_a_tile_are_left_out(pixels, tile_size):
    noisy = Noisy(ConnectedPixels())
    assert as_set(outlines_in(pixels, tile_size=tile_size, max_extent=200.0, proposer=noisy)) == as_set(truth(pixels))


def test_what_is_larger_than_a_tile_is_left_out_and_counted():
    mask = np.zeros((900, 900), bool)
    mask[100:800, 300:340] = mask[40:60, 40:60] = True
    with region_run(painted(mask), tile_size=256, max_extent=256.0) as run:
        batches = list(run)
    assert [each.geometry.bounds for batch in batches for each in batch.objects] == [(40, 40, 60, 60)]
    assert batches[-1].progress.too_large >= 1


def test_objects_are_numbered_without_gaps_and_progress_counts_tiles(pixels):
    with region_run(pixels) as run:
        batches = list(run)
    numbers = [each.number for batch in batches for each in batch.objects]
    assert numbers == list(range(len(numbers)))
    done = [batch.progress.tiles_done for batch in batches]
    assert done == list(range(len(done)))
    assert batches[-1].progress.is_finished
    assert batches[-1].progress.objects == len(numbers)
    assert batches[0].provenance is not None
    assert batches[0].progress.seconds_left is None
    assert batches[-1].progress.seconds_left == 0.0
    assert run.stitcher.held == 0


def test_few_objects_are_held_however_high_the_region():
    """What is held lies along one row of tiles: it grows with the shorter side alone."""

    def most_held(height: int) -> int:
        with region_run(blobs(400, height, share=0.2), tile_size=256, max_extent=200.0) as run:
            return max(run.stitcher.held for _ in run)

    # Chains of parts make it jump from image to image; were everything held, it would be 2.5 times as much.
    low, high = most_held(2000), most_held(5000)
    assert low > 10
    assert high <= 1.5 * low
    wide = blobs(2000, 400, share=0.2)
    with region_run(wide, tile_size=256, max_extent=200.0) as run:
        assert max(run.stitcher.held for _ in run) <= 1.5 * low


@pytest.mark.parametrize("stop", [1, 5, 17, 33])
def test_a_resumed_run_goes_on_to_the_same_objects(pixels, stop):
    with region_run(pixels, tile_size=256, max_extent=200.0) as run:
        whole = [each for batch in run for each in batch.objects]
    with region_run(pixels, tile_size=256, max_extent=200.0) as run:
        got, token, kept = [], b"", 0
        for batch in itertools.islice(run, stop):
            got.extend(batch.objects)
            if batch.resume_token:
                token, kept = batch.resume_token, len(got)
    request = RegionRequest(resume_token=token)
    with region_run(pixels, request=request, tile_size=256, max_extent=200.0) as run:
        batches = list(run)
    assert batches[0].progress.objects == kept
    resumed = got[:kept] + [each for batch in batches for each in batch.objects]
    assert [each.number for each in resumed] == [each.number for each in whole]
    assert [each.geometry.wkb for each in resumed] == [each.geometry.wkb for each in whole]
    assert stop <= TILES_PER_TOKEN or batches[0].progress.tiles_done > 0


def test_a_token_of_another_request_or_a_damaged_one_is_refused(pixels):
    with region_run(pixels) as run:
        token = next(iter(run)).resume_token
    for other in (RegionRequest(resume_token=token, clip=True), RegionRequest(resume_token=token[:-4])):
        with pytest.raises(InvalidRequest, match="begin again without it"), region_run(pixels, request=other):
            pass


def test_a_token_of_another_dense_head_is_refused(pixels):
    head = DenseWeights(DenseHead().state_dict(), encoder_sha256="", objects=ObjectKind.NUCLEI, sha256="one", entry={})
    execution = Execution(torch.device("cpu"), Precision.FP32)
    with region_run(pixels, dense=DenseMaps(head, execution)) as run:
        request = RegionRequest(resume_token=next(iter(run)).resume_token)
    with region_run(pixels, request=request, dense=DenseMaps(head, execution)):
        pass
    other = DenseMaps(replace(head, sha256="two"), execution)
    with (
        pytest.raises(InvalidRequest, match="begin again without it"),
        region_run(pixels, request=request, dense=other),
    ):
        pass


def test_objects_belong_to_the_region_in_which_their_centroid_lies(pixels):
    left, right = Region(0, 0, 500, 900), Region(500, 0, 600, 900)
    found = [outlines_in(pixels, request=RegionRequest(place), max_extent=200.0) for place in (left, right)]
    assert len(found[0]) + len(found[1]) == len(truth(pixels))
    assert as_set([*found[0], *found[1]]) == as_set(truth(pixels))


def test_an_outline_clips_or_leaves_out_what_crosses_it(pixels):
    triangle = Polygon([(100, 100), (1000, 200), (500, 850)])
    inside = [g for g in truth(pixels) if triangle.contains_properly(g)]
    meeting = [g for g in truth(pixels) if triangle.intersection(g).area > 0]
    within = RegionRequest(triangle, filter=ObjectFilter(leave_out_border=True))
    assert as_set(outlines_in(pixels, request=within, max_extent=200.0)) == as_set(inside)
    clipped = outlines_in(pixels, request=RegionRequest(triangle, clip=True), max_extent=200.0)
    assert len(clipped) == len(meeting) > len(inside)
    assert shapely.union_all(clipped).difference(triangle.buffer(1e-6)).is_empty


def test_areas_are_um2_where_the_pixel_size_is_known(pixels):
    areas = [g.area / 16 for g in truth(pixels)]
    low, high = np.quantile(areas, [0.3, 0.7])
    request = RegionRequest(filter=ObjectFilter(min_area=float(low), max_area=float(high)))
    found = outlines_in(pixels, request=request, max_extent=200.0)
    assert len(found) == sum(low <= area <= high for area in areas)


def test_tiles_without_tissue_are_skipped():
    pixels = np.full((1000, 3000, 3), 255, np.uint8)
    pixels[:, :500] = blobs(500, 1000)
    with region_run(pixels, tile_size=256, max_extent=200.0) as run:
        batches = list(run)
    progress = batches[-1].progress
    assert progress.tiles_skipped > 2 * progress.tiles_total
    assert as_set([o.geometry for b in batches for o in b.objects]) == as_set(truth(pixels))
    with region_run(pixels, tile_size=256, request=RegionRequest(search_background=True)) as run:
        assert run.grid.skipped == 0


def test_a_grey_image_is_looked_at_everywhere():
    pixels = np.repeat(blobs(700, 700)[..., 1:2], 3, axis=2)
    with region_run(pixels, tile_size=256, max_extent=200.0) as run:
        batches = list(run)
    assert any("background" in remark for remark in batches[0].provenance.remarks)
    assert as_set([o.geometry for b in batches for o in b.objects]) == as_set(truth(pixels))


def test_a_cancelled_run_ends_at_the_next_tile(pixels):
    token = CancelToken()
    with region_run(pixels, tile_size=256, call=Call(cancel=token)) as run:
        batches = iter(run)
        next(batches), next(batches)
        token.cancel()
        with pytest.raises(Cancelled):
            next(batches)


def test_a_run_past_its_deadline_ends(pixels):
    with region_run(pixels, tile_size=256, call=Call(deadline=0.0)) as run, pytest.raises(DeadlineExceeded):
        list(run)


def test_a_region_outside_the_image_is_refused(pixels):
    with (
        pytest.raises(InvalidRegion, match="outside"),
        region_run(pixels, request=RegionRequest(Region(5000, 0, 9, 9))),
    ):
        pass


@pytest.mark.parametrize("size", [(100, 80), (256, 256), (257, 300), (700, 90)])
def test_images_smaller_than_a_tile_or_little_larger(size):
    pixels = blobs(*size, seed=1, sizes=(8, 20))
    assert as_set(outlines_in(pixels, tile_size=256, max_extent=200.0)) == as_set(truth(pixels))


def test_no_damage_to_a_token_does_harm(pixels):
    """A token comes from a client: whatever it says, it is refused in words or does what a token does."""
    random = np.random.default_rng(0)
    with region_run(pixels, tile_size=256, max_extent=200.0) as run:
        token = next(b.resume_token for b in run if b.resume_token and b.progress.tiles_done)
    digest, text = token[:16], zlib.decompress(token[16:])
    damaged = [token[: int(n)] for n in random.integers(0, len(token), 8)]
    for _ in range(40):
        spoilt = bytearray(text)
        for at in random.integers(0, len(text), 3):
            spoilt[at] = random.choice(list(b'0-9.,[]{}":en'))
        damaged.append(digest + zlib.compress(bytes(spoilt)))
    damaged.append(digest + zlib.compress(b"[" * 200_000))
    damaged.append(digest + zlib.compress(bytes(MAX_TOKEN_BYTES + 1)))
    for each in damaged:
        request = RegionRequest(resume_token=each)
        with suppress(InvalidRequest), region_run(pixels, request=request, tile_size=256, max_extent=200.0):
            pass
