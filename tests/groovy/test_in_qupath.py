"""The scripts in a real QuPath, without its window, against a server with the fake model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import FOLDER, SCRIPTS, QuPath, with_options

pytestmark = [pytest.mark.qupath, pytest.mark.slow]

#: Put before a script: selects objects by name, and prints whenever the hierarchy says that it has changed.
SELECTING = """
import qupath.lib.objects.hierarchy.events.PathObjectHierarchyListener
getCurrentHierarchy().addListener({ if (!it.isChanging()) println 'HIERARCHY CHANGED' } as PathObjectHierarchyListener)
selectObjects(getAllObjects(false).findAll { it.getName() in NAMES })
"""


def for_classes(copy: Path, *classes: str) -> Path:
    """segment_for_project with these classes of prompts."""
    script = copy.parent / "segment_classes.groovy"
    text = (SCRIPTS / "segment_for_project.groovy").read_text("utf-8")
    assert "def promptClasses = ['SAM']" in text
    script.write_text(text.replace("def promptClasses = ['SAM']", f"def promptClasses = {list(classes)!r}"), "utf-8")
    return script


def test_scripts_compile_with_and_without_the_jar(qupath: QuPath, bare_qupath: QuPath) -> None:
    scripts = sorted(SCRIPTS.glob("*.groovy"))
    for which in (qupath, bare_qupath):
        run = which.script(FOLDER / "compile_scripts.groovy", *(part for path in scripts for part in ("-a", str(path))))
        assert [line for line in run.output.splitlines() if line.startswith("compiled ")] == [
            f"compiled {script.name}" for script in scripts
        ], run.output


def test_segment_for_project_gives_each_image_its_own(qupath: QuPath, copy: Path, server: str) -> None:
    before = {path.parent.name: path.read_bytes() for path in copy.parent.glob("data/*/data.qpdata")}
    run = qupath.script(for_classes(copy, "Tumor", "Stroma"), "-s", "-p", str(copy), QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    assert run.said == ["qupath-sam: one.png: 3 outlined", "qupath-sam: two.png: 3 outlined"]
    copied = {path.parent.name: path.read_bytes() for path in copy.parent.glob(".qupath-sam/*/*/*/data.qpdata")}
    assert copied == before, "the data before the run is not beside the project"
    found = qupath.objects(copy)
    for objects in found.values():
        named = {"clicked", "boxed", "lined", "locked", "rough", "child"}
        assert [objects[name]["class"] for name in objects.keys() - named] == ["Ignore*"], "prompts are left, or more"
        assert (objects["clicked"]["class"], objects["boxed"]["class"]) == ("Tumor", "Stroma")
        assert objects["boxed"]["centre"] == "660,245"
        assert objects["locked"]["kind"] == "Ellipse"
        assert "qupath-sam.model=fake" in objects["clicked"]["metadata"].replace(":", "=")
    one, two = (found[name]["clicked"]["measurements"] for name in ("one.png", "two.png"))
    assert one != two, "the score is a checksum of the pixels: both images gave the same ones"


def test_by_default_nothing_but_prompts_of_class_sam_is_touched(qupath: QuPath, copy: Path, server: str) -> None:
    """On 0.1.0 every unlocked rectangle became a blob, its children were flung to the root, and points were eaten."""
    before = qupath.objects(copy)
    run = qupath.script(SCRIPTS / "segment_for_project.groovy", "-s", "-p", str(copy), QUPATH_SAM_PORT=server)
    assert run.said == [f"qupath-sam: {image}: no prompts of class SAM" for image in ("one.png", "two.png")]
    assert qupath.objects(copy) == before
    region = """
        def plane = ImagePlane.getDefaultPlane()
        def square = ROIs.createRectangleROI(100, 100, 500, 400, plane)
        def region = PathObjects.createAnnotationObject(square, getPathClass('SAM'))
        region.setName('region')
        def nucleus = PathObjects.createDetectionObject(ROIs.createEllipseROI(150, 150, 30, 30, plane))
        nucleus.setName('nucleus')
        def point = PathObjects.createAnnotationObject(ROIs.createPointsROI(300, 300, plane), getPathClass('SAM'))
        point.setName('point')
        getCurrentHierarchy().addObject(region)
        getCurrentHierarchy().addObjectBelowParent(region, nucleus, true)
        getCurrentHierarchy().addObjectBelowParent(region, point, true)
        """
    drawing = copy.parent / "draw.groovy"
    drawing.write_text(region, "utf-8")
    assert qupath.script(drawing, "-s", "-p", str(copy)).exit_code == 0
    drawn = qupath.objects(copy)["one.png"]
    run = qupath.script(SCRIPTS / "segment_for_project.groovy", "-s", "-p", str(copy), QUPATH_SAM_PORT=server)
    assert run.said[0] == "qupath-sam: one.png: 1 outlined", "the point refines the rectangle that it lies in"
    after = qupath.objects(copy)["one.png"]
    assert after["nucleus"] == drawn["nucleus"]
    assert after["nucleus"]["parent"] == "region"
    for name in before["one.png"].keys() - {"region"}:
        assert after[name] == drawn[name], name


def test_refine_for_project_without_a_class_leaves_regions_alone(qupath: QuPath, copy: Path, server: str) -> None:
    run = qupath.script(SCRIPTS / "refine_for_project.groovy", "-s", "-p", str(copy), QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    before = qupath.objects(copy)["one.png"]
    assert before["rough"]["kind"] == "Ellipse", "it has a child"


def test_an_error_headless_is_one_sentence_and_an_exit_code(qupath: QuPath, copy: Path) -> None:
    script = SCRIPTS / "refine_selected.groovy"
    run = qupath.script(script, "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT="1")
    assert run.exit_code == 1
    assert run.said == ["qupath-sam: No outline is selected. Select annotations with an area."]


def test_refine_for_project_keeps_all_but_the_outline(qupath: QuPath, copy: Path, server: str) -> None:
    before = qupath.objects(copy)["one.png"]
    script = copy.parent / "refine_glands.groovy"
    text = (SCRIPTS / "refine_for_project.groovy").read_text("utf-8")
    script.write_text(text.replace("def classes = []", "def classes = ['Gland']"), "utf-8")
    run = qupath.script(script, "-s", "-p", str(copy), QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    assert run.said[0] == "qupath-sam: one.png: 1 refined, 0 refused, 0 locked"
    after = qupath.objects(copy)["one.png"]
    changed = {"area", "points", "kind", "measurements", "metadata", "centre"}
    for name, old in before.items():
        same = old.keys() - changed if name == "rough" else old.keys()
        assert {key: after[name][key] for key in same} == {key: old[key] for key in same}, name
    assert after["rough"]["area"] != before["rough"]["area"]
    assert "Grade:3" in after["rough"]["measurements"].replace("=", ":")
    assert "Area" not in after["rough"]["measurements"]
    assert after["rough"]["children"] == "[child]"


def test_a_failed_image_ends_with_a_non_zero_exit(qupath: QuPath, copy: Path) -> None:
    refine = copy.parent / "refine_glands.groovy"
    text = (SCRIPTS / "refine_for_project.groovy").read_text("utf-8")
    refine.write_text(text.replace("def classes = []", "def classes = ['Gland']"), "utf-8")
    for script in (for_classes(copy, "Tumor"), refine):
        run = qupath.script(script, "-p", str(copy), QUPATH_SAM_PORT="1")
        assert run.exit_code == 1, run.output
        assert len(run.said) == 2, "the second image was not tried"
        assert "no server answers at 127.0.0.1:1" in run.said[0]


def test_a_missing_jar_ends_with_a_non_zero_exit_and_the_remedy(bare_qupath: QuPath, copy: Path) -> None:
    run = bare_qupath.script(SCRIPTS / "segment_for_project.groovy", "-p", str(copy))
    assert run.exit_code == 1, run.output
    assert "install-qupath" in run.said[0]


@pytest.mark.parametrize(
    ("script", "names", "said", "expected"),
    [
        (
            "segment_selected",
            ["clicked", "lined"],
            "2 outlined",
            {"clicked": "Polygon", "lined": "Polygon", "boxed": "Rectangle"},
        ),
        ("segment_selected", ["boxed"], "1 outlined", {"boxed": "Polygon", "clicked": "Points"}),
        # A stroke of the brush, as the script's header says; on 0.1.0 "no prompt in Annotation".
        ("segment_selected", ["child"], "1 outlined", {"child": "Polygon", "rough": "Ellipse"}),
        (
            "refine_selected",
            ["rough", "locked"],
            "1 refined, 0 refused, 1 locked",
            {"rough": "Polygon", "locked": "Ellipse"},
        ),
    ],
)
def test_what_is_selected_changes_in_one_step(
    qupath: QuPath, copy: Path, server: str, script: str, names: list[str], said: str, expected: dict[str, str]
) -> None:
    selecting = SELECTING.replace("NAMES", repr(names))
    text = (SCRIPTS / f"{script}.groovy").read_text("utf-8")
    wrapped = copy.parent / "wrapped.groovy"
    wrapped.write_text(selecting + text, "utf-8")
    run = qupath.script(wrapped, "-s", "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    assert run.said == [f"qupath-sam: {said}"]
    assert run.output.count("HIERARCHY CHANGED") == 1, "each is a step of undo"
    found = qupath.objects(copy)["one.png"]
    assert {name: found[name]["kind"] for name in expected} == expected


def test_a_region_larger_than_a_window_is_not_replaced(qupath: QuPath, copy: Path, server: str) -> None:
    """A region without children became the outline of what lies in its middle. Here the window is small."""
    before = qupath.objects(copy)["one.png"]
    text = (SCRIPTS / "segment_selected.groovy").read_text("utf-8")
    wrapped = copy.parent / "wrapped.groovy"
    wrapped.write_text(SELECTING.replace("NAMES", "['boxed']") + with_options(text, {"downsample": "0.25"}), "utf-8")
    run = qupath.script(wrapped, "-s", "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.exit_code == 1, run.output
    assert "is larger than the window in which the model sees it" in run.said[-1]
    assert qupath.objects(copy)["one.png"] == before


@pytest.mark.parametrize(("also", "outlined"), [("", 1), (", drawnStroke", 2)], ids=["region", "region and stroke"])
def test_a_region_clips_and_takes_in(qupath: QuPath, copy: Path, server: str, also: str, outlined: int) -> None:
    """An area in a region is a stroke where it is selected too. Else it may be an outline that a person has drawn."""
    drawing = f"""
        def flat = ImagePlane.getDefaultPlane()
        def draw = {{ roi, name, of ->
            def made = PathObjects.createAnnotationObject(roi, getPathClass(of))
            made.setName(name)
            getCurrentHierarchy().addObject(made)
            return made
        }}
        def drawnRegion = draw(ROIs.createEllipseROI(250, 250, 120, 100, flat), 'region', 'Region')
        def drawnStroke = draw(ROIs.createEllipseROI(265, 320, 30, 8, flat), 'stroke', 'Gland')
        selectObjects([drawnRegion{also}])
        """
    text = (SCRIPTS / "segment_selected.groovy").read_text("utf-8")
    wrapped = copy.parent / "wrapped.groovy"
    wrapped.write_text(drawing + text, "utf-8")
    run = qupath.script(wrapped, "-s", "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.said == [f"qupath-sam: {outlined} outlined"], run.output
    found = qupath.objects(copy)["one.png"]
    assert found["clicked"]["parent"] == "region"
    assert float(found["clicked"]["area"]) < float(found["region"]["area"])
    assert found["region"]["kind"] == "Ellipse"
    assert (found["stroke"]["kind"] == "Ellipse") == (outlined == 1)


#: Draws a region round the middle of the image, and selects it.
REGION = """
def square = ROIs.createRectangleROI(150, 150, 400, 350, ImagePlane.getDefaultPlane())
def drawn = PathObjects.createAnnotationObject(square)
drawn.setName('region')
drawn.setPathClass(getPathClass('Region*'))
getCurrentHierarchy().addObject(drawn)
"""
#: Puts below the region what another script has made, such as a kept click: it has a score.
BY_HAND = """
def clicked = PathObjects.createDetectionObject(ROIs.createEllipseROI(200, 200, 20, 20, ImagePlane.getDefaultPlane()))
clicked.setName('by hand')
clicked.getMeasurementList().put('SAM score', 0.9)
getAnnotationObjects().find { it.getName() == 'region' }.addChildObject(clicked)
"""
#: What a person does with three of the objects that were found; QuPath drops the measurements of a new outline.
CORRECTED = """
def (moved, classed, named) = getDetectionObjects().findAll { it.getName() != 'by hand' }
moved.setROI(moved.getROI().translate(3, 0))
classed.setPathClass(getPathClass('Mitosis'))
named.setName('look here')
def corrected = [moved, classed, named].collect { it.getID() }
"""
KEPT = "println \"BY HAND ${getDetectionObjects().count { it.getName() == 'by hand' }}\"\n"
#: A grid that the fake model answers: its discs have soft edges.
GRID = {
    "prompting": "'grid'",
    "spacing": "120",
    "minStability": "0.5",
    "downsample": "1",
    "searchBackground": "true",
}
#: Prints what lies below the region.
BELOW = """
def ours = getAllObjects(false).findAll { it.getName() != 'by hand' && it.getMeasurements().containsKey('SAM score') }
def below = ours.findAll { it.getParent().getName() == 'region' }
def classes = ['Nucleus', 'Mitosis']
println "BELOW ${below.size()} ${below.every { it.isDetection() && it.getPathClass().toString() in classes }} " +
        "${below.every { it.getMeasurements().keySet().any { name -> name.startsWith('Area') } }}"
