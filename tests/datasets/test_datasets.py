"""Tile readers, each on a small sample in the data set's own format."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from qupath_sam.datasets import FORMATS, open_dataset
from qupath_sam.datasets.base import Dataset, read_rgb
from qupath_sam.datasets.kinds import Kind
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.seen import check_unseen
from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.compare import compare_models
from qupath_sam.evaluation.protocol import Protocol
from qupath_sam.evaluation.run import Choices
from tests.evaluation.pictures import disc, painted, save, two_discs

LABELS = two_discs()


def only_tile(dataset: Dataset):
    assert len(dataset.tiles) == 1
    return dataset.tiles[0]


def write_indexed(root: Path, *, rows: str = "images/a.png,instances/a.png,64,64,2,case1,train\n") -> None:
    save(painted(LABELS), root / "images" / "a.png")
    save(LABELS.astype(np.uint16), root / "instances" / "a.png")
    header = "image,instances,width,height,n_instances,group,split\n"
    (root / "index.csv").write_text(header + rows, encoding="utf-8")


def test_index(tmp_path) -> None:
    write_indexed(tmp_path / "my nüclei")
    dataset = open_dataset(str(tmp_path / "my nüclei"))
    tile = only_tile(dataset)
    assert (dataset.name, dataset.min_area, dataset.crop) == ("my nüclei", 60, 256)
    assert (tile.image_id, tile.group, tile.split, tile.mpp) == ("images/a.png", "case1", "train", None)
    assert np.array_equal(tile.read_labels(), LABELS)
    assert np.array_equal(tile.read_pixels(), painted(LABELS))


def test_an_index_that_excel_saved(tmp_path) -> None:
    write_indexed(tmp_path)
    text = (tmp_path / "index.csv").read_text(encoding="utf-8")
    (tmp_path / "index.csv").write_text(text, encoding="utf-8-sig")
    assert only_tile(open_dataset(str(tmp_path))).group == "case1"


@pytest.mark.parametrize("mpp", ["n/a", "0,25", "nan", "0", "-1"])
def test_a_pixel_size_that_is_none_is_named(tmp_path, mpp) -> None:
    write_indexed(tmp_path)
    header = "image,instances,group,split,mpp\n"
    rows = [f'images/a.png,instances/a.png,case1,train,"{each}"\n' for each in ("0.25", "", mpp)]
    (tmp_path / "index.csv").write_text(header + "".join(rows[:2]), encoding="utf-8")
    assert [tile.mpp for tile in open_dataset(str(tmp_path)).tiles] == [0.25, None]
    (tmp_path / "index.csv").write_text(header + "".join(rows), encoding="utf-8")
    with pytest.raises(InvalidRequest, match=rf"index\.csv, row 4: mpp is '{mpp}'; write um per px"):
        open_dataset(str(tmp_path))


def test_glands_of_ebhi_are_scored_from_a_larger_area_on(tmp_path) -> None:
    write_indexed(tmp_path / "ebhi_seg")
    assert open_dataset(str(tmp_path / "ebhi_seg")).min_area == 400


def test_an_index_says_its_kind(tmp_path) -> None:
    write_indexed(tmp_path / "lab")
    header = "image,instances,group,split,kind\n"
    row = "images/a.png,instances/a.png,case{0},train,{1}\n"
    index = tmp_path / "lab" / "index.csv"
    index.write_text(header + row.format(1, "gland") + row.format(2, "gland"), encoding="utf-8")
    dataset = open_dataset(str(tmp_path / "lab"))
    assert (dataset.kind, dataset.min_area, dataset.crop) == (Kind.GLAND, 400, None)
    index.write_text(header + row.format(1, "cells"), encoding="utf-8")
    with pytest.raises(InvalidRequest, match="unknown kind 'cells'; known: region, gland, nucleus"):
        open_dataset(str(tmp_path / "lab"))
    index.write_text(header + row.format(1, "gland") + row.format(2, "nucleus"), encoding="utf-8")
    with pytest.raises(InvalidRequest, match="put each into a set of its own"):
        open_dataset(str(tmp_path / "lab"))


def test_a_group_of_several_splits_is_one_a_split(tmp_path) -> None:
    """Else a model trained on one split could not be scored on the other."""
    row = "images/a.png,instances/a.png,64,64,2,{0},{1}\n"
    write_indexed(tmp_path, rows=row.format("256px", "train") + row.format("256px", "validation"))
    dataset = open_dataset(str(tmp_path))
    assert dataset.of_split("validation").groups == {"256px, validation"}
    assert dataset.of_split("train").groups == {"256px, train"}


def test_splits(tmp_path) -> None:
    row = "images/a.png,instances/a.png,64,64,2,case{0},{1}\n"
    write_indexed(tmp_path, rows=row.format(1, "train") + row.format(2, "validation"))
    dataset = open_dataset(str(tmp_path))
    assert dataset.of_split("validation").groups == {"case2"}
    assert dataset.of_split(None).groups == {"case1", "case2"}
    with pytest.raises(InvalidRequest, match="known: train, validation"):
        dataset.of_split("test")


def test_an_index_without_groups_is_refused(tmp_path) -> None:
    (tmp_path / "index.csv").write_text("image,instances\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="group, split"):
        open_dataset(str(tmp_path))


def test_folder_of_label_images(tmp_path) -> None:
    save(painted(LABELS), tmp_path / "images" / "a.jpg")
    save(LABELS.astype(np.uint8), tmp_path / "labels" / "a.png")
    save(painted(LABELS), tmp_path / "images" / "without.png")
    tile = only_tile(open_dataset(str(tmp_path)).of_split("validation"))
    assert (tile.image_id, tile.group) == ("a.jpg", "a")
    assert np.array_equal(tile.read_labels(), LABELS)


def test_folder_of_binary_masks_counts_connected_parts(tmp_path) -> None:
    save(painted(LABELS), tmp_path / "images" / "a.png")
    save(((LABELS > 0) * 255).astype(np.uint8), tmp_path / "Masks" / "a.tif")
    labels = only_tile(open_dataset(str(tmp_path))).read_labels()
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert np.array_equal(labels > 0, LABELS > 0)


def test_dsb2018(tmp_path) -> None:
    """Stage 1 as Kaggle packs it: RGBA images, one 0/255 mask a nucleus."""
    name = "00ae65c1c6631ae6f2be1a449902976e6eb8483bf6b0740d00530220832c6d3e"
    rgba = np.dstack([painted(LABELS), np.full(LABELS.shape, 255, np.uint8)])
    save(rgba, tmp_path / name / "images" / f"{name}.png")
    for number, mask in enumerate(("07a9bf1d", "0e548d0a"), start=1):
        save(((number == LABELS) * 255).astype(np.uint8), tmp_path / name / "masks" / f"{mask}.png")
    tile = only_tile(open_dataset(str(tmp_path)))
    assert (tile.image_id, tile.group) == (name, name)
    assert np.array_equal(tile.read_labels(), LABELS)
    assert np.array_equal(tile.read_pixels(), painted(LABELS))


def write_pannuke(images: Path, masks: Path) -> np.ndarray:
    """One patch: two neoplastic cells, and one inflammatory cell with an id that occurs in the other class too."""
    layers = np.zeros((1, 256, 256, 6))
    layers[0, :64, :64, 0] = LABELS * 3
    layers[0, 100:110, 100:110, 1] = 3
    layers[0, ..., 5] = (layers[0, ..., :5] == 0).all(axis=-1)
    pixels = np.full((1, 256, 256, 3), 200.0)
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    np.save(images / "images.npy", pixels)
    np.save(images / "types.npy", np.array(["Breast"]))
    np.save(masks / "masks.npy", layers)
    expected = np.zeros((256, 256), int)
    expected[:64, :64] = LABELS
    expected[100:110, 100:110] = 3
    return expected


@pytest.mark.parametrize("published", [True, False])
def test_pannuke(tmp_path, published) -> None:
    root = tmp_path / "Fold 1"
    images, masks = (root / "images" / "fold1", root / "masks" / "fold1") if published else (root, root)
    expected = write_pannuke(images, masks)
    tile = only_tile(open_dataset(str(tmp_path)))
    assert (tile.group, tile.mpp) == ("fold1/Breast", 0.25)
    assert np.array_equal(tile.read_labels(), expected)
    assert tile.read_pixels().dtype == np.uint8
    assert (tile.read_pixels() == 200).all()


def test_a_model_that_has_seen_one_fold_of_pannuke_may_be_scored_on_the_next(tmp_path) -> None:
    for name in ("Fold 1", "Fold 2"):
        write_pannuke(tmp_path / name, tmp_path / name)
    groups = {tile.group for tile in open_dataset(str(tmp_path)).tiles}
    assert groups == {"fold1/Breast", "fold2/Breast"}
    check_unseen("tuned", [("pannuke", "fold1/Breast")], [open_dataset(str(tmp_path / "Fold 2"))])
    with pytest.raises(InvalidRequest, match="fold1/Breast"):
        check_unseen("tuned", [("pannuke", "fold1/Breast")], [open_dataset(str(tmp_path))])


IMAGESCOPE = """<?xml version="1.0"?>
<Annotations MicronsPerPixel="0.252000">
  <Annotation Id="1" Name="" ReadOnly="0" LineColor="65280" Visible="1" Type="4">
    <Attributes/>
    <Regions>
      <RegionAttributeHeaders/>
      {regions}
    </Regions>
    <Plots/>
  </Annotation>
