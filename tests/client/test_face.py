"""The package as a notebook uses it: the same lines for the engine in this process and for a server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from shapely.geometry import shape

import qupath_sam
from qupath_sam import (
    Box,
    Client,
    Effort,
    EmbedMode,
    EngineSettings,
    GridOptions,
    Live,
    LocalClient,
    ObjectPrompts,
    Region,
    RegionRequest,
    SamClient,
    Slide,
    demo_slide_path,
)
from qupath_sam.client.live import LiveClient
from qupath_sam.client.local import LocalLive
from qupath_sam.client.messages import image_message
from qupath_sam.errors import Cancelled, InvalidRequest, MissingPackage, PixelsMissing, SlideNotFound
from qupath_sam.server.app import start_server
from qupath_sam.server.settings import ServerSettings

BOXES = [(1215, 906, 1240, 926), (1209, 871, 1233, 893)]


@pytest.fixture(scope="module", params=["here", "on a server"])
def sam(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "here":
        with LocalClient(EngineSettings(model="fake", device="cpu")) as local:
            yield local
    else:
        # Its own: the steps that are resumed are counted, and a shared server holds those of other tests.
        settings = ServerSettings(port=0, model="fake", device="cpu")
        with start_server(settings) as server, SamClient(server.address) as client:
            yield client


def test_the_lines_of_the_readme(sam: Client, tmp_path: Path) -> None:
    slide = sam.open(demo_slide_path())
    nucleus = slide.segment(Box(1215, 906, 1240, 926))
    assert 0 < nucleus.score <= 1
    assert nucleus.area_um2 == pytest.approx(nucleus.area_px2 * 0.499**2, rel=0.01)
    assert nucleus.geometry.intersects(shape({"type": "Point", "coordinates": (1227, 916)}))

    first = slide.click(700.5, 600.5)
    second = first.click(760.5, 620.5)
    third = second.click(650.5, 560.5, positive=False)
    assert [each.result.resumed_steps for each in (first, second, third)] == [0, 1, 2], "the token was kept"
    assert len(third.prompts.clicks) == 3
    assert len(first.prompts.clicks) == 1, "an earlier answer stays as it was"

    many = slide.segment_many(BOXES, path_class="Tumor")
    assert len(many) == len(list(many)) == 2
    assert many[1].geometry.equals(slide.segment(Box(*BOXES[1])).geometry)
    many.to_geojson(tmp_path / "tumor.geojson")
    features = json.loads((tmp_path / "tumor.geojson").read_text("utf-8"))["features"]
    assert [feature["properties"]["classification"]["name"] for feature in features] == ["Tumor"] * 2
    assert shape(features[0]["geometry"]).area == pytest.approx(many[0].area_px2)

    picture = Picture.open(io.BytesIO(third._repr_png_()))
    assert max(picture.size) <= 800


def test_an_array_is_an_image(sam: Client) -> None:
    pixels = np.full((300, 400, 3), 240, np.uint8)
    pixels[100:160, 150:230] = (120, 40, 130)
    image = sam.open(pixels, mpp=0.5)
    found = image.segment(Box(140, 90, 240, 170))
    assert found.area_um2 == pytest.approx(found.area_px2 / 4)
    described = sam.describe(image.ref)
    assert (described.width, described.height, described.mpp) == (400, 300, 0.5)
    drawn = np.asarray(Picture.open(io.BytesIO(found._repr_png_())))
    assert (drawn == (120, 40, 130)).all(axis=2).any(), "drawn on the image's own pixels"
    with pytest.raises(InvalidRequest, match=r"uint8 \(H, W, 3\)"):
        sam.open(pixels.astype(np.float32))
    with pytest.raises(PixelsMissing):
        sam.describe(qupath_sam.Pushed(bytes(32)))


def test_models_windows_ahead_and_live_clicks(sam: Client) -> None:
    models = sam.models()
    assert models[0].name == "fake"
    assert models[0].available
    slide, view = Slide(demo_slide_path()), Region(1000, 1800, 500, 500)
    wanted = sam.embed(slide, view=view, mode=EmbedMode.QUERY)
    assert wanted
    assert all(status.ready for status in sam.embed(slide, view=view, mode=EmbedMode.WAIT))
    assert all(status.ready for status in sam.embed(slide, view=view, mode=EmbedMode.QUERY))
    with sam.live() as live:
        asked = [
            live.predict(slide, [ObjectPrompts(box=Box(x, 900, x + 40, 940))], supersedes_key="hover")
            for x in range(1000, 1400, 40)
        ]
        ahead = live.embed(slide, view=view)
        assert asked[-1].result(60).results, "the newest is answered"
        for older in asked[:-1]:
            try:
                older.result(60)
            except Cancelled:
                continue
        assert [status.ready for status in ahead.result(60)] == [True] * len(wanted)


def test_what_is_not_there_is_said_alike(sam: Client) -> None:
    with pytest.raises(SlideNotFound):
        sam.open("no such slide.svs").segment(Box(0, 0, 10, 10))


def test_geopandas(sam: Client) -> None:
    many = sam.open(demo_slide_path()).segment_many(BOXES, path_class="Tumor")
    try:
        import geopandas  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPackage, match="pip install geopandas"):
            many.to_geopandas()
    else:
        frame = many.to_geopandas()
        assert list(frame["path_class"]) == ["Tumor"] * 2
        assert frame.geometry.area.iloc[0] == pytest.approx(many[0].area_px2)


def test_both_clients_have_all_of_the_interface() -> None:
    for protocol, kinds in ((Client, (LocalClient, SamClient)), (Live, (LocalLive, LiveClient))):
        names = {name for name in vars(protocol) if not name.startswith("_")}
        assert names
        for kind in kinds:
            assert names <= {name for name in dir(kind) if not name.startswith("_")}, kind


def test_no_message_of_the_protocol_is_in_a_public_signature() -> None:
    for name in qupath_sam.__all__:
        kind = getattr(qupath_sam, name)
        members = vars(kind).items() if isinstance(kind, type) else [(name, kind)]
        for member, value in members:
            hints = getattr(value, "__annotations__", {})
            if not member.startswith("_"):
                assert not [hint for hint in hints.values() if "pb" in str(hint).lower()], f"{name}.{member}"


def test_all_is_exhaustive_and_loads_nothing_before_it_is_used() -> None:
    code = (
        "import sys, qupath_sam\n"
        "assert not {'torch', 'grpc', 'numpy', 'shapely'} & sys.modules.keys()\n"
        "from qupath_sam import SamClient, Client, Box, SegmentedObject\n"
        "assert not {'torch', 'tiffslide', 'PIL', 'scipy'} & sys.modules.keys(), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
    for name in qupath_sam.__all__:
        assert getattr(qupath_sam, name) is not None
    assert set(qupath_sam.__all__) == {*qupath_sam._MODULES, "__version__"}
    assert set(qupath_sam.__all__) <= set(dir(qupath_sam))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        qupath_sam.Nothing  # noqa: B018
    public = {hint for hint in typing.get_type_hints(qupath_sam.SegmentedObject).values() if isinstance(hint, type)}
    ours = {kind.__name__ for kind in public if kind.__module__.startswith("qupath_sam")}
    assert ours <= set(qupath_sam.__all__), "what public values are made of is public"


def test_a_relative_path_is_made_absolute_and_others_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert image_message(Slide("a.svs")).slide.path == str(tmp_path / "a.svs")
    assert image_message(Slide(Path("b") / "a.svs")).slide.path == str(tmp_path / "b" / "a.svs")
    for text in ("/slides/a.svs", "C:\\slides\\a.svs", "\\\\server\\share\\a.svs"):
        assert image_message(Slide(text)).slide.path == text
    assert image_message(Slide("https://host/a.svs")).slide.uri == "https://host/a.svs"


def test_all_objects_of_a_region_come_in_batches(sam: Client) -> None:
    slide = sam.open(demo_slide_path(), model="fake")
    grid = GridOptions(spacing=20.0, min_stability=0.5)
    first, *batches = slide.segment_region(Region(1000, 1000, 150, 150), grid=grid, effort=Effort.FAST)
    assert first.provenance is not None
    assert first.provenance.model == "fake"
    found = [each for batch in batches for each in batch.objects]
    assert [each.number for each in found] == list(range(len(found)))
    assert found
    assert all(each.geometry.area == pytest.approx(each.outline.area_px2) for each in found)
    assert batches[-1].progress.is_finished
    request = RegionRequest(Region(1000, 1000, 150, 150), grid=grid)
    again = [each for batch in slide.segment_region(request, effort=Effort.FAST) for each in batch.objects]
    assert [each.geometry for each in again] == [each.geometry for each in found]