"""


def with_grid(name: str) -> str:
    """A script that finds objects by a grid, as nuclei."""
    text = (SCRIPTS / f"{name}.groovy").read_text("utf-8")
    changed = with_options(text, GRID).replace("def foundClass = ''", "def foundClass = 'Nucleus'")
    assert "foundClass = 'Nucleus'" in changed
    return changed


def below_region(output: str) -> int:
    """How many objects `BELOW` has counted."""
    ((count, *right),) = (line.split()[1:] for line in output.splitlines() if line.startswith("BELOW "))
    assert right == ["true", "true"], output
    return int(count)


def test_everything_in_a_region_in_one_step_and_again_from_the_workflow(
    qupath: QuPath, copy: Path, server: str, tmp_path: Path
) -> None:
    written = tmp_path / "workflow.groovy"
    told = (
        f"{BELOW}\nnew File('{written.as_posix()}').text = getCurrentImageData().getHistoryWorkflow().createScript()\n"
    )
    wrapped = copy.parent / "wrapped.groovy"
    selecting = SELECTING.replace("NAMES", "['region']")
    wrapped.write_text(f"{REGION}{selecting}{with_grid('everything_in_selected')}\n{told}", "utf-8")
    run = qupath.script(wrapped, "-s", "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    assert run.output.count("HIERARCHY CHANGED") == 1, "each is a step of undo"
    count = below_region(run.output)
    assert count > 3
    assert f"{count} objects in" in run.said[-1]
    assert "alone('everything_in_selected'" in written.read_text("utf-8")
    again = copy.parent / "again.groovy"
    repeated = (
        f"{BY_HAND}\n{CORRECTED}\nselectObjectsByClassification('Region*')\n{written.read_text('utf-8')}\n{BELOW}{KEPT}"
    )
    again.write_text(
        f'{repeated}\nprintln "STILL ${{getDetectionObjects().count {{ it.getID() in corrected }}}}"', "utf-8"
    )
    run = qupath.script(again, "-s", "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    assert "STILL 3" in run.output, "an outline, a class or a name that a person gave was replaced"
    assert below_region(run.output) == count - 1, "the rest is replaced, and the three are not found once more"
    assert "BY HAND 1" in run.output, "every object with a score was taken for what the first run had found"


def test_everything_for_project_works_on_each_images_regions(qupath: QuPath, copy: Path, server: str) -> None:
    drawing = copy.parent / "draw.groovy"
    drawing.write_text(REGION + BY_HAND, "utf-8")
    assert qupath.script(drawing, "-s", "-p", str(copy), "-i", "two.png").exit_code == 0
    script = copy.parent / "everything.groovy"
    script.write_text(with_grid("everything_for_project") + BELOW + KEPT, "utf-8")
    run = qupath.script(script, "-s", "-p", str(copy), QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    done = [line for line in run.said if " tiles, " not in line]
    assert done[0] == "qupath-sam: one.png: no regions of class Region*"
    assert "objects in" in done[1]
    assert "BY HAND 1" in run.output
    assert list(copy.parent.glob(".qupath-sam/script-backups/*/*/data.qpdata"))


#: A region in the region, which an earlier run has found as an annotation.
INNER = """
import io.github.qupathsam.client.Outlines
def inner = PathObjects.createAnnotationObject(ROIs.createRectangleROI(200, 200, 60, 60, ImagePlane.getDefaultPlane()))
inner.setName('inner')
inner.setPathClass(getPathClass('Region*'))
inner.getMetadata().putAll(['qupath-sam.found': 'everything',
        'qupath-sam.outline': Outlines.fingerprint(inner.getROI().getGeometry())])
