"""Malformed requests by the thousand: none is answered with a fault, and later answers are right.

`make fuzz` sends 100,000; in the suite 10,000 are sent. ``QUPATH_SAM_FUZZ`` names another number.
"""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Iterator

import grpc
import pytest
import shapely

from qupath_sam.assets import demo_slide_path
from qupath_sam.server.app import SERVICE_NAME, start_server
from qupath_sam.server.settings import ServerSettings
from qupath_sam.v1 import image_pb2, prompt_pb2
from qupath_sam.v1 import segmentation_service_pb2 as pb

#: Requests of the long test. The seeds are the same for each number: more requests are the same ones and others.
REQUESTS = int(os.environ.get("QUPATH_SAM_FUZZ", "10000"))
METHODS = ["Predict", "Embed", "DescribeImage", "PushPixels"]
#: What a malformed request may be answered with.
EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}


def slide_ref(**fields) -> image_pb2.ImageRef:
    return image_pb2.ImageRef(slide=image_pb2.SlideRef(**fields))


DEMO = slide_ref(path=str(demo_slide_path()))
WKB = shapely.to_wkb(shapely.box(600, 500, 700, 600))
BUILDER = {
    "builderType": "rotated",
    "rotation": "ROTATE_90",
    "builder": {
        "builderType": "uri",
        "providerClassName": "qupath.lib.images.servers.openslide.OpenslideServerBuilder",
        "uri": demo_slide_path().as_uri(),
        "args": [],
        "metadata": {"width": 2220, "height": 2967, "pixelCalibration": {"pixelWidth": {"value": 0.5, "unit": "µm"}}},
    },
}
NUMBERS = [0, -1, 1, 2**31 - 1, -(2**31), float("nan"), float("inf"), -1e308, 1e-320, 0.5, 700.0]
TEXTS = ["", " ", "\0", "..", "//", "file:", "file:///", "file:/%ff", "a::b", "://", "https://", "\ud7ff", "C:",
         "x" * 5000, "file:/a#1", "{", "[]", "null", "\\\\", "memory://a", "/dev/null", "/", "~"]  # fmt: skip
