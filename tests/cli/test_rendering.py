"""``--channels``, ``--range`` and ``--display`` from the outside, here and through a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qupath_sam.cli.rendering import parse_rendering
from qupath_sam.client import SamClient, Slide
from qupath_sam.errors import InvalidRequest
from qupath_sam.protocol.rendering import rendering_message, rendering_of
from qupath_sam.slides.rendering import ChannelDisplay, Rendering
from tests.slides.test_rendering import NAMES, SETTINGS, write_ome


@pytest.mark.parametrize(
    ("channels", "ranges", "expected"),
    [
        ([], [], None),
        ([], ["0,100"], Rendering(low=0, high=100)),
        (["1,3"], [], Rendering((ChannelDisplay(0), ChannelDisplay(2)))),
        (["DAPI", "3"], ["0,9"], Rendering((ChannelDisplay("DAPI", 0, 9), ChannelDisplay(2, 0, 9)))),
        (
            ["DAPI=0000ff, 2"],
            ["0,9", "1,5.5"],
            Rendering((ChannelDisplay("DAPI", 0, 9, 255), ChannelDisplay(1, 1, 5.5))),
        ),
    ],
)
def test_options(channels: list[str], ranges: list[str], expected: Rendering | None) -> None:
    assert parse_rendering(channels, ranges, None) == expected


@pytest.mark.parametrize(
    ("channels", "ranges", "words"),
    [
        (["0"], [], "counted from 1"),
        (["1"], ["5"], "LOW,HIGH"),
        (["1"], ["5,1"], "the lower one"),
        (["1,2,3"], ["0,1", "0,2"], "3 channels and 2 ranges"),
        ([], ["0,1", "0,2"], "need --channels"),
    ],
)
def test_options_that_say_nothing(channels: list[str], ranges: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_rendering(channels, ranges, None)


@pytest.mark.parametrize(
    "rendering",
    [
        Rendering(),
        Rendering(low=-1, high=2),
        Rendering((ChannelDisplay(0), ChannelDisplay("b", 0, 1, 0), ChannelDisplay(4, color=0xFFFFFF)), 3, 4),
    ],
)
def test_the_protocol_carries_it_whole(rendering: Rendering) -> None:
    assert rendering_of(rendering_message(rendering)) == rendering


def test_fluorescence_is_segmented_here_and_there(qupath_sam, server_address, tmp_path: Path) -> None:
    slide = write_ome(tmp_path / "a.ome.tif")
    asked = "--box", "20,20,40,40", "--channels", "DAPI", "--range", "0,4095", "--json"
    here = qupath_sam("segment", slide, *asked, "--model", "fake", "--overlay", tmp_path / "o.png")
    there = qupath_sam("segment", slide, *asked, "--server", server_address)
    assert (here.code, there.code) == (0, 0), here.stderr + there.stderr
    for answer in (here, there):
        told = json.loads(answer.stdout)
        assert "DAPI 0 to 4095 in #ffffff" in told["pixels"]
        assert told["remarks"] == []
    assert json.loads(here.stdout)["objects"] == json.loads(there.stdout)["objects"]
    with SamClient(server_address) as client:
        described = client.describe(Slide(slide, rendering=Rendering(low=0, high=9)))
        assert list(described.channels) == NAMES
        assert (described.size_z, described.size_t) == (1, 1)


def test_display_settings_of_qupath(qupath_sam, tmp_path: Path) -> None:
    slide = write_ome(tmp_path / "a.ome.tif")
    (tmp_path / "mine.json").write_text(json.dumps(SETTINGS))
    asked = "segment", slide, "--box", "20,20,40,40", "--model", "fake", "--display", tmp_path / "mine.json"
    answer = qupath_sam(*asked, "--json")
    assert answer.code == 0, answer.stderr
    assert "PanCK 10 to 500 in #ff0000" in json.loads(answer.stdout)["pixels"]
    refused = qupath_sam(*asked, "--range", "0,1")
    assert (refused.code, "leave these out" in refused.stderr) == (2, True)


def test_an_unknown_channel_names_those_there_are(qupath_sam, tmp_path: Path) -> None:
    slide = write_ome(tmp_path / "a.ome.tif")
    answer = qupath_sam("segment", slide, "--box", "20,20,40,40", "--model", "fake", "--channels", "GFP")
    assert answer.code == 2
    assert "1 'DAPI'" in answer.stderr


def test_channels_are_encoded_ahead(qupath_sam, tmp_path: Path) -> None:
    slide = write_ome(tmp_path / "a.ome.tif")
    asked = "embed", slide, "--folder", tmp_path / "kept", "--region", "0,0,128,96", "--model", "fake", "--json"
    for range_, encoded in (("0,100", 1), ("0,100", 0), ("0,200", 1)):
        answer = qupath_sam(*asked, "--channels", "1", "--range", range_)
        assert answer.code == 0, answer.stderr
        assert (json.loads(answer.stdout)["encoded"] > 0) == bool(encoded)


def test_a_missing_pixel_size_is_told_before_a_model_is_loaded(qupath_sam, tmp_path: Path) -> None:
    """A model whose weights are not there would be told of first, if it were looked for first."""
    slide = write_ome(tmp_path / "a.ome.tif")
    for command in (("segment", slide, "--box", "20,20,40,40"), ("embed", slide, "--folder", tmp_path, "--tissue")):
        answer = qupath_sam(*command, "--mpp", "0.5", "--model", "sam_vit_h")
        assert answer.code == 2
        assert "no pixel size" in answer.stderr
