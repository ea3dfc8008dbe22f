"""Whole slides: annotation files in their own formats, and patches cut as the papers cut them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from shapely.geometry import Polygon, box

from qupath_sam.datasets import open_dataset
from qupath_sam.datasets.annotated import AnnotationChoices
from qupath_sam.datasets.annotations import imagescope_mpp, read_asap, read_imagescope, union_of
from qupath_sam.datasets.objects import Selection
from qupath_sam.datasets.options import Target
from qupath_sam.datasets.painting import paint
from qupath_sam.datasets.patches import AnnotatedSlide, Cut, cut_slides, patches
from qupath_sam.errors import InvalidRequest
from qupath_sam.types.regions import Region
from tests.evaluation.pictures import save


def coordinates(points) -> str:
    return "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points))


def asap(*annotations: tuple[str, list[tuple[float, float]]]) -> str:
    """As CAMELYON16's ``tumor_001.xml``."""
    body = "".join(
        f'<Annotation Name="Annotation {i}" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{coordinates(points)}</Coordinates></Annotation>"
        for i, (group, points) in enumerate(annotations)
    )
    groups = "".join(
        f'<Group Name="{g}" PartOfGroup="None" Color="#00ff00"><Attributes/></Group>' for g in ("_0", "_1", "_2")
    )
    return (
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{body}</Annotations>'
        f"<AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>"
    )


def imagescope(*annotations: tuple[int, list[tuple[bool, list[tuple[float, float]]]]]) -> str:
    """As PAIP2019's XML: Annotation 1 is the whole tumour, 2 the viable one; NegativeROA regions are holes."""
    body = ""
    for number, regions in annotations:
        inner = "".join(
            f'<Region Id="{i}" NegativeROA="{int(negative)}"><Vertices>'
            + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
            + "</Vertices></Region>"
            for i, (negative, points) in enumerate(regions, start=1)
        )
        body += f'<Annotation Id="{number}"><Regions>{inner}</Regions></Annotation>'
    return f'<Annotations MicronsPerPixel="0.502">{body}</Annotations>'


