"""QuPath's server-builder JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.slides import SlideRecipe, parse_builder
from qupath_sam.slides.builder import ReaderProvider
from qupath_sam.slides.wrapped import Orientation
from qupath_sam.types.regions import Region

PACKAGES = {
    "OpenslideServerBuilder": "qupath.lib.images.servers.openslide",
    "BioFormatsServerBuilder": "qupath.lib.images.servers.bioformats",
    "ImageJServerBuilder": "qupath.imagej.images.servers",
}


def leaf(provider: str = "OpenslideServerBuilder", args: Any = (), **metadata: Any) -> dict[str, Any]:
    calibration = {
        "pixelWidth": {"value": 0.499, "unit": "µm"},
        "pixelHeight": {"value": 0.501, "unit": "µm"},
        "zSpacing": {"value": 1.0, "unit": "z-slice"},
    }
    return {
        "builderType": "uri",
        "providerClassName": f"{PACKAGES.get(provider, 'com.example')}.{provider}",
        "uri": "file:/D:/slides/a%20b.svs",
        "args": list(args) if isinstance(args, tuple) else args,
        "metadata": {
            "name": "a",
            "width": 2220,
            "height": 2967,
            "sizeZ": 1,
            "sizeT": 1,
            "isRGB": True,
            "pixelCalibration": calibration,
            **metadata,
        },
    }


def wrapped(kind: str, builder: Any, size: tuple[int, int] | None = None, **fields: Any) -> dict[str, Any]:
    metadata = {} if size is None else {"metadata": {"width": size[0], "height": size[1]}}
    return {"builderType": kind, "builder": builder, **fields, **metadata}


def test_a_plain_slide() -> None:
    assert parse_builder(json.dumps(leaf())) == SlideRecipe(
        uri="file:/D:/slides/a%20b.svs",
        provider=ReaderProvider.OPENSLIDE,
        crops_to_bounds=True,
        wrappers=(),
        size=(2220, 2967),
        file_size=(2220, 2967),
        mpp=0.5,
    )


def test_wrappers_are_listed_from_the_inside() -> None:
    builder = wrapped(
        "rotated",
        wrapped(
            "cropped", wrapped("pyramidize", leaf()), region={"x": 1, "y": 2, "width": 30, "height": 40, "z": 0, "t": 0}
        ),
        size=(40, 30),
        rotation="ROTATE_270",
    )
    recipe = parse_builder(builder)
    assert recipe.wrappers == (Region(1, 2, 30, 40), Orientation.ROTATE_270)
    assert recipe.size == (40, 30)
    assert recipe.file_size == (2220, 2967)


@pytest.mark.parametrize(
    ("kind", "fields", "wrappers"),
    [
        ("rotated", {"rotation": "ROTATE_NONE"}, ()),
        ("rotated", {"rotation": "ROTATE_90"}, (Orientation.ROTATE_90,)),
        ("rotated", {"rotation": "ROTATE_180"}, (Orientation.ROTATE_180,)),
        ("flipped", {"flip": "NONE"}, ()),
        ("flipped", {"flip": "HORIZONTAL"}, (Orientation.FLIP_HORIZONTAL,)),
        ("flipped", {"flip": "VERTICAL"}, (Orientation.FLIP_VERTICAL,)),
        ("flipped", {"flip": "BOTH"}, (Orientation.ROTATE_180,)),
        ("pyramidize", {}, ()),
    ],
)
def test_wrappers(kind: str, fields: dict[str, str], wrappers: tuple[Any, ...]) -> None:
    assert parse_builder(wrapped(kind, leaf(), **fields)).wrappers == wrappers


@pytest.mark.parametrize(
    "kind",
    [
        "affine", "channels", "color", "sparse", "swapRedBlue", "color_deconvolved", "normalized", "typeConvert",
        "sliced", "z_projected", "z_concatenated", "something new",
    ],
)  # fmt: skip
def test_other_wrappers_are_refused_by_name(kind: str) -> None:
    builder = wrapped("rotated", wrapped(kind, leaf()), rotation="ROTATE_90")
    with pytest.raises(SlideUnsupported, match=f"{kind}.*push the pixels"):
        parse_builder(builder)


@pytest.mark.parametrize(
    ("provider", "args", "crops"),
    [
        ("OpenslideServerBuilder", (), True),
        ("OpenslideServerBuilder", ("--no-crop",), False),
        ("OpenslideServerBuilder", ("--background-color", "white"), True),
        ("OpenslideServerBuilder", ("--background-color=white", "--no-crop"), False),
        ("OpenslideServerBuilder", ("--classname", "x.y.OpenslideServerBuilder"), True),
        ("OpenslideServerBuilder", None, True),
        ("BioFormatsServerBuilder", (), False),
        ("BioFormatsServerBuilder", ("--series", "0"), False),
        ("BioFormatsServerBuilder", ("--series=0",), False),
        ("ImageJServerBuilder", (), False),
    ],
)
def test_arguments(provider: str, args: Any, crops: bool) -> None:
    recipe = parse_builder(leaf(provider, args))
    assert recipe.provider.value == provider
    assert recipe.crops_to_bounds is crops


@pytest.mark.parametrize(
    ("provider", "args"),
    [
        ("OpenslideServerBuilder", ("--icc-profile",)),
        ("OpenslideServerBuilder", ("--series", "0")),
        ("BioFormatsServerBuilder", ("--series", "1")),
        ("BioFormatsServerBuilder", ("-s", "2")),
        ("BioFormatsServerBuilder", ("--series",)),
        ("BioFormatsServerBuilder", ("--name", "main")),
        ("BioFormatsServerBuilder", ("--dims", "XYCZT")),
        ("BioFormatsServerBuilder", ("--no-crop",)),
        ("OmeroWebImageServerBuilder", ()),
        ("JsonImageServerBuilder", ()),
    ],
)
def test_what_changes_the_image_otherwise_is_refused(provider: str, args: Any) -> None:
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        parse_builder(leaf(provider, args))


@pytest.mark.parametrize("metadata", [{"isRGB": False}, {"sizeZ": 5}, {"sizeT": 2}])
def test_what_is_no_flat_rgb_image_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        parse_builder(leaf(**metadata))
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        parse_builder(wrapped("pyramidize", leaf(**metadata)))


@pytest.mark.parametrize("plane", [{"z": 1, "t": 0}, {"z": 0, "t": 3}])
def test_a_crop_of_another_plane_is_refused(plane: dict[str, int]) -> None:
    with pytest.raises(SlideUnsupported, match="plane"):
        parse_builder(wrapped("cropped", leaf(), region={"x": 0, "y": 0, "width": 5, "height": 5, **plane}))


@pytest.mark.parametrize("unit", ["px", "mm", None])
def test_an_uncalibrated_image_has_no_mpp(unit: str | None) -> None:
    length = {"value": 1.0, "unit": unit}
    recipe = parse_builder(leaf(pixelCalibration={"pixelWidth": length, "pixelHeight": length}))
    assert recipe.mpp is None


def test_metadata_may_be_missing() -> None:
    builder = leaf()
    del builder["metadata"]
    recipe = parse_builder(builder)
    assert (recipe.size, recipe.file_size, recipe.mpp) == (None, None, None)


def test_a_server_written_as_json() -> None:
    """QuPath writes a server (not a builder) without a type of its own."""
    assert parse_builder({"builder": leaf(), "metadata": {"width": 7, "height": 8}}).size == (7, 8)


def _nested(depth: int) -> dict[str, Any]:
    builder = leaf()
    for _ in range(depth):
        builder = wrapped("pyramidize", builder)
    return builder


@pytest.mark.parametrize(
    "builder",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="half"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("[1]", id="list"),
        pytest.param("{}", id="nothing"),
        pytest.param({"builderType": "uri"}, id="no-uri"),
        pytest.param({**leaf(), "uri": 5}, id="uri-no-text"),
        pytest.param({**leaf(), "uri": ""}, id="uri-empty"),
        pytest.param(leaf(args="--no-crop"), id="args-a-text"),
        pytest.param(leaf(args=[1]), id="args-numbers"),
        pytest.param(leaf(width="x"), id="width-a-text"),
        pytest.param(leaf(width=True), id="width-a-boolean"),
        pytest.param(leaf(width=1.5), id="width-a-fraction"),
        pytest.param(leaf(width=float("nan")), id="width-nan"),
        pytest.param({"builderType": "rotated", "rotation": "ROTATE_90"}, id="wraps-nothing"),
        pytest.param({"builderType": "cropped", "builder": leaf()}, id="no-region"),
        pytest.param({"builderType": "cropped", "builder": leaf(), "region": {"x": 0}}, id="half-a-region"),
        pytest.param(
            {"builderType": "cropped", "builder": leaf(), "region": {"x": 0, "y": 0, "width": 0, "height": 5}},
            id="empty-region",
        ),
        pytest.param(_nested(30), id="nested"),
    ],
)
def test_nonsense_is_refused(builder: Any) -> None:
    with pytest.raises(InvalidRequest):
        parse_builder(builder)
