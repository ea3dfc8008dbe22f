"""Rotated, fluorescence and z/t images in a real QuPath without its window, by servers that read slides and do not.

A disc is drawn at a known place of each image and plane, a rectangle round it is the prompt, and the default model has
to find the disc there. Nothing but the right pixels from the right place and plane lets it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from qupath_sam.client.process import server_process

from .conftest import FOLDER, SCRIPTS, QuPath
from .discs import HEIGHT, PLANES, RADIUS, disc, overlap, write_stack

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

#: Where the discs lie, x and y: in the fluorescence image, and in the image that is then turned.
DISCS = ((150, 120), (420, 270), (330, 100))
TURNED = (200, 130)


@dataclass(frozen=True)
class Found:
    """An annotation that a script has left."""

    outline: BaseGeometry
    plane: tuple[int, int]
    pixels: str | None


def round_it(kind: str, centre: tuple[int, int], plane: tuple[int, int], name: str, margin: int = 6) -> str:
    """An annotation round a disc, as `make_planes_project.groovy` reads it."""
    corner = [coordinate - RADIUS - margin for coordinate in centre]
    side = 2 * (RADIUS + margin)
    return " ".join(map(str, (kind, *corner, side, side, *plane, name)))


@pytest.fixture(scope="module")
def project(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unusual")
    grey = disc(TURNED, 90, 200, 12).astype(np.uint8)
    tifffile.imwrite(folder / "turned.tif", np.dstack([grey] * 3), photometric="rgb")
    # Dark discs in all channels: the default model has been tuned on stained tissue.
    levels = np.minimum.reduce([disc(centre, 300, 3000, 300) for centre in DISCS])
    channels = np.stack([levels, 2 * levels, 3 * levels]).astype(np.uint16)
    tifffile.imwrite(folder / "channels.tif", channels, imagej=True, metadata={"axes": "CYX"})
    write_stack(folder / "stack.tif")
    # RotatedImageServer turns clockwise: the lower left corner becomes the upper left one.
    on_turned = round_it("rectangle", (HEIGHT - TURNED[1], TURNED[0]), (0, 0), "turned")
    on_channels = ";".join(round_it("rectangle", at, (0, 0), f"disc{i}") for i, at in enumerate(DISCS))
    on_stack = ";".join(
        round_it("ellipse" if z == 1 else "rectangle", at, (z, t), f"z{z}t{t}") for (z, t), at in PLANES.items()
    )
    images = [
        *(folder / "turned.tif", "ROTATE_90", on_turned),
        *(folder / "channels.tif", "ROTATE_NONE", on_channels),
        *(folder / "stack.tif", "ROTATE_NONE", on_stack),
    ]
    arguments = [part for value in (folder / "project", *images) for part in ("-a", str(value))]
    run = qupath.script(FOLDER / "make_planes_project.groovy", *arguments)
    for made in ("turned.tif: 400 x 600, 3 channels", "channels.tif: 600 x 400, 3 channels", "z 3, t 2, RGB false"):
        assert made in run.output, run.output
    return folder / "project" / "project.qpproj"


@pytest.fixture(scope="module", params=[True, False], ids=["server reads slides", "server reads none"])
def found(
    request: pytest.FixtureRequest, qupath: QuPath, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Found]:
    """What both scripts for projects leave in all images, by name."""
    folder = tmp_path_factory.mktemp("found")
    copy = shutil.copytree(project.parent, folder / "project") / project.name
    options = ["--device", "cpu", *([] if request.param else ["--no-read-slides"])]
    with server_process(options) as address:
        for script, images in (("segment_for_project", 3), ("refine_for_project", 3)):
            port = address.rpartition(":")[2]
            run = qupath.script(SCRIPTS / f"{script}.groovy", "-s", "-p", str(copy), QUPATH_SAM_PORT=port)
            assert run.exit_code == 0, run.output
            assert len(run.said) == images, run.output
    exported = qupath.script(FOLDER / "export_objects.groovy", "-a", str(folder), "-p", str(copy))
    assert exported.exit_code == 0, exported.output
    return dict(_found(folder))


def _found(folder: Path) -> Iterator[tuple[str, Found]]:
    for file in folder.glob("*.geojson"):
        for feature in json.loads(file.read_text())["features"]:
            plane = feature["geometry"].get("plane", {"z": 0, "t": 0})
            pixels = feature["properties"].get("metadata", {}).get("qupath-sam.pixels")
            yield (
                feature["properties"]["name"],
                Found(shape(feature["geometry"]), (plane["z"], plane["t"]), pixels),
            )


def check(outline: BaseGeometry, centre: tuple[float, float]) -> None:
    """Where the disc is, of a radius of 55 px; the default model draws one of them at an IoU of .899."""
    assert outline.centroid.distance(Point(centre)) < 5
    assert overlap(outline, centre) > 0.85


def test_a_rotated_image(found: dict[str, Found], request: pytest.FixtureRequest) -> None:
    check(found["turned"].outline, (HEIGHT - TURNED[1], TURNED[0]))
    reads_slides = request.node.callspec.params["found"]
    assert (found["turned"].pixels == "pushed (QuPath rendered RGB)") is not reads_slides


def test_a_fluorescence_image_of_several_channels(found: dict[str, Found]) -> None:
    for index, centre in enumerate(DISCS):
        check(found[f"disc{index}"].outline, centre)
        assert found[f"disc{index}"].pixels == "pushed (QuPath rendered RGB)"


def test_every_plane_of_a_stack(found: dict[str, Found]) -> None:
    for (z, t), centre in PLANES.items():
        outlined = found[f"z{z}t{t}"]
        assert outlined.plane == (z, t)
        check(outlined.outline, centre)
        assert outlined.pixels == "pushed (QuPath rendered RGB)"