def square(x: float, y: float, side: float) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def write_tiff(path: Path, size: tuple[int, int], mpp: float, *, description: str | None = None) -> None:
    """A tiled TIFF with a pixel size; every pixel's red is its column / 16, its green its row / 16."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    pixels = np.dstack([columns // 16, rows // 16, np.full_like(rows, 7)]).astype(np.uint8)
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        description=description,
        resolution=(1e4 / mpp, 1e4 / mpp),
        resolutionunit="CENTIMETER",
        metadata=None,
    )


def test_camelyon16(tmp_path) -> None:
    """At x10 a 0.25 um/px slide is read at downsample 4: a patch of 400 px covers 1600 px."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    write_tiff(tmp_path / "images" / "tumor_001.tif", (1700, 3300), 0.243)
    tumour, hole = square(800, 0, 1600), square(1000, 400, 400)
    (tmp_path / "annotations" / "tumor_001.xml").write_text(asap(("_0", tumour), ("_2", hole)), encoding="utf-8")
    dataset = open_dataset(f"camelyon16-x10:{tmp_path}")
    assert (dataset.target, dataset.crop, dataset.min_area) == (Target.REGION, None, 1)
    assert [t.image_id for t in dataset.tiles] == ["tumor_001.tif@x10/0,0", "tumor_001.tif@x10/1600,0"]
    left, right = dataset.tiles
    assert (left.group, left.mpp, left.split) == ("tumor_001", 1.0, None)
    expected = np.zeros((400, 400), bool)
    expected[:, 200:] = True
    expected[100:200, 250:350] = False
    assert np.array_equal(left.read_labels() > 0, expected)
    pixels = right.read_pixels()
    assert pixels.shape == (400, 400, 3)
    assert abs(int(pixels[200, 200, 0]) - (1600 + 800) // 16) <= 1, "the patch shows its own place of the slide"
    view = Selection(target=dataset.target).view(left)
    assert len(view.objects) == 1


def test_camelyon16_at_x5_covers_twice_as_much(tmp_path) -> None:
    write_tiff(tmp_path / "tumor_002.tif", (3300, 3300), 0.25)
    (tmp_path / "tumor_002.xml").write_text(asap(("Tumor", square(0, 0, 2000))), encoding="utf-8")
    (tile,) = open_dataset(f"camelyon16-x5:{tmp_path}").tiles
    assert tile.mpp == 2.0
    assert (tile.read_labels() > 0).sum() == 250**2


def test_paip2019(tmp_path) -> None:
    """An Aperio slide of x20 with ImageScope XML beside it; the masks that come with it are passed over."""
    folder = tmp_path / "Training_phase_1_001"
    folder.mkdir()
    aperio = "Aperio Image Library v12.0.16\r\n1700x1700 [0,0 1700x1700] (256x256)|AppMag = 20|MPP = 0.5021"
    write_tiff(folder / "01_01_0083.svs", (1700, 1700), 0.5021, description=aperio)
    tifffile.imwrite(folder / "01_01_0083_viable.tif", np.zeros((16, 16), np.uint8))
    whole, viable, hole = square(0, 0, 1280), square(0, 0, 800), square(400, 400, 80)
    (folder / "01_01_0083.xml").write_text(
        imagescope((1, [(False, whole)]), (2, [(False, viable), (True, hole)])), encoding="utf-8"
    )
    (tile,) = open_dataset(f"paip2019-x5:{tmp_path}").tiles
    assert (tile.group, tile.mpp) == ("01_01_0083", 2.0)
    expected = np.zeros((400, 400), bool)
    expected[:200, :200] = True
    expected[100:120, 100:120] = False
    assert np.array_equal(tile.read_labels() > 0, expected)
    whole_tumour = open_dataset(f"paip2019-whole-x5:{tmp_path}")
    assert (whole_tumour.tiles[0].read_labels() > 0).sum() == 320**2
    names = [f"{tmp_path.name}-x5", f"{tmp_path.name}-paip2019-whole-x5"]
    assert [open_dataset(f"paip2019-x5:{tmp_path}").name, whole_tumour.name] == names, "both can be evaluated at once"


def test_slide_with_geojson(tmp_path, shared_data) -> None:
    """A real Aperio slide of 0.499 um/px: at x5 the one patch on its grid of whole patches."""
    slide = tmp_path / "CMU-1-Small-Region.svs"
    slide.write_bytes((shared_data / "slides" / slide.name).read_bytes())
    feature = {
        "type": "Feature",
        "geometry": json.loads(shapely.to_geojson(box(0, 0, 1200, 1000))),
        "properties": {"classification": {"name": "Tumor"}},
    }
    collection = {"type": "FeatureCollection", "features": [feature]}
    slide.with_suffix(".geojson").write_text(json.dumps(collection), encoding="utf-8")
    (tile,) = open_dataset(f"geojson-x5:{tmp_path}").tiles
    assert (tile.read_labels() > 0).sum() == 300 * 250
    assert tile.read_pixels().std() > 5, "tissue, not a blank"


def test_of_geojson_the_wanted_annotations_are_the_target(tmp_path) -> None:
    """As QuPath exports it: detections, and what QuPath ignores, are no tumour."""

    def feature(shape, name: str, kind: str = "annotation") -> dict:
        properties = {"objectType": kind, "classification": {"name": name}}
        return {"type": "Feature", "geometry": json.loads(shapely.to_geojson(shape)), "properties": properties}

    write_tiff(tmp_path / "a.tif", (900, 900), 0.5)
    features = [
        *(feature(box(0, 0, 400, 800), "Tumor"), feature(box(600, 0, 700, 100), "Stroma")),
        *(feature(box(0, 0, 800, 800), "Region*"), feature(box(500, 500, 510, 510), "Tumor", "detection")),
    ]
    collection = {"type": "FeatureCollection", "features": features}
    (tmp_path / "a.geojson").write_text(json.dumps(collection), encoding="utf-8")

    def area(**choices) -> int:
        (tile,) = open_dataset(f"geojson-x10:{tmp_path}", annotations=AnnotationChoices(**choices)).tiles
        return int((tile.read_labels() > 0).sum())

    assert area() == 200 * 400 + 50 * 50
    assert area(classes=("Tumor",)) == 200 * 400
    with pytest.raises(InvalidRequest, match="a scale and a target of its own"):
        area(mpp=2)


def write_geojson(path: Path, *shapes: Polygon) -> None:
    """As QuPath writes it: a feature for each shape."""
    path.parent.mkdir(exist_ok=True)
    features = [{"type": "Feature", "geometry": json.loads(shapely.to_geojson(s)), "properties": {}} for s in shapes]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


@pytest.mark.parametrize("name", ["a.geojson", "a.svs.geojson", "17 a.svs.geojson", "3 a.geojson", "sub/a.svs.geojson"])
@pytest.mark.parametrize("slide_format", ["geojson", "geojson-x10"])
def test_geojson_is_found_by_every_name_that_exports_give_it(tmp_path, slide_format, name) -> None:
    write_tiff(tmp_path / "a.svs", (900, 900), 0.5)
    save(np.zeros((9, 9, 3), np.uint8), tmp_path / "a.png")
    write_geojson(tmp_path / name, box(0, 0, 400, 800))
    dataset = open_dataset(f"{slide_format}:{tmp_path}")
    assert dataset.left_out == (), "the overview beside the slide is no second one"
    assert {tile.cut_from for tile in dataset.tiles} == {"a.svs"}


def test_several_files_of_a_slide_count_together(tmp_path) -> None:
    write_tiff(tmp_path / "a.tif", (900, 900), 0.5)
    write_geojson(tmp_path / "a.geojson", box(0, 0, 400, 400))
    write_geojson(tmp_path / "2 a.tif.geojson", box(0, 600, 400, 800))
    (tile,) = open_dataset(f"geojson-x10:{tmp_path}").tiles
    assert (tile.read_labels() > 0).sum() == 200 * 200 + 200 * 100
    tiles = open_dataset(f"geojson:{tmp_path}").tiles
    assert sum(len(Selection().view(tile).objects) for tile in tiles) == 2
    assert len({tile.image_id for tile in tiles}) == len(tiles)


def test_annotations_that_belong_to_no_slide_or_to_two_are_named(tmp_path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        write_tiff(tmp_path / place / "a.svs", (900, 900), 0.5)
    write_tiff(tmp_path / "b.tif", (900, 900), 0.5)
    for name in ("a", "b", "c"):
        write_geojson(tmp_path / f"{name}.geojson", box(0, 0, 400, 800))
    for slide_format in ("geojson", "geojson-x10"):
        dataset = open_dataset(f"{slide_format}:{tmp_path}")
        assert {tile.cut_from for tile in dataset.tiles} == {"b.tif"}
        assert [each.image for each in dataset.left_out] == ["a.geojson", "c.geojson"]
        assert [each.reason.split(" slides")[0] for each in dataset.left_out] == ["2", "no"]


def test_a_slide_that_was_scanned_coarser_is_not_enlarged(tmp_path) -> None:
    write_tiff(tmp_path / "a.tif", (512, 512), 2.0)
    (tmp_path / "a.xml").write_text(asap(("_0", square(0, 0, 100))), encoding="utf-8")
    with pytest.raises(InvalidRequest, match="enlarged"):
        open_dataset(f"camelyon16-x10:{tmp_path}")


def test_a_slide_without_a_patch_to_score_is_named(tmp_path) -> None:
    """Another group's annotation, as from CAMELYON17, is no tumour of CAMELYON16."""
    for name in ("tumor_001", "tumor_002"):
        write_tiff(tmp_path / f"{name}.tif", (900, 900), 0.5)
    (tmp_path / "tumor_001.xml").write_text(asap(("_0", square(0, 0, 500))), encoding="utf-8")
    (tmp_path / "tumor_002.xml").write_text(asap(("metastases", square(0, 0, 500))), encoding="utf-8")
    dataset = open_dataset(f"camelyon16-x10:{tmp_path}")
    assert {tile.group for tile in dataset.tiles} == {"tumor_001"}
    assert [each.image for each in dataset.left_out] == ["tumor_002.tif"]
    assert "no patch of 400 px at x10 of which 20% to 80% is annotated" in dataset.left_out[0].reason
    (tmp_path / "tumor_001.xml").unlink()
    with pytest.raises(InvalidRequest, match="the format's own groups"):
        open_dataset(f"camelyon16-x10:{tmp_path}")


def test_slides_without_annotations_say_so(tmp_path) -> None:
    with pytest.raises(InvalidRequest, match="no slide has an annotation"):
        open_dataset(f"camelyon16-x10:{tmp_path}")


def test_only_patches_with_the_wanted_share_are_kept() -> None:
    area = Polygon(square(0, 0, 100)).union(box(100, 0, 119, 100)).union(box(200, 0, 300, 81))
    kept = [(x, y) for x, y, _ in patches(area, extent=Region(0, 0, 350, 100), side=100, cut=Cut(5))]
    assert kept == [], "100 %, 19 % and 81 %; the last column is no whole patch"
    area = box(0, 0, 50, 100).union(box(100, 0, 120, 100)).union(box(200, 0, 300, 80))
    kept = [(x, y) for x, y, _ in patches(area, extent=Region(0, 0, 350, 100), side=100, cut=Cut(5))]
    assert kept == [(0, 0), (100, 0), (200, 0)]


def test_the_patches_of_a_slide_hold_all_its_area_once() -> None:
    area = Polygon([(13, 7), (390, 44), (361, 388), (170, 140), (40, 377)])
    anything = Cut(5, least=1e-9, most=1)
    parts = [part for _, _, part in patches(area, extent=Region(0, 0, 400, 400), side=50, cut=anything)]
    assert shapely.union_all(parts).symmetric_difference(area).area == pytest.approx(0, abs=1e-6)
    assert sum(p.area for p in parts) == pytest.approx(area.area)


def test_outlines_that_cross_themselves_are_repaired(tmp_path) -> None:
    bow_tie = [(0, 0), (10, 10), (10, 0), (0, 10)]
    path = tmp_path / "a.xml"
    path.write_text(asap(("_0", bow_tie)), encoding="utf-8")
    area = union_of(read_asap(path))
    assert area.is_valid
    assert area.area == 50


def test_broken_annotation_files_are_named(tmp_path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<ASAP_Annotations><Annotations>", encoding="utf-8")
    with pytest.raises(InvalidRequest, match=r"a\.xml cannot be read as XML"):
        read_asap(path)
    path.write_text("<Other/>", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="'Other'"):
        read_imagescope(path)


@pytest.mark.parametrize(("given", "wrong"), [('X="1"', 'X="nan"'), ('Order="1"', 'Order="x"')])
def test_coordinates_that_are_no_numbers_are_named(tmp_path, given, wrong) -> None:
    path = tmp_path / "a.xml"
    text = asap(("_0", [(1, 1), (9, 1), (9, 9)]))
    assert given in text
    path.write_text(text.replace(given, wrong), encoding="utf-8")
    with pytest.raises(InvalidRequest, match=rf"a\.xml: Coordinate has no number '{wrong.split('=')[0]}'"):
        read_asap(path)


def test_a_pixel_size_with_a_comma_is_named(tmp_path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<Annotations MicronsPerPixel="0,25"/>', encoding="utf-8")
    with pytest.raises(InvalidRequest, match=r"a\.xml: Annotations has no number 'MicronsPerPixel'"):
        imagescope_mpp(path)


def test_paint_places_scales_and_lets_the_last_win() -> None:
    areas = [box(100, 200, 140, 240), box(120, 200, 160, 240)]
    labels = paint(areas, (10, 20), origin=(100, 200), scale=4)
    expected = np.zeros((10, 20), int)
    expected[:, :5] = 1
    expected[:, 5:15] = 2
    assert np.array_equal(labels, expected)


def test_two_slides_of_one_name_are_refused_before_one_is_lost() -> None:
    slides = [AnnotatedSlide(Path(folder) / "a.svs", "a", Polygon) for folder in ("one", "other")]
    with pytest.raises(InvalidRequest, match=r"two slides are called a\.svs.*rename one"):
        cut_slides("lab-x5", slides, Cut(5))
