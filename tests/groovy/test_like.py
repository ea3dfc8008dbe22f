"""What looks like examples, in a real QuPath without its window, on the demo slide with the default model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qupath_sam.assets import demo_slide_path

from .conftest import FOLDER, SCRIPTS, QuPath
from .live_server import Server

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

SLIDE = demo_slide_path()
#: Two nuclei of the slide, and a part of the stroma round them; left, top, width, height, level-0 px.
NUCLEI, REGION = ((1215, 906, 25, 20), (1209, 871, 24, 22)), (1100, 800, 300, 250)
#: The classes of the objects, as the tests' scripts give them.
CLASSED = """
getAnnotationObjects().each { it.setPathClass(getPathClass(it.getName() == 'region' ? 'Region*' : 'EXAMPLE')) }
"""
SELECT = "selectObjects(getAnnotationObjects())\n"
#: Prints what was found; `under`: the largest share of an example that lies under one of them.
FOUND = """
def found = getDetectionObjects()
def (around, examples) = getAnnotationObjects().split { it.getName() == 'region' }
def measured = { name -> found.collect { it.getMeasurementList().get(name) } }
def area = around[0].getROI().getGeometry()
def share = { each, example -> each.intersection(example).getArea() / example.getArea() }
def outlines = found.collect { it.getROI().getGeometry() }
println 'FOUND ' + GsonTools.getInstance().toJson([
    count: found.size(), classes: found.collect { it.getPathClass()?.toString() }.toUnique(),
    parents: found.collect { it.getParent().getName() }.toUnique(), likeness: measured('SAM likeness').min(),
    least: measured('Area µm^2').min(), largest: measured('Area µm^2').max(),
    under: [outlines, examples.collect { it.getROI().getGeometry() }].combinations().collect(share).max(),
    inside: outlines.every { area.contains(it.getCentroid()) }])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def made(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo slide with two nuclei and a region."""
    folder = tmp_path_factory.mktemp("like")
    drawn = [("ellipse", nucleus, f"nucleus{number}") for number, nucleus in enumerate(NUCLEI)]
    drawn.append(("rectangle", REGION, "region"))
    shapes = ";".join(f"{kind} {' '.join(map(str, box))} 0 0 {name}" for kind, box, name in drawn)
    arguments = folder / "project", SLIDE, "ROTATE_NONE", shapes
    run = qupath.script(
        FOLDER / "make_planes_project.groovy", *(part for each in arguments for part in ("-a", str(each)))
    )
    assert run.exit_code == 0, run.output
    return folder / "project" / "project.qpproj"


@pytest.mark.parametrize(
    ("name", "example", "outlined"), [("like_selected", "Nucleus", ""), ("like_for_project", "Example*", "Nucleus")]
)
def test_nuclei_like_two_are_found_in_the_region(
    qupath: QuPath, made: Path, server: Server, tmp_path: Path, name: str, example: str, outlined: str
) -> None:
    project = shutil.copytree(made.parent, tmp_path / "project") / made.name
    script = tmp_path / f"{name}.groovy"
    text = (SCRIPTS / f"{name}.groovy").read_text("utf-8")
    assert text.count("def foundClass = ''") == 1
    text = text.replace("def foundClass = ''", f"def foundClass = '{outlined}'")
    before = CLASSED.replace("EXAMPLE", example) + (SELECT if name == "like_selected" else "")
    script.write_text(f"{before}{text}", "utf-8")
    counts = []
    for _ in range(2):  # a second run replaces what the first one found
        run = qupath.script(script, "-s", "-p", str(project), "-i", SLIDE.name, QUPATH_SAM_PORT=server.port)
        assert run.exit_code == 0, run.output
        counting = tmp_path / "found.groovy"
        counting.write_text(FOUND, "utf-8")
        run = qupath.script(counting, "-p", str(project), "-i", SLIDE.name)
        assert run.exit_code == 0, run.output
        (line,) = (line for line in run.output.splitlines() if line.startswith("FOUND "))
        found = json.loads(line.removeprefix("FOUND "))
        assert found["count"] >= 10, found
        assert (found["classes"], found["parents"], found["inside"]) == (["Nucleus"], ["region"], True)
        assert 0 < found["likeness"] <= 1
        assert 5 < found["least"] < found["largest"] < 400, "um2: nuclei"
        assert found["under"] < 0.5, "the examples themselves are left out"
        counts.append(found["count"])
    assert len(set(counts)) == 1