</Annotations>
"""


def imagescope_region(number: int, points: list[tuple[float, float]]) -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region Id="{number}" Type="0" NegativeROA="0"><Attributes/><Vertices>{vertices}</Vertices></Region>'


@pytest.mark.parametrize("training", [True, False])
def test_monuseg(tmp_path, monkeypatch, training) -> None:
    """Training data lie in two folders, test data in one."""
    images, annotations = ("Tissue Images", "Annotations") if training else (".", ".")
    name = "TCGA-18-5592-01Z-00-DX1"
    save(np.full((40, 50, 3), 255, np.uint8), tmp_path / images / f"{name}.tif")
    squares = [[(5, 5), (15, 5), (15, 15), (5, 15)], [(30.4, 20), (40.4, 20), (40.4, 30), (30.4, 30)]]
    line = [(1, 1), (2, 2)]
    regions = "".join(imagescope_region(i, p) for i, p in enumerate([*squares, line], start=1))
    (tmp_path / annotations).mkdir(exist_ok=True)
    (tmp_path / annotations / f"{name}.xml").write_text(IMAGESCOPE.format(regions=regions), encoding="utf-8")
    save(np.full((40, 50, 3), 255, np.uint8), tmp_path / images / "TCGA-alone.tif")
    opened = open_dataset(str(tmp_path))
    (left_out,) = opened.left_out
    assert left_out.image == f"{(tmp_path / images).resolve().name}/TCGA-alone.tif"
    monkeypatch.chdir(tmp_path)
    assert open_dataset(".").left_out == opened.left_out
    tile = only_tile(opened)
    assert (tile.group, tile.mpp) == ("TCGA-18-5592", 0.252)
    expected = np.zeros((40, 50), int)
    expected[5:15, 5:15] = 1
    expected[20:30, 30:40] = 2
    labels = tile.read_labels()
    assert np.array_equal(labels[:, :30], expected[:, :30])
    assert (labels == 2).sum() == 100, "a pixel belongs to the nucleus that holds its centre"


def test_a_format_can_be_named_and_unknown_folders_say_which_there_are(tmp_path) -> None:
    write_indexed(tmp_path)
    assert open_dataset(f"index:{tmp_path}").tiles
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidRequest, match="FORMAT:FOLDER") as refused:
        open_dataset(str(empty))
    assert all(name in str(refused.value) for name in FORMATS)
    with pytest.raises(InvalidRequest, match="there is no folder"):
        open_dataset(str(tmp_path / "missing"))


def test_a_missing_image_is_named(tmp_path) -> None:
    write_indexed(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(InvalidRequest, match=r"a\.png is missing"):
        only_tile(open_dataset(str(tmp_path))).read_pixels()


@pytest.mark.parametrize("pixels", [np.full((8, 8), 2000, np.uint16), np.full((8, 8), 0.5, np.float32)])
def test_pixels_of_more_than_8_bits_are_refused_rather_than_shown_white(tmp_path, pixels) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(InvalidRequest, match=r"a\.tif has more than 8 bits .*; save it as 8-bit"):
        read_rgb(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_rgb_of_16_bits_is_refused_rather_than_shown_black(tmp_path, suffix: str) -> None:
    """Pillow reads both as 8-bit RGB, by dropping the lower byte."""
    pixels = np.full((8, 8, 3), 2000, np.uint16)
    if suffix == ".png":
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    else:
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with pytest.raises(InvalidRequest, match="more than 8 bits"):
        read_rgb(tmp_path / f"a{suffix}")


def test_8_bit_grey_becomes_rgb(tmp_path) -> None:
    save(np.full((8, 8), 77, np.uint8), tmp_path / "a.png")
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.full((8, 8, 3), 77))


@pytest.mark.parametrize(
    ("rows", "message"),
    [("images/a.png,instances/a.png\n", r"row 2 ends before group, split"), ("", "names no image")],
)
def test_an_index_that_is_not_complete_is_named(tmp_path, rows, message) -> None:
    write_indexed(tmp_path)
    (tmp_path / "index.csv").write_text("image,instances,group,split\n" + rows, encoding="utf-8")
    with pytest.raises(InvalidRequest, match=rf"index\.csv.*{message}"):
        open_dataset(str(tmp_path))


def test_an_index_in_another_encoding_is_named(tmp_path) -> None:
    write_indexed(tmp_path)
    (tmp_path / "index.csv").write_bytes("image,instances,group,split\nimages/ä.png,b,c,train\n".encode("latin-1"))
    with pytest.raises(InvalidRequest, match="not in UTF-8"):
        open_dataset(str(tmp_path))


def test_files_of_a_folder_without_a_partner_are_said_to_be_left_out(tmp_path) -> None:
    for image in ("a", "b"):
        save(painted(LABELS), tmp_path / "images" / f"{image}.png")
    for mask in ("a", "c"):
        save(LABELS.astype(np.uint16), tmp_path / "labels" / f"{mask}.png")
    dataset = open_dataset(str(tmp_path))
    assert only_tile(dataset).image_id == "a.png"
    assert [each.image for each in dataset.left_out] == ["images/b.png", "labels/c.png"]


def test_two_images_of_one_name_are_refused_before_one_is_lost(tmp_path) -> None:
    for name in ("a.png", "a.tif"):
        save(painted(LABELS), tmp_path / "images" / name)
    save(LABELS.astype(np.uint16), tmp_path / "labels" / "a.png")
    with pytest.raises(InvalidRequest, match=r"holds a\.png and a\.tif"):
        open_dataset(str(tmp_path))


def test_a_data_set_cannot_be_called_as_all_together(tmp_path) -> None:
    write_indexed(tmp_path / "pooled")
    dataset = open_dataset(str(tmp_path / "pooled"))
    with pytest.raises(InvalidRequest, match="may not be called 'pooled'"):
        compare_models(["lite_medsam"], [dataset], protocol=Protocol(), choices=Choices())


def test_a_fold_whose_pixels_are_shares_is_refused(tmp_path) -> None:
    write_pannuke(tmp_path, tmp_path)
    np.save(tmp_path / "images.npy", np.load(tmp_path / "images.npy") / 255)
    with pytest.raises(InvalidRequest, match="multiply them by 255"):
        open_dataset(str(tmp_path)).tiles[0].read_pixels()


def test_a_fold_without_classes_is_refused(tmp_path) -> None:
    write_pannuke(tmp_path, tmp_path)
    np.save(tmp_path / "masks.npy", np.load(tmp_path / "masks.npy")[..., 0])
    with pytest.raises(InvalidRequest, match="expected"):
        open_dataset(str(tmp_path))


def test_arrays_that_would_run_code_are_refused(tmp_path) -> None:
    write_pannuke(tmp_path, tmp_path)
    np.save(tmp_path / "types.npy", np.array(["Breast", None], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidRequest, match=r"types\.npy"):
        open_dataset(str(tmp_path))


def test_unequal_arrays_of_a_fold_are_refused(tmp_path) -> None:
    write_pannuke(tmp_path, tmp_path)
    np.save(tmp_path / "types.npy", np.array(["Breast", "Colon"]))
    with pytest.raises(InvalidRequest, match="differ in length"):
        open_dataset(str(tmp_path))


def test_disc_is_what_it_says() -> None:
    assert disc(5, 2.5, 2.5, 1).sum() == 5


def test_drawn_images_are_the_same_for_a_seed_and_keep_their_order():
    def nothing():
        raise AssertionError("drawing reads no image")

    tiles = tuple(Tile("made", f"{i:02}", "case", None, None, nothing, nothing) for i in range(40))
    dataset = Dataset("made", tiles)
    drawn = dataset.drawn(7, seed=3)
    names = [tile.image_id for tile in drawn.tiles]
    assert len(names) == len(set(names)) == 7
    assert names == sorted(names)
    assert drawn == dataset.drawn(7, seed=3) != dataset.drawn(7, seed=4)
    assert dataset.drawn(None, seed=3) is dataset.drawn(40, seed=3) is dataset
