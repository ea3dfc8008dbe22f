"""What strangers may send: refused with its own reason, soon, and without harm to others. Raw messages."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import grpc
import pytest
import shapely

from qupath_sam.assets import demo_slide_path
from qupath_sam.protocol.status import ERROR_METADATA
from qupath_sam.v1 import error_pb2, image_pb2, prompt_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb
from qupath_sam.v1 import segmentation_service_pb2_grpc as pb_grpc

TIMEOUT_S = 30
SLIDE = image_pb2.ImageRef(slide=image_pb2.SlideRef(path=str(demo_slide_path())))


@pytest.fixture(scope="module")
def stub(server) -> Iterator[pb_grpc.SegmentationServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield pb_grpc.SegmentationServiceStub(channel)


def reason_of(call, request) -> str:
    """The reason for which a call is refused, without its prefix."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT_S)
    trailers = dict(caught.value.trailing_metadata())
    assert ERROR_METADATA in trailers, caught.value
    info = error_pb2.ErrorInfo.FromString(trailers[ERROR_METADATA])
    assert info.message == caught.value.details()
    return error_pb2.ErrorReason.Name(info.reason).removeprefix("ERROR_REASON_")


def click(x: float, y: float, label: int = prompt_pb2.CLICK_LABEL_POSITIVE) -> prompt_pb2.Click:
    return prompt_pb2.Click(points=[prompt_pb2.Point(x=x, y=y)], label=label)


def predict(*clicks: prompt_pb2.Click, image=SLIDE, window=None, output=None, **prompts) -> pb.PredictRequest:
    objects = [prompt_pb2.ObjectPrompts(clicks=clicks, **prompts)]
    return pb.PredictRequest(image=image, objects=objects, window=window, output=output)


def slide_with(**fields) -> image_pb2.ImageRef:
    return image_pb2.ImageRef(slide=image_pb2.SlideRef(path=str(demo_slide_path()), **fields))


def header(kind: int, count: int) -> bytes:
    return struct.pack("<BII", 1, kind, count)


NESTED_COLLECTIONS = header(7, 1) * 200_000
NESTED_MULTIPOLYGONS = header(6, 1) * 200_000
SECOND_PART_NESTED = header(6, 2) + shapely.to_wkb(shapely.box(0, 0, 9, 9)) + NESTED_MULTIPOLYGONS


@pytest.mark.parametrize(
    "wkb",
    [
        NESTED_COLLECTIONS,
        NESTED_MULTIPOLYGONS,
        SECOND_PART_NESTED,
        header(10, 0),
        header(3, 2**32 - 1),
        header(6, 2**32 - 1),
        b"\x07" + header(3, 0)[1:],
        b"\x01",
        shapely.to_wkb(shapely.GeometryCollection([shapely.box(0, 0, 9, 9)])),
        shapely.to_wkb(shapely.MultiPolygon()),
    ],
    ids=[
        "nested", "nested multi", "second part nested", "curve", "rings lie", "parts lie", "order", "short",
        "collection", "empty",
    ],
)  # fmt: skip
def test_an_outline_that_is_no_polygon_is_refused_and_harms_nobody(stub, wkb):
    assert reason_of(stub.Predict, predict(outline_wkb=wkb)) == "INVALID_PROMPT"
    clipped = predict(click(700, 600), output=prompt_pb2.OutputOptions(clip_wkb=wkb))
    assert reason_of(stub.Predict, clipped) == "INVALID_PROMPT"


@pytest.mark.parametrize("flavor", ["extended", "iso"])
@pytest.mark.parametrize("byte_order", [0, 1])
def test_every_dialect_of_wkb_is_understood(stub, flavor, byte_order):
    parts = shapely.MultiPolygon([shapely.box(600, 500, 700, 600).difference(shapely.box(640, 540, 660, 560)),
                                  shapely.box(710, 500, 800, 600)])  # fmt: skip
    for outline in (parts, shapely.force_3d(parts, 5.0)):
        wkb = shapely.to_wkb(outline, flavor=flavor, byte_order=byte_order)
        assert stub.Predict(predict(outline_wkb=wkb), timeout=TIMEOUT_S).results[0].masks
    with_system = shapely.to_wkb(shapely.set_srid(parts, 4326), include_srid=True)
    assert stub.Predict(predict(outline_wkb=with_system), timeout=TIMEOUT_S).results[0].masks


def test_an_outline_beyond_a_million_vertices_is_too_large(stub):
    ring = struct.pack("<BIII", 1, 3, 1, 1_100_000) + bytes(16 * 1_100_000)
    assert reason_of(stub.Predict, predict(outline_wkb=ring)) == "TOO_LARGE"


