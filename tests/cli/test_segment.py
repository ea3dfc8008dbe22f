"""``segment`` and ``embed`` from the outside."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import shapely
from PIL import Image

from qupath_sam.assets import demo_slide_path
from qupath_sam.cli.prompts import objects_from, parse_box, parse_point, parse_region, read_outlines, refining
from qupath_sam.client import SamClient
from qupath_sam.client.images import Slide
from qupath_sam.client.process import server_process
from qupath_sam.engine.refine_prompts import prompts_from_outline
from qupath_sam.errors import InvalidPrompt, InvalidRegion
from qupath_sam.qupath.geojson import AnnotationFeature, read_geojson, write_geojson
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.results import EmbeddingSource

SLIDE = demo_slide_path()
POINT = "--point", "700.5,600.5"


def test_points_boxes_and_regions_are_read_as_written() -> None:
    assert parse_point("1.5, 2") == Click.at(1.5, 2)
    assert parse_point("1,2,neg") == Click.at(1, 2, Label.NEGATIVE)
    assert parse_point("1,2,pos") == Click.at(1, 2)
    assert parse_box("10,20,30,40") == Box(10, 20, 40, 60)
    assert parse_region("10,20,30,40") == Region(10, 20, 30, 40)


@pytest.mark.parametrize(
    ("parse", "text", "kind"),
    [
        (parse_point, "1", InvalidPrompt),
        (parse_point, "1,2,3", InvalidPrompt),
        (parse_point, "1,two", InvalidPrompt),
        (parse_point, "nan,2", InvalidPrompt),
        (parse_point, "1,2,maybe", InvalidPrompt),
        (parse_box, "1,2,3", InvalidPrompt),
        (parse_box, "1,2,0,4", InvalidPrompt),
        (parse_box, "1,2,-3,4", InvalidPrompt),
        (parse_region, "1,2,3,4,5", InvalidRegion),
        (parse_region, "1,2,0,4", InvalidRegion),
        (parse_region, "", InvalidRegion),
    ],
)
def test_what_cannot_be_read_says_so(parse, text, kind) -> None:
    with pytest.raises(kind):
        parse(text)


def test_clicks_belong_to_one_object_and_boxes_to_one_each() -> None:
    clicks, boxes = [Click.at(1, 1), Click.at(2, 2)], [Box(0, 0, 5, 5), Box(9, 9, 12, 12)]
    assert len(objects_from(clicks, boxes[:1], [])) == 1
    assert len(objects_from([], boxes, [])) == 2
    with pytest.raises(InvalidPrompt, match="one object"):
        objects_from(clicks, boxes, [])
    with pytest.raises(InvalidPrompt, match="--point"):
        objects_from([], [], [])


def test_in_process_and_through_a_server_give_the_same_bits(qupath_sam, server_address) -> None:
    prompts = *POINT, "--point", "760,620", "--point", "650,560,neg", "--simplify", "0.5"
    here = qupath_sam("segment", SLIDE, *prompts, "--model", "fake", "--device", "cpu", "--json")
    there = qupath_sam("segment", SLIDE, *prompts, "--server", server_address, "--json")
    assert (here.code, there.code) == (0, 0), here.stderr + there.stderr
    mine, theirs = json.loads(here.stdout), json.loads(there.stdout)
    for measured in ("total_ms", "machine"):
        assert mine.pop(measured)
        assert theirs.pop(measured)
    assert mine == theirs
    assert mine["objects"][0]["outlines"][0]["area_um2"] > 0
    assert mine["objects"][0]["outlines"][0]["window"] == mine["objects"][0]["window"]


def test_it_writes_what_it_says(qupath_sam, server_address, tmp_path) -> None:
    annotations, overlay = tmp_path / "Läsion 1.geojson", tmp_path / "Läsion 1.png"
    boxes = "--box", "600,500,300,300", "--box", "1190,1960,160,225"
    options = "--server", server_address, "--class", "Tumor", "--name", "here", "-o", annotations, "--overlay", overlay
    done = qupath_sam("segment", SLIDE, *boxes, *options)
    assert done.code == 0, done.stderr
    features = read_geojson(annotations)
    assert [str(f.classification) for f in features] == ["Tumor", "Tumor"]
    assert {f.name for f in features} == {"here"}
    assert all(f.measurements["SAM score"] <= 1 for f in features)
    with Image.open(overlay) as picture:
        assert min(picture.size) > 100


def test_an_overlay_that_cannot_be_drawn_takes_nothing_away(qupath_sam, tmp_path) -> None:
    """The slide is where the server runs, and not here."""
    annotations, overlay = tmp_path / "a.geojson", tmp_path / "a.png"
    with server_process(["--model", "fake", "--path-map", f"/client={SLIDE.parent}"]) as address:
        done = qupath_sam(
            *("segment", f"/client/{SLIDE.name}", *POINT, "--server", address, "-o", annotations, "--overlay", overlay)
        )
    assert done.code == 0, done.stderr
    assert "a.png will not be drawn" in done.stderr
    assert "is not on this machine" in done.stderr
    assert "0.9" in done.stdout
    assert "wrote" in done.stdout
    assert "a.png" not in done.stdout
    assert len(read_geojson(annotations)) == 1
    assert not overlay.exists()


def test_cleaning_is_for_outlines_and_boxes(qupath_sam) -> None:
    done = qupath_sam("segment", SLIDE, *POINT, "--clean", "0.1", "--model", "fake", "--device", "cpu")
    assert done.code == 2
    assert "--clean is a share of an --outline" in done.stderr


def test_an_outline_from_a_file_is_refined(qupath_sam, server_address, tmp_path) -> None:
    outline, clip = tmp_path / "outline.geojson", tmp_path / "clip.geojson"
    write_geojson(outline, [AnnotationFeature(shapely.Point(700, 600).buffer(60))])
    write_geojson(clip, [AnnotationFeature(shapely.box(0, 0, 700, 3000))])
    done = qupath_sam(
        "segment", SLIDE, "--outline", outline, "--clip", clip, "--server", server_address, "--json"
    )  # fmt: skip
    assert done.code == 0, done.stderr
    (found,) = json.loads(done.stdout)["objects"]
    shape = shapely.from_wkt(found["outlines"][0]["wkt"])
    assert shape.bounds[2] <= 700
    assert shape.contains(shapely.Point(680, 600))


@pytest.mark.parametrize("other", [shapely.Point(5, 5), shapely.LineString([(0, 0), (9, 9)])])
def test_a_file_of_outlines_with_something_else_is_refused(other, tmp_path) -> None:
    file = tmp_path / "outline.geojson"
    write_geojson(file, [AnnotationFeature(shapely.box(0, 0, 9, 9)), AnnotationFeature(other)])
    with pytest.raises(InvalidPrompt, match=f"outline.geojson.*is a {other.geom_type}, but only a Polygon"):
        read_outlines(file)


def test_bad_features_are_skipped_where_that_is_asked_for(tmp_path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9]]]}
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2]]]}
    text = {"type": "Feature", "geometry": square, "properties": {"color": "reddish"}}
    point = {"type": "Point", "coordinates": [5, 5]}
    file = tmp_path / "outlines.geojson"
    file.write_text(json.dumps([square, bow_tie, text, {"type": "Feature", "geometry": None}, point]))
    with pytest.raises(InvalidPrompt) as caught:
        read_outlines(file)
    notes: list[str] = []
    assert len(read_outlines(file, skip_bad=True, note=notes.append)) == 2
    for said in (str(caught.value), notes[0]):
        assert all(part in said for part in ("3 of 5", "feature 1: the geometry is not valid", "feature 3", "a Point"))
    assert "colour 'reddish'" in notes[1]


def test_an_outline_is_asked_about_as_in_a_project(qupath_sam, server_address, tmp_path) -> None:
    rough = shapely.Point(700, 600).buffer(60)
    project = prompts_from_outline(rough, Region(0, 0, 2220, 2967))
    (asked,) = refining([ObjectPrompts(outline=rough)], lambda: Region(0, 0, 2220, 2967))
    assert asked == project
    assert len(project.clicks) == 1
    file = tmp_path / "outline.geojson"
    write_geojson(file, [AnnotationFeature(rough)])
    (as_written,) = read_geojson(file)
    with SamClient(server_address) as client:
        prompts = prompts_from_outline(as_written.geometry, Region(0, 0, 2220, 2967))
        (wanted,) = client.predict(Slide(SLIDE), [prompts]).results
    for where in (("--server", server_address), ("--model", "fake", "--device", "cpu")):
        done = qupath_sam("segment", SLIDE, "--outline", file, *where, "--json")
        assert done.code == 0, done.stderr
        (found,) = json.loads(done.stdout)["objects"]
        assert found["outlines"][0]["wkt"] == wanted.outlines[0].geometry.wkt


def test_own_clicks_take_the_place_of_the_point() -> None:
    rough, click = shapely.box(10, 10, 90, 50), Click.at(20, 20, Label.NEGATIVE)
    image = Region(0, 0, 100, 100)
    (asked,) = refining([ObjectPrompts((click,), outline=rough)], lambda: image)
    assert asked == replace(prompts_from_outline(rough, image), clicks=(click,))
    (bare,) = refining([ObjectPrompts(outline=rough)], lambda: image, interior=0)
    assert bare == replace(prompts_from_outline(rough, image), clicks=())
    with pytest.raises(InvalidPrompt, match="outside the image"):
        refining([ObjectPrompts(outline=rough)], lambda: Region(0, 0, 9, 9))

    def unwanted() -> Region:
        raise AssertionError("the image was looked at without need")

    boxed = [ObjectPrompts(box=Box(0, 0, 5, 5))]
    assert refining(boxed, unwanted) == boxed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((SLIDE,), "--point"),
        ((SLIDE, "--point", "1"), "a point is X,Y"),
        ((SLIDE, "--box", "1,2,3"), "a box is X,Y,WIDTH,HEIGHT"),
        ((SLIDE, *POINT, "--region", "1,2,3"), "a region is X,Y,WIDTH,HEIGHT"),
        ((SLIDE, *POINT, "--downsample", "2", "--mpp", "1"), "not both"),
        ((SLIDE, "--point", "-5,10"), "outside the image"),
        ((SLIDE, "--point", "5,10,neg"), "first click"),
        ((SLIDE, *POINT, "--model", "vit-b"), "models list"),
        ((SLIDE, *POINT, "--server", "127.0.0.1:1"), "qupath-sam serve"),
        (("no such slide.svs", *POINT), "no such slide.svs"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(qupath_sam, arguments, said) -> None:
    done = qupath_sam("segment", *arguments)
    assert done.code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not done.stdout


def test_embed_fills_a_folder_and_finds_it_full_the_second_time(qupath_sam, tmp_path) -> None:
    folder = tmp_path / "embeddings"
    request = "embed", SLIDE, "--folder", folder, "--model", "fake", "--region", "600,500,400,400", "--json"
    first, second = (qupath_sam(*request) for _ in range(2))
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    filled, found = json.loads(first.stdout), json.loads(second.stdout)
    assert filled["encoded"] == filled["windows"] > 0
    assert filled["already_there"] == 0
    assert (found["encoded"], found["already_there"]) == (0, filled["windows"])


def test_embed_fills_a_server_as_a_batch(qupath_sam, server_address) -> None:
    request = "embed", SLIDE, "--server", server_address, "--region", "1600,1500,400,400", "--json"
    first, second = (qupath_sam(*request) for _ in range(2))
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    filled, found = json.loads(first.stdout), json.loads(second.stdout)
    assert filled["encoded"] == filled["windows"] > 0
    assert (found["encoded"], found["already_there"]) == (0, filled["windows"])
    assert qupath_sam("embed", SLIDE, "--tissue").code == 2  # neither a folder nor a server


def test_embed_on_a_server_finds_the_windows_that_clicks_use(qupath_sam, server_address) -> None:
    with SamClient(server_address) as client:
        qupath_sam("embed", SLIDE, "--server", server_address, "--region", "600,2500,300,300", "--downsample", "2")
        click = ObjectPrompts((Click.at(700, 2600),))
        result = client.predict(Slide(SLIDE), [click], window=WindowRequest(downsample=2)).results[0]
    assert result.embedding_source is EmbeddingSource.MEMORY


def test_embed_leaves_out_the_glass(qupath_sam, tmp_path) -> None:
    common = "embed", SLIDE, "--model", "fake", "--downsample", "2", "--json"
    everything = qupath_sam(*common, "--folder", tmp_path / "a", "--region", "0,0,2220,2967")
    tissue = qupath_sam(*common, "--folder", tmp_path / "b", "--tissue")
    assert 0 < json.loads(tissue.stdout)["windows"] < json.loads(everything.stdout)["windows"]


def test_embed_wants_to_know_what(qupath_sam, tmp_path) -> None:
    for arguments in ((), ("--tissue", "--region", "0,0,9,9")):
        done = qupath_sam("embed", SLIDE, "--folder", tmp_path, *arguments)
        assert done.code == 2
        assert "--region" in done.stderr
