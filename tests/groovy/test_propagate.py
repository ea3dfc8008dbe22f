"""Outlines through the planes of a stack in a real QuPath, without its window and in it; with the default model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import Point, shape

from .conftest import FOLDER, PATIENCE_S, SCRIPTS, QuPath
from .live_server import Server
from .window import Window, open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(1800)]

HEIGHT, WIDTH = 300, 400
#: Radius of the disc on each plane; on the first and the last there is none.
RADII = (0, 30, 38, 46, 40, 0)
START = 3
NAME = "cell"
#: z of every annotation of that name, and what it says of itself.
CARRIED = (
    f"getAnnotationObjects().findAll {{ it.getName() == '{NAME}' }}"
    ".collect { [z: it.getROI().getZ(), class: it.getPathClass()?.toString(), area: it.getROI().getArea(), "
    "of: it.getMetadata()['qupath-sam.propagated_of'], id: it.getID().toString()] }.sort { it.z }"
)
SELECT = (
    f"selectObjects(getAnnotationObjects().findAll {{ it.getName() == '{NAME}' && it.getROI().getZ() == {START} }})"
)
FIRE = "javafx.application.Platform.runLater { gui.lookupMenuItem('Extensions>SAM>Propagate selected').fire() }; null"


def centre(plane: int) -> tuple[float, float]:
    """Of the disc, level-0 px."""
    return 180.0 + 5 * plane, 160.0 - 4 * plane


def pixels_of(plane: int) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    at = centre(plane)
    inside = (x - at[0]) ** 2 + (y - at[1]) ** 2 < RADII[plane] ** 2
    return (np.where(inside, 90, 200) + np.random.default_rng(plane).integers(0, 12, inside.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def project(qupath: QuPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack with the disc outlined on one plane."""
    folder = tmp_path_factory.mktemp("stack")
    planes = np.array([pixels_of(z) for z in range(len(RADII))])
    # As ImageJ writes it: QuPath needs no Bio-Formats to read it.
    tifffile.imwrite(folder / "stack.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    (x, y), radius = centre(START), RADII[START]
    outline = f"ellipse {x - radius} {y - radius} {2 * radius} {2 * radius} {START} 0 {NAME}"
    arguments = folder / "project", folder / "stack.tif", "ROTATE_NONE", outline
    run = qupath.script(
        FOLDER / "make_planes_project.groovy", *(part for each in arguments for part in ("-a", str(each)))
    )
    assert f"z {len(RADII)}, t 1" in run.output, run.output
    return folder / "project" / "project.qpproj"


def test_a_disc_is_followed_until_it_ends(qupath: QuPath, project: Path, server: Server, tmp_path: Path) -> None:
    copy = shutil.copytree(project.parent, tmp_path / "project") / project.name
    script = tmp_path / "propagate.groovy"
    script.write_text(f"{SELECT}\n{(SCRIPTS / 'propagate_selected.groovy').read_text('utf-8')}", "utf-8")
    for attempt in range(2):  # the second run replaces what the first one made
        run = qupath.script(script, "-s", "-p", str(copy), "-i", "stack.tif", QUPATH_SAM_PORT=server.port)
        assert run.exit_code == 0, run.output
        assert run.said[-1].startswith("qupath-sam: 3 outlines on other planes; 2 ends within the stack"), (
            attempt,
            run.output,
        )
    exported = qupath.script(FOLDER / "export_objects.groovy", "-a", str(tmp_path), "-p", str(copy))
    assert exported.exit_code == 0, exported.output
    (file,) = tmp_path.glob("*.geojson")
    features = json.loads(file.read_text())["features"]
    outlines = {f["geometry"].get("plane", {"z": 0})["z"]: shape(f["geometry"]) for f in features}
    assert len(features) == len(outlines) == 4
    for z, outline in outlines.items():
        disc = Point(centre(z)).buffer(RADII[z])
        assert outline.intersection(disc).area / outline.union(disc).area > 0.85, z
    metadata = next(f["properties"]["metadata"] for f in features if f["geometry"]["plane"]["z"] == START + 1)
    assert metadata["qupath-sam.propagated_from"] == f"z {START}, t 0"
    assert metadata["qupath-sam.model"] == "lite_medsam_histology"


#: What an earlier run has made: on three planes, the last one selected with its source; and one that was corrected.
EARLIER = f"""
import io.github.qupathsam.client.Outlines
def drawn = getAnnotationObjects().find {{ it.getName() == '{NAME}' }}
def former = [1, 2, 4, 2].withIndex().collect {{ z, place ->
    def roi = ROIs.createEllipseROI(150 + 5 * z, 110 - 4 * z, 70, 90, ImagePlane.getPlane(z, 0))
    def made = PathObjects.createAnnotationObject(roi)
    made.setName(place < 3 ? "earlier ${{z}}" : 'corrected')
    made.getMetadata().putAll(
            ['qupath-sam.propagated_of': drawn.getID().toString(), 'qupath-sam.propagated_along': 'z'])
    made.getMetadata()['qupath-sam.outline'] = place < 3 ? Outlines.fingerprint(roi.getGeometry()) : 'another'
    getCurrentHierarchy().addObject(made)
    return made
}}
selectObjects([drawn, former[2]])
"""


def test_what_is_selected_and_what_lies_outside_of_the_planes_stays(
    qupath: QuPath, project: Path, server: Server, tmp_path: Path
) -> None:
    copy = shutil.copytree(project.parent, tmp_path / "project") / project.name
    text = (SCRIPTS / "propagate_selected.groovy").read_text("utf-8")
    assert "def planes = []" in text
    script = tmp_path / "propagate.groovy"
    names = "\nprintln 'STAYS ' + getAnnotationObjects().collect { it.getName() }.toSet()\n"
    text = text.replace("def planes = []", "def planes = [2, 4]")
    script.write_text(EARLIER + text + names, "utf-8")
    run = qupath.script(script, "-p", str(copy), "-i", "stack.tif", QUPATH_SAM_PORT=server.port)
    assert run.exit_code == 0, run.output
    assert "2 of an earlier run are locked, corrected, selected or have children, and stay" in run.said[-1]
    # Outlines that the selected one is carried to have its name as well.
    (stays,) = (line for line in run.output.splitlines() if line.startswith("STAYS "))
    made = ("earlier 1", "earlier 2", "earlier 4", "corrected")
    assert [name for name in made if name in stays] == ["earlier 1", "earlier 4", "corrected"]


def test_what_has_no_planes_is_said(qupath: QuPath, copy: Path, tmp_path: Path) -> None:
    script = tmp_path / "propagate.groovy"
    select = "selectObjects(getAnnotationObjects().findAll { it.getROI().isArea() })"
    script.write_text(f"{select}\n{(SCRIPTS / 'propagate_selected.groovy').read_text('utf-8')}", "utf-8")
    run = qupath.script(script, "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT="1")
    assert run.exit_code == 1
    assert run.said == ["qupath-sam: The image is one plane: there is none to carry an outline to."]


@pytest.fixture(scope="module")
def window(qupath: QuPath, project: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    folder = tmp_path_factory.mktemp("window")
    copy = shutil.copytree(project.parent, folder / "project") / project.name
    settings = {"QUPATH_SAM_PORT": server.port, "QUPATH_SAM_TIMEOUT": str(PATIENCE_S)}
    with open_window(qupath, copy, "stack.tif", folder, **settings) as opened:
        opened.wait_for("gui.getStage().getProperties()['qupath-sam'] != null", "extension")
        yield opened


def test_cancel_changes_nothing(window: Window, server: Server, tmp_path: Path) -> None:
    window.ask(f"{SELECT}; null")
    with server.stopped():
        window.ask(FIRE)
        window.wait_for(
            "javafx.stage.Window.getWindows().any { it instanceof javafx.stage.Stage && it.isShowing() && "
            "it.getTitle() == 'SAM: through z' }",
            "progress",
        )
        window.screenshot(tmp_path / "progress.png")
        window.click_on("it instanceof Button && it.getText() == 'Cancel'")
        window.click_on("it instanceof Button && it.getText() == 'OK'")
    assert [each["z"] for each in window.ask(CARRIED)] == [START]


def test_the_menu_carries_an_outline_in_one_step_of_undo(window: Window, tmp_path: Path) -> None:
    window.ask(f"getAnnotationObjects().each {{ it.setPathClass(getPathClass('Tumor')) }}; {SELECT}; null")
    window.ask(FIRE)
    found = window.wait_for(f"def found = {CARRIED}; found.size() > 1 ? found : null", "outlines")
    assert [each["z"] for each in found] == [1, 2, 3, 4]
    assert {each["class"] for each in found} == {"Tumor"}
    source = found[2]["id"]
    assert [each.get("of") for each in found] == [source, source, None, source]
    assert found[0]["area"] < found[1]["area"] < found[2]["area"] > found[3]["area"]
    window.ask("viewer.setZPosition(1); null")
    window.screenshot(tmp_path / "plane.png")
    window.press("ctrl+z")
    # Before, QuPath and the script each said that the hierarchy had changed: two steps, and the first undid nothing.
    window.wait_for(f"({CARRIED}).size() == 1", "undo", seconds=60)
    assert "propagate_selected" in window.ask("getCurrentImageData().getHistoryWorkflow().getLastStep().getScript()")