NUMBERS = [math.nan, math.inf, -math.inf, -1.0, 1e308, -1e308]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_pixel_size_must_be_a_number_that_images_have(stub, number):
    image = slide_with(mpp=number)
    if math.isfinite(number) and number > 0:
        answer = stub.Predict(predict(click(700, 600), image=image), timeout=TIMEOUT_S)
        assert not answer.provenance.HasField("mpp")
        assert not answer.results[0].masks[0].HasField("area_um2")
        assert any("um per px" in remark for remark in answer.provenance.remarks)
        return
    assert reason_of(stub.Predict, predict(click(700, 600), image=image)) == "INVALID_REQUEST"
    assert reason_of(stub.DescribeImage, pb.DescribeImageRequest(image=image)) == "INVALID_REQUEST"
    assert reason_of(stub.Embed, pb.EmbedRequest(image=image, max_windows=1)) == "INVALID_REQUEST"


def test_a_slide_is_believed_to_have_a_width_and_a_height_or_neither(stub):
    for size in ({"width": 5}, {"height": 5}, {"width": -1, "height": -1}):
        request = pb.DescribeImageRequest(image=slide_with(**size))
        assert reason_of(stub.DescribeImage, request) == "INVALID_REQUEST"


@pytest.mark.parametrize("downsample", [*NUMBERS, 0.0, 1e-320, 1e-9, 1e-3, 1e9])
def test_a_scale_must_be_one_that_can_be_read(stub, downsample):
    for scale in ({"downsample": downsample}, {"mpp": downsample}):
        window = prompt_pb2.WindowOptions(**scale)
        assert reason_of(stub.Predict, predict(click(700, 600), window=window)) == "INVALID_REGION"
        assert reason_of(stub.Embed, pb.EmbedRequest(image=SLIDE, window=window)) == "INVALID_REGION"


@pytest.mark.parametrize("view", [1e-320, 1e308])
def test_any_view_is_a_hint_only(stub, view):
    request = predict(click(700, 600), window=prompt_pb2.WindowOptions(view_downsample=view))
    assert stub.Predict(request, timeout=TIMEOUT_S).results[0].masks


def test_the_windows_of_a_view_are_chosen_without_listing_all_of_them(stub):
    window = prompt_pb2.WindowOptions(downsample=0.01)
    request = pb.EmbedRequest(image=SLIDE, window=window, mode=pb.EMBED_MODE_QUERY, max_windows=2**31 - 1)
    answer = stub.Embed(request, timeout=TIMEOUT_S)
    assert len(answer.embeddings) == 1024


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": 77},
        {"max_windows": -1},
        {"focus": prompt_pb2.Point(x=math.nan)},
        {"focus": prompt_pb2.Point(y=math.inf)},
    ],
)
def test_an_embed_that_means_nothing_is_refused(stub, fields):
    assert reason_of(stub.Embed, pb.EmbedRequest(image=SLIDE, **fields)) == "INVALID_REQUEST"


def test_more_points_than_a_model_can_take_are_too_large(stub):
    points = [prompt_pb2.Point(x=700, y=600)] * 100_000
    scribble = prompt_pb2.Click(points=points, label=prompt_pb2.CLICK_LABEL_POSITIVE)
    assert reason_of(stub.Predict, predict(scribble)) == "TOO_LARGE"
    assert reason_of(stub.Predict, predict(*[click(700, 600)] * 100_000)) == "TOO_LARGE"
    assert stub.GetCapabilities(pb.GetCapabilitiesRequest()).max_points == 1024


@pytest.mark.parametrize("letter", ["x", "ä", "病", "\U0001f52c", "\n"])
def test_an_error_about_something_long_still_arrives(stub, letter):
    long = letter * 300_000
    assert reason_of(stub.Predict, pb.PredictRequest(image=SLIDE, model=long, objects=[])) == "INVALID_PROMPT"
    named = prompt_pb2.ObjectPrompts(clicks=[click(1e6, 1)], object_id=long)
    assert reason_of(stub.Predict, pb.PredictRequest(image=SLIDE, objects=[named])) == "INVALID_PROMPT"
    request = predict(click(700, 600))
    request.model = long
    assert reason_of(stub.Predict, request) == "UNKNOWN_MODEL"
    image = image_pb2.ImageRef(slide=image_pb2.SlideRef(path="/" + long))
    assert reason_of(stub.DescribeImage, pb.DescribeImageRequest(image=image)) == "SLIDE_NOT_FOUND"


@pytest.mark.parametrize("length", [0, 31, 33, 100_000])
def test_a_digest_has_the_length_of_a_digest(stub, length):
    image = image_pb2.ImageRef(pushed=image_pb2.PushedRef(digest=bytes(length)))
    assert reason_of(stub.Predict, predict(click(1, 1), image=image)) == "INVALID_REQUEST"


@pytest.mark.parametrize("mpp", [math.nan, math.inf, -1.0])
def test_pushed_pixels_have_a_size_that_is_a_number(stub, mpp):
    request = pb.PushPixelsRequest(
        format=image_pb2.PIXEL_FORMAT_RAW_RGB, data=bytes(12), pixel_width=2, pixel_height=2, image_width=2,
        image_height=2, region=image_pb2.Region(width=2, height=2), mpp=mpp,
    )  # fmt: skip
    assert reason_of(stub.PushPixels, request) == "INVALID_REQUEST"