drawn.addChildObject(inner)
selectObjects([drawn, inner])
"""


@pytest.mark.parametrize("name", ["everything_in_selected", "everything_for_project"])
def test_a_region_that_an_earlier_run_has_found_stays(qupath: QuPath, copy: Path, server: str, name: str) -> None:
    """It was taken away as one of the region round it, and what was found in it went with it."""
    text = with_options((SCRIPTS / f"{name}.groovy").read_text("utf-8"), {**GRID, "minObjectArea": "1000000000"})
    assert text.count("def asAnnotations = false") == 1
    text = text.replace("def asAnnotations = false", "def asAnnotations = true")
    script = copy.parent / "nested.groovy"
    counted = "\nprintln \"INNER ${getAnnotationObjects().count { it.getName() == 'inner' }}\"\n"
    script.write_text(REGION + INNER + text + counted, "utf-8")
    run = qupath.script(script, "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.exit_code == 0, run.output
    assert "1 of an earlier run stay" in run.output
    assert "INNER 1" in run.output


def test_an_example_is_needed_for_what_looks_like_it(qupath: QuPath, copy: Path, server: str) -> None:
    script = SCRIPTS / "like_selected.groovy"
    run = qupath.script(script, "-p", str(copy), "-i", "one.png", QUPATH_SAM_PORT=server)
    assert run.exit_code == 1
    assert run.said == ["qupath-sam: No example is selected. Select objects with an outline, or points in some."]


def test_pushed_pixels_give_the_same_outlines(
    qupath: QuPath, copy: Path, server: str, blind_server: str, tmp_path: Path
) -> None:
    script = for_classes(copy, "Tumor", "Stroma")
    pushed = shutil.copytree(copy.parent, tmp_path / "pushed") / copy.name
    assert qupath.script(script, "-s", "-p", str(copy), QUPATH_SAM_PORT=server).exit_code == 0
    assert qupath.script(script, "-s", "-p", str(pushed), QUPATH_SAM_PORT=blind_server).exit_code == 0
    seen, sent = qupath.objects(copy)["one.png"], qupath.objects(pushed)["one.png"]
    assert "QuPath rendered RGB" in sent["boxed"]["metadata"]
    assert "QuPath rendered RGB" not in seen["boxed"]["metadata"]
    assert {key: sent["boxed"][key] for key in ("area", "centre")} == {
        key: seen["boxed"][key] for key in ("area", "centre")
    }


def test_a_fluorescence_slide_goes_by_pushed_pixels(
    qupath: QuPath, shared_data: Path, blind_server: str, tmp_path: Path
) -> None:
    slide = shared_data / "slides" / "test3-DAPI-2-387.ndpi"
    project = qupath.make_project(tmp_path / "project", [slide])
    script = for_classes(project, "Tumor", "Stroma")
    run = qupath.script(script, "-s", "-p", str(project), QUPATH_SAM_PORT=blind_server)
    assert run.said == [f"qupath-sam: {slide.name}: 3 outlined"], run.output
    boxed = qupath.objects(project)[slide.name]["boxed"]
    assert boxed["centre"] == "660,245"
    assert "QuPath rendered RGB" in boxed["metadata"]
