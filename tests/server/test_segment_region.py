"""All objects of a region through a real server: as in this process, stopped and resumed, and refused clearly."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import grpc
import pytest
from shapely.geometry import Polygon

from qupath_sam import (
    Client,
    GridOptions,
    LocalClient,
    ObjectFilter,
    Prompting,
    Region,
    RegionRequest,
    SamClient,
    Slide,
)
from qupath_sam.client.messages import image_message
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import (
    DeadlineExceeded,
    InvalidPrompt,
    InvalidRegion,
    InvalidRequest,
    SlideNotFound,
    UnsupportedPrompting,
)
from qupath_sam.protocol.regions import region_request_message, region_request_of
from qupath_sam.protocol.status import ERROR_METADATA
from qupath_sam.server.app import RunningServer, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.types.choices import ObjectKind
from qupath_sam.types.prompts import Label
from qupath_sam.types.region_requests import Effort, Example
from qupath_sam.v1 import error_pb2, image_pb2
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

#: Discs of 16 um, whose edges are soft, three in four pressed out by their neighbours.
DISCS = GridOptions(spacing=20.0, min_stability=0.5)
REGION = Region(1000, 1000, 280, 300)
REQUEST = RegionRequest(REGION, grid=DISCS, prompting=Prompting.GRID)


def objects(client: Client, slide: Slide, request: RegionRequest) -> list[tuple[int, bytes, float]]:
    batches = client.segment_region(slide, request)
    return [(o.number, o.geometry.wkb, o.score) for batch in batches for o in batch.objects]


def test_a_server_answers_as_this_process_does(client: SamClient, slide: Slide):
    with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
        here = objects(local, slide, REQUEST)
    assert len(here) > 5
    assert objects(client, slide, REQUEST) == here


def test_the_stream_tells_scale_progress_and_what_made_it(client: SamClient, slide: Slide):
    first, *rest = client.segment_region(slide, REQUEST)
    assert first.provenance.model == "fake"
    assert first.downsample * first.provenance.mpp == pytest.approx(0.25)
    assert first.tile_size == 256
    assert first.progress.tiles_done == 0 < first.progress.tiles_total == len(rest)
    assert rest[-1].progress.is_finished
    assert rest[-1].timings.decode > 0
    assert all(o.outline.area_um2 == pytest.approx(o.outline.area_px2 * 0.499**2, rel=0.01) for o in rest[-1].objects)


def test_another_server_goes_on_from_a_token(client: SamClient, slide: Slide, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qupath_sam.engine.region.run.TILES_PER_TOKEN", 3)
    whole = objects(client, slide, REQUEST)
    got, token, kept = [], b"", 0
    for batch in itertools.islice(client.segment_region(slide, REQUEST), 8):
        got += [(o.number, o.geometry.wkb, o.score) for o in batch.objects]
        if batch.resume_token:
            token, kept = batch.resume_token, len(got)
    assert 0 < kept < len(whole)
    resumed = RegionRequest(REGION, grid=DISCS, prompting=Prompting.GRID, resume_token=token)
    with start_server(ServerSettings(port=0, model="fake", device="cpu")) as other, SamClient(other.address) as new:
        assert got[:kept] + objects(new, slide, resumed) == whole


def test_a_client_that_goes_away_frees_its_place(server: RunningServer, client: SamClient, slide: Slide):
    batches = client.segment_region(slide, RegionRequest(grid=GridOptions(spacing=2.0)))
    next(batches)
    batches.close()
    deadline = time.monotonic() + 30
    while server.engine.worker.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    assert objects(client, slide, RegionRequest(Region(1100, 1100, 50, 50), grid=DISCS)) is not None


def test_the_deadline_ends_it(client: SamClient, slide: Slide):
    with pytest.raises(DeadlineExceeded):
        list(client.segment_region(slide, RegionRequest(grid=GridOptions(spacing=2.0)), timeout_s=0.5))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (RegionRequest(REGION, prompting=Prompting.AUTOMATIC), UnsupportedPrompting),
        (RegionRequest(REGION, resume_token=b"nonsense"), InvalidRequest),
        (RegionRequest(Region(900_000, 0, 10, 10)), InvalidRegion),
    ],
)
def test_what_cannot_be_done_is_refused(client: SamClient, slide: Slide, request_: RegionRequest, error: type):
    with pytest.raises(error):
        list(client.segment_region(slide, request_))


def test_a_slide_that_is_not_there_is_said(client: SamClient):
    with pytest.raises(SlideNotFound):
        list(client.segment_region(Slide("/nowhere/slide.svs"), REQUEST))


def test_another_prompting_is_unimplemented_for_programs(server: RunningServer, slide: Slide):
    request = RegionRequest(REGION, prompting=Prompting.AUTOMATIC)
    message = region_request_message(request, image=image_message(slide))
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(pb_grpc.SegmentationServiceStub(channel).SegmentRegion(message))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    info = error_pb2.ErrorInfo.FromString(dict(caught.value.trailing_metadata())[ERROR_METADATA])
    assert info.reason == error_pb2.ERROR_REASON_UNSUPPORTED_PROMPTING
    assert "grid" in info.message


def test_a_request_survives_the_wire():
    square = Polygon([(0, 0), (9, 0), (9, 9), (0, 9)])
    request = RegionRequest(
        square,
        clip=True,
        prompting=Prompting.LIKE,
        objects=ObjectKind.GLANDS,
        effort=Effort.FAST,
        grid=GridOptions(spacing=3.0, min_stability=0.8, box_nms_iou=0.6),
        examples=(Example(square), Example((4.0, 5.0), Label.NEGATIVE)),
        like_threshold=0.7,
        mpp=0.5,
        filter=ObjectFilter(min_area=1.0, max_area=90.0, min_score=0.0, leave_out_border=True),
        search_background=True,
        resume_token=b"x",
    )
    message = region_request_message(request, image=image_pb2.ImageRef(), model="m")
    assert region_request_of(message) == request
    assert region_request_of(region_request_message(RegionRequest(), image=image_pb2.ImageRef())) == RegionRequest()


def test_unknown_objects_are_refused_with_those_that_are_known():
    message = region_request_message(RegionRequest(), image=image_pb2.ImageRef())
    message.objects = 99
    with pytest.raises(InvalidRequest, match="99"):
        region_request_of(message)


def test_glands_are_looked_at_from_farther_away(client: SamClient, slide: Slide):
    by_kind = {
        kind: next(iter(client.segment_region(slide, replace(REQUEST, objects=kind, grid=GridOptions()))))
        for kind in ObjectKind
    }
    nuclei, glands = by_kind[ObjectKind.NUCLEI], by_kind[ObjectKind.GLANDS]
    assert glands.downsample == 4 * nuclei.downsample
    assert glands.progress.tiles_total < nuclei.progress.tiles_total


def test_objects_like_none_are_refused():
    with pytest.raises(InvalidPrompt, match="positive example"):
        RegionRequest(prompting=Prompting.LIKE, examples=(Example((1.0, 1.0), Label.NEGATIVE),))