VALUES = [None, True, 1e400, -1, [], {}, "", [[[]]], "rotated", {"builder": {}}, 2**70]


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        kind = rng.randrange(4)
        at = rng.randrange(len(found) + 1)
        if kind == 0 and found:
            found[at % len(found)] = rng.randrange(256)
        elif kind == 1:
            del found[at : at + rng.randint(1, 8)]
        elif kind == 2:
            found[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            found[at:at] = struct.pack("<I", rng.choice([0, 1, 2**31, 2**32 - 1]))
    return bytes(found)


def mutated_json(rng: random.Random, value):
    if rng.random() < 0.15:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        return {key if rng.random() > 0.05 else "x": mutated_json(rng, item) for key, item in value.items()}
    return [mutated_json(rng, item) for item in value] if isinstance(value, list) else value


def number(rng: random.Random) -> float:
    return float(rng.choice(NUMBERS))


def whole(rng: random.Random) -> int:
    return rng.choice([0, -1, 1, 5, 256, 2**31 - 1, -(2**31)])


def image(rng: random.Random) -> image_pb2.ImageRef:
    kind = rng.randrange(6)
    if kind == 0:
        return slide_ref(path=rng.choice(TEXTS))
    if kind == 1:
        return slide_ref(uri=rng.choice(TEXTS))
    if kind == 2:
        return slide_ref(server_builder_json=json.dumps(mutated_json(rng, BUILDER)))
    if kind == 3:
        return image_pb2.ImageRef(pushed=image_pb2.PushedRef(digest=rng.randbytes(rng.choice([0, 31, 32]))))
    if kind == 4:
        return slide_ref(
            path=str(demo_slide_path()), width=whole(rng), height=whole(rng), mpp=number(rng), z=whole(rng)
        )
    return DEMO


def request(rng: random.Random, method: str):
    if method == "DescribeImage":
        return pb.DescribeImageRequest(image=image(rng))
    if method == "PushPixels":
        region = image_pb2.Region(x=whole(rng), y=whole(rng), width=whole(rng), height=whole(rng))
        return pb.PushPixelsRequest(
            format=rng.randrange(5), data=rng.randbytes(rng.choice([0, 12, 75])), pixel_width=whole(rng),
            pixel_height=whole(rng), region=region, image_width=whole(rng), image_height=whole(rng), mpp=number(rng),
        )  # fmt: skip
    window = prompt_pb2.WindowOptions(downsample=number(rng)) if rng.random() < 0.5 else None
    if method == "Embed":
        return pb.EmbedRequest(
            image=image(rng), window=window, mode=rng.randrange(6), max_windows=rng.choice([-1, 1]),
            focus=prompt_pb2.Point(x=number(rng), y=number(rng)), priority=rng.randrange(5),
        )  # fmt: skip
    prompts = prompt_pb2.ObjectPrompts(
        clicks=[prompt_pb2.Click(points=[prompt_pb2.Point(x=number(rng), y=number(rng))], label=rng.randrange(4))],
        outline_wkb=mutated_bytes(rng, WKB) if rng.random() < 0.7 else b"",
        token=rng.randbytes(16),
    )
    output = prompt_pb2.OutputOptions(
        clip_wkb=mutated_bytes(rng, WKB), mask_choice=rng.randrange(7), min_area=number(rng)
    )
    return pb.PredictRequest(
        image=image(rng), objects=[prompts] * rng.randrange(3), window=window, output=output, priority=rng.randrange(5),
        model=rng.choice(["", "fake", "x"]),
    )  # fmt: skip


def attacked(channel: grpc.Channel, count: int, seed: int) -> dict[str, int]:
    """Send malformed requests; how each was answered. Any other answer than `EXPECTED` or success fails."""
    rng, answers = random.Random(seed), {}
    calls = {name: channel.unary_unary(f"/{SERVICE_NAME}/{name}") for name in METHODS}
    pending: list[tuple[bytes, grpc.Future]] = []

    def settle(sent: bytes, future: grpc.Future) -> None:
        code = future.code()
        # Bytes that are no message are gRPC's to refuse, which it does as an INTERNAL of its own.
        no_message = code is grpc.StatusCode.INTERNAL and "deserializing" in future.details()
        assert code is grpc.StatusCode.OK or code in EXPECTED or no_message, (future.details(), sent)
        answers[code.name] = answers.get(code.name, 0) + 1

    for _ in range(count):
        method = rng.choice(METHODS)
        sent = request(rng, method).SerializeToString()
        if rng.random() < 0.3:
            sent = mutated_bytes(rng, sent)
        pending.append((sent, calls[method].future(sent, timeout=120)))
        if len(pending) >= 16:
            settle(*pending.pop(0))
    for item in pending:
        settle(*item)
    return answers


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    settings = ServerSettings(port=0, model="fake", device="cpu")
    with start_server(settings) as server, grpc.insecure_channel(server.address) as channel:
        yield channel


def right_answer(channel: grpc.Channel) -> list[bytes]:
    predict = channel.unary_unary(
        f"/{SERVICE_NAME}/Predict", pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString
    )
    click = prompt_pb2.Click(points=[prompt_pb2.Point(x=700, y=600)], label=prompt_pb2.CLICK_LABEL_POSITIVE)
    asked = pb.PredictRequest(image=DEMO, objects=[prompt_pb2.ObjectPrompts(clicks=[click])])
    return [mask.geometry_wkb for mask in predict(asked, timeout=120).results[0].masks]


def test_malformed_requests_are_answered_and_leave_later_answers_right(channel: grpc.Channel) -> None:
    before = right_answer(channel)
    answers = attacked(channel, 2_000, seed=1)
    assert answers["INVALID_ARGUMENT"] > 200
    assert right_answer(channel) == before


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_thousand_malformed_requests(channel: grpc.Channel) -> None:
    before = right_answer(channel)
    for seed in range(REQUESTS // 1_000):
        attacked(channel, 1_000, seed=100 + seed)
        assert right_answer(channel) == before
