"""With a real QuPath: nothing but what was meant changes, whatever happens."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import psutil
import pytest
import shapely
from shapely.geometry import Point

from qupath_sam.engine.refine_options import PromptOptions
from qupath_sam.errors import ProjectError
from qupath_sam.project.exchange import export_image, import_features
from qupath_sam.project.jvm.worker import QuPathWorker
from qupath_sam.project.layout import count_objects, read_project
from qupath_sam.project.objects import Edit, ImageContents, ShapeChange
from qupath_sam.project.predictor import ServerReadsSlides
from qupath_sam.project.refine import Proposal, RefineOptions, refine_image
from qupath_sam.project.run import RunOptions, RunReport, run_project, select_images, write_edit
from qupath_sam.project.segment import SegmentOptions, segment_image
from qupath_sam.project.selection import ObjectSelection
from qupath_sam.project.store.commit import ProjectStore
from qupath_sam.project.store.fingerprint import Fingerprint
from qupath_sam.project.store.lock import ProjectLock
from qupath_sam.project.undo import undo_run
from qupath_sam.qupath.geojson import AnnotationFeature, PathClass, read_features, read_geojson, write_geojson
from qupath_sam.slides.location import parse_location
from tests.project.conftest import dump
from tests.project.plain_editor import GrowingPredictor

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
#: What is as it was of an object whose outline is refined.
SAME_IF_REFINED = ("id", "name", "locked", "class", "parent", "probability", "plane")


def refine(project_file: Path, editor: QuPathWorker, by: float = 5.0) -> RunReport:
    project, images = select_images(project_file, ())
    options = RefineOptions(
        selection=ObjectSelection(path_classes=("Tumor",)), prompts=PromptOptions(interior=2), window_px=1024
    )

    def propose(worker: int, image: Any, contents: ImageContents) -> Proposal:
        return refine_image(image, contents.objects, options, GrowingPredictor(by), ServerReadsSlides())

    return run_project(project, images, propose, editor, RunOptions("refine"))


def test_refine_of_one_class_changes_nothing_else_and_undo_brings_it_back(real_project: Path) -> None:
    before, bytes_before = dump(real_project), _bytes(real_project)
    with QuPathWorker() as editor:
        report = refine(real_project, editor)
        assert [image.error for image in report.images] == ["", ""]
    after = dump(real_project)
    refined = {d.object_id for d in report.decisions if d.action.value == "refined"}
    assert len(refined) == 6, "with the hole, with two parts, on another plane; in two images"
    assert sum(image.recomputed for image in report.images) == 4 * 6 + 2 * 5, "two parts have no circularity"
    _check_images(before, after, refined)
    for image_before, image_after in zip(before, after, strict=True):
        (steps_before,), (steps_after,) = (
            {item["steps"] for item in image.values()} for image in (image_before, image_after)
        )
        # Ours; and QuPath, on reading, repeats the stains where they are not the last step.
        assert steps_after == steps_before + 2
    changed = {name for name, content in _bytes(real_project).items() if bytes_before.get(name) != content}
    assert changed == {f"data/{i}/{name}" for i in "12" for name in ("data.qpdata", "summary.json")}
    with QuPathWorker() as editor:
        assert len(undo_run(read_project(real_project), report.run_id, editor).whole) == 2
    assert _bytes(real_project) == bytes_before


def test_of_twenty_images_nothing_changes_but_what_was_named(twenty_images: Path) -> None:
    before = dump(twenty_images)
    with QuPathWorker() as editor:
        report = refine(twenty_images, editor)
    assert [image.error for image in report.images] == [""] * 20
    refined = {d.object_id for d in report.decisions if d.action.value == "refined"}
    assert len(refined) == 20 * 3
    _check_images(before, dump(twenty_images), refined)


def test_the_command_changes_the_outlines_of_the_named_class_alone_and_undo_brings_them_back(
    twenty_images: Path, tmp_path: Path
) -> None:
    before, bytes_before = dump(twenty_images), _bytes(twenty_images)
    asked = ("--class", "Tumor", "--model", "fake", "--min-iou", "0.3", "--min-part-iou", "0", "--no-thumbnails")
    _output("refine", str(twenty_images), *asked, "--report", str(tmp_path / "report"))
    refined = 0
    for image_before, image_after in zip(before, dump(twenty_images), strict=True):
        assert list(image_before) == list(image_after), "the order of objects has changed"
        for object_id, old in image_before.items():
            new = image_after[object_id]
            if new["geojson"] == old["geojson"]:
                assert new == old | {"steps": new["steps"]}
                continue
            refined += 1
            assert old["class"].startswith("Tumor")
            assert not old["locked"]
            assert {key: new[key] for key in SAME_IF_REFINED} == {key: old[key] for key in SAME_IF_REFINED}
            assert new["measurements"]["Score, by hand = x"] == old["measurements"]["Score, by hand = x"]
            assert new["geojson"]["properties"]["metadata"]["Reviewer"] == "Ü, ö = ok"
    lines = (tmp_path / "report" / "report.csv").read_text(encoding="utf-8-sig").splitlines()
    assert refined == sum(",refined," in line for line in lines) >= 20
    _output("undo", str(twenty_images))
    assert _bytes(twenty_images) == bytes_before


def _check_images(
    before: list[dict[str, dict[str, Any]]], after: list[dict[str, dict[str, Any]]], refined: set[str]
) -> None:
    """Of refined objects all but the outline is as it was, of others everything; of each image, in order."""
    for image_before, image_after in zip(before, after, strict=True):
        assert list(image_before) == list(image_after), "the order of objects has changed"
        for object_id, old in image_before.items():
            new = image_after[object_id]
            if object_id in refined:
                _check_refined(old, new)
            else:
                assert new == old | {"steps": new["steps"]}


def _check_refined(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert {key: new[key] for key in SAME_IF_REFINED} == {key: old[key] for key in SAME_IF_REFINED}
    old_shape, new_shape = (shapely.geometry.shape(item["geojson"]["geometry"]) for item in (old, new))
    assert new_shape.symmetric_difference(old_shape.buffer(5)).area < 0.02 * new_shape.length
    measurements, kept = new["measurements"], old["measurements"]
    assert measurements["Score, by hand = x"] == kept["Score, by hand = x"]
    assert measurements["Positive %"] == kept["Positive %"] == "nan"
    assert float(measurements["Area px^2"]) == pytest.approx(new_shape.area, rel=1e-3)
    assert float(measurements["Length px"]) == pytest.approx(new_shape.length, rel=1e-3)
    assert "ROI: 2.00 µm per pixel: Hematoxylin: Mean" not in measurements
    assert float(measurements["SAM score"]) == 0.8
    assert measurements.keys() - kept.keys() == {"SAM score", "SAM IoU with old outline"}
    metadata = new["geojson"]["properties"]["metadata"]
    assert metadata["Reviewer"] == "Ü, ö = ok"
    assert metadata["qupath-sam.model"] == "fake"


def test_undo_by_object_after_qupath_has_saved(small_project: Path) -> None:
    before = dump(small_project)
    with QuPathWorker() as editor:
        report = refine(small_project, editor)
        image = read_project(small_project).images[0]
        tumor = next(d for d in report.decisions if d.before is not None and d.before.name == "two parts")
        current = next(item for item in editor.read(image).objects if item.object_id == tumor.object_id)
        other = Edit((ShapeChange(current.object_id, current.wkb, shapely.to_wkb(shapely.box(1200, 300, 1300, 400))),))
        store = ProjectStore(small_project)
        write_edit(store, store.begin("test", {}), image, Fingerprint.of(image.data_file), other, editor)
        undone = undo_run(read_project(small_project), report.run_id, editor)
    assert undone.whole == ("slide 1.tiff", "slide 2.tiff", "slide 3.tiff")
    assert undone.by_object == (("slide 0.tiff", 2, 1),)
    after = dump(small_project)
    for object_id, old in before[0].items():
        new = after[0][object_id]
        if object_id == tumor.object_id:
            assert shapely.geometry.shape(new["geojson"]["geometry"]).bounds == (1200, 300, 1300, 400)
        else:
            assert new == old | {"steps": new["steps"]}
    assert after[1:] == before[1:]


def test_segment_puts_outlines_below_the_right_parent(small_project: Path) -> None:
    project, images = select_images(small_project, ("1",))
    options = SegmentOptions({"SAM prompt": "Tumor"})

    def propose(worker: int, image: Any, contents: ImageContents) -> Proposal:
        return segment_image(image, contents.objects, options, GrowingPredictor(), ServerReadsSlides())

    before = dump(small_project)[0]
    with QuPathWorker() as editor:
        report = run_project(project, images, propose, editor, RunOptions("segment"))
    assert [image.error for image in report.images] == [""]
    after = dump(small_project)[0]
    new = [item for object_id, item in after.items() if object_id not in before]
    region = next(item["id"] for item in before.values() if item["name"] == "region")
    assert len(new) == 2
    assert {(item["class"], item["parent"]) for item in new} == {("Tumor", region)}
    gone = [before[object_id] for object_id in before.keys() - after.keys()]
    assert {item["class"] for item in gone} == {"SAM prompt"}
    summary = count_objects(read_project(small_project).images[0])
    assert summary["annotationClassificationCounts"]["Tumor"] == 5
    assert "SAM prompt" not in summary["annotationClassificationCounts"]


def test_broken_data_is_refused_and_left_alone(real_project: Path) -> None:
    project = read_project(real_project)
    image = project.images[0]
    whole = image.data_file.read_bytes()
    with QuPathWorker() as editor:
        for broken in (whole[: len(whole) // 2], whole[:50_000] + bytes(1000) + whole[51_000:]):
            image.data_file.write_bytes(broken)
            with pytest.raises(ProjectError):
                editor.read(image)
            assert image.data_file.read_bytes() == broken
        image.data_file.write_bytes(project.images[1].data_file.read_bytes())
        fewer = image.summary_file.read_text().replace('"nObjects":10011', '"nObjects":10012')
        image.summary_file.write_text(fewer)
        with pytest.raises(ProjectError, match="10012"):
            editor.read(image)


def test_reading_twice_and_writing_nothing_back_is_the_same(real_project: Path, tmp_path: Path) -> None:
    image = read_project(real_project).images[0]
    with QuPathWorker() as editor:
        sizes = []
        for name in "ab":
            editor.write(image, Edit(), str(tmp_path / name))
            editor.verify(image, str(tmp_path / name))
            sizes.append((tmp_path / name).stat().st_size)
            image = replace(image, folder=tmp_path / name)
            (tmp_path / f"{name}-folder").mkdir()
            (tmp_path / name).rename(tmp_path / f"{name}-folder" / "data.qpdata")
            image = replace(image, folder=tmp_path / f"{name}-folder")
    assert abs(sizes[0] - sizes[1]) < 200, "reading and writing makes the file grow"


def test_pixels_as_qupath_shows_them(real_project: Path) -> None:
    import numpy as np
    import tifffile

    image = read_project(real_project).images[0]
    slide = tifffile.imread(parse_location(image.server_builder["uri"]).target)
    with QuPathWorker() as editor:
        width, height, data = editor.pixels(image, (100, 200, 300, 150), 1.0)
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
    assert (pixels == slide[200:350, 100:400]).all()


def test_pixels_that_are_not_rgb_are_rendered(small_project: Path, tmp_path: Path) -> None:
    import numpy as np
    import tifffile

    slide = REPOSITORY / "qupath_sam" / "assets" / "CMU-1-Small-Region.tif"
    channels = np.moveaxis(tifffile.imread(slide)[900:1200, 900:1300], -1, 0).astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "channels.tif", channels, imagej=True, metadata={"axes": "CYX"})
    image = read_project(small_project).images[0]
    rgb = {key: value for key, value in image.server_builder.items() if key != "metadata"} | {"uri": slide.as_uri()}
    grey = rgb | {
        "providerClassName": "qupath.imagej.images.servers.ImageJServerBuilder",
        "uri": (tmp_path / "channels.tif").as_uri(),
    }
    with QuPathWorker() as editor:
        seen = [
            np.frombuffer(editor.pixels(replace(image, server_builder=builder), region, 2.0)[2], np.uint8)
            for builder, region in ((rgb, (900, 900, 400, 300)), (grey, (0, 0, 400, 300)))
        ]
    # QuPath stretches the contrast, so what is compared is which pixels are dark.
    assert seen[0].shape == seen[1].shape == (200 * 150 * 3,)
    assert np.corrcoef(*seen)[0, 1] > 0.95


_KILLED = """
import sys
from pathlib import Path
from qupath_sam.project.jvm.worker import QuPathWorker
from tests.project.test_qupath import refine
if __name__ == "__main__":
    with QuPathWorker() as editor:
        print("started", editor.qupath_version(), flush=True)
        refine(Path(sys.argv[1]), editor, by=1.0)
"""


def test_kills_leave_every_image_old_or_new(small_project: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    chance = random.Random(0)
    before = _other_bytes(small_project)
    with QuPathWorker() as editor:
        started = time.monotonic()
        refine(small_project, editor, by=1.0)
        duration = time.monotonic() - started
        states = [_areas(editor, small_project)]
        for _ in range(15):
            writer = subprocess.Popen(
                [sys.executable, str(script), str(small_project)],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.PIPE,
            )
            assert writer.stdout is not None
            assert writer.stdout.readline()
            try:
                writer.wait(timeout=chance.uniform(0, 2 * duration))
            except subprocess.TimeoutExpired:
                writer.kill()
            writer.communicate()
            with ProjectLock(small_project.parent) as lock:
                ProjectStore(small_project, lock=lock).recover()
            states.append(_areas(editor, small_project))
    for earlier, later in itertools.pairwise(states):
        for old, new in zip(earlier, later, strict=True):
            grown = [b - a > 1 for a, b in zip(old, new, strict=True)]
            assert all(grown) or old == new, "an image is neither wholly old nor wholly new"
    changes = sum(earlier != later for earlier, later in itertools.pairwise(states))
    assert changes > 0, "no run got as far as writing"
    assert _other_bytes(small_project) == before
    assert not list(small_project.parent.glob("data/*/*.tmp"))


def _areas(editor: QuPathWorker, project_file: Path) -> list[list[float]]:
    """Areas of the tumours of each image; reading compares the object counts with summary.json."""
    return [
        [
            item.geometry.area
            for item in editor.read(image).objects
            if (item.path_class or "").startswith("Tumor") and not item.locked
        ]
        for image in read_project(project_file).images
    ]


def _bytes(project_file: Path) -> dict[str, bytes]:
    folder = project_file.parent
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] != ".qupath-sam"
    }


def _other_bytes(project_file: Path) -> dict[str, bytes]:
    return {
        name: content
        for name, content in _bytes(project_file).items()
        if not name.endswith(("data.qpdata", "summary.json"))
    }


def _command(*arguments: str, **keywords: Any) -> subprocess.Popen[str]:
    """The command line with the model in its own process."""
    script = (
        "import sys\nfrom qupath_sam.cli.project import app\nfrom qupath_sam.errors import QupathSamError\n"
        "if __name__ == '__main__':\n    try:\n        app()\n"
        "    except QupathSamError as error:\n        print(error, file=sys.stderr)\n        sys.exit(2)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **keywords,
    )


def _output(*arguments: str) -> str:
    process = _command(*arguments)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    return text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send to a console program")
def test_command_line_stops_resumes_reports_and_undoes(small_project: Path, tmp_path: Path) -> None:
    before = _bytes(small_project)
    refining = ("refine", str(small_project), "--class", "Tumor", "--model", "fake", "--min-iou", "0.3")
    refining += ("--min-part-iou", "0")  # the fake model draws neither holes nor second parts
    report = tmp_path / "report"
    assert "nothing was written" in _output(*refining, "--dry-run", "--report", str(report))
    assert _bytes(small_project) == before
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 16
    assert "http" not in page.replace("https://", "http://").replace("http://www.w3.org", "")
    assert len((report / "report.csv").read_text(encoding="utf-8-sig").splitlines()) == 17

    running = _command(*refining, "--report", str(report))
    assert running.stdout is not None
    first = next(line for line in running.stdout if "objects in" in line)
    running.terminate()
    rest = running.communicate()[0]
    assert running.returncode == 0, rest
    assert "slide 0.tiff" in first
    assert "go on with --resume" in rest
    assert "3 done before" not in rest
    resumed = _output(*refining, "--resume", "--report", str(report))
    assert "slide 0.tiff: " not in resumed
    assert "slide 3.tiff: " in resumed
    assert len((report / "report.csv").read_text(encoding="utf-8-sig").splitlines()) == 17
    assert _bytes(small_project) != before
    assert "byte by byte" in _output("undo", str(small_project))
    assert _bytes(small_project) == before


def test_command_line_exports_imports_and_segments(small_project: Path, tmp_path: Path) -> None:
    exported = tmp_path / "geojson"
    text = _output("export", str(small_project), str(exported))
    assert "left out" not in text, "the point is among them"
    before = dump(small_project)
    _output("segment", str(small_project), "--class", "SAM prompt=Necrosis", "--model", "fake", "--image", "1")
    after = dump(small_project)
    assert [item["class"] for item in after[0].values()].count("Necrosis") == 2
    assert after[1:] == before[1:]
    for image in read_project(small_project).images[1:2]:
        image.data_file.unlink()
        image.summary_file.unlink()
    _output("import", str(small_project), str(exported), "--image", "2", "--image", "3")
    again = dump(small_project)
    assert again[2] == before[2], "what is there is left alone"
    assert len(again[1]) == len(before[1])
    for object_id, new in again[1].items():
        old = before[1][object_id]
        same = ["name", "locked", "class", "plane", "measurements"]
        if old["geojson"]["properties"]["objectType"] == "annotation":  # detections were put anywhere
            same.append("parent")
        assert {key: new[key] for key in same} == {key: old[key] for key in same}
        if "isEllipse" not in old["geojson"]["geometry"]:
            assert new["geojson"]["geometry"] == old["geojson"]["geometry"]
        assert new["geojson"]["geometry"]["type"] == old["geojson"]["geometry"]["type"]
    info = json.loads(_output("info", str(small_project), "--json"))
    assert [run["command"] for run in info["runs"]] == ["segment", "import"]


def test_command_line_finds_everything_like_an_example_and_takes_it_back(small_project: Path, tmp_path: Path) -> None:
    """The slides of the project have dark discs of 60 px; one of them is the example, most others are in the region."""
    centres = np.random.default_rng(0).integers(100, 2048 - 100, (12, 2))
    disc, square = tmp_path / "disc.geojson", shapely.box(1, 1, 2047, 2047)
    features = [
        AnnotationFeature(Point(centres[0]).buffer(60), classification=PathClass.of("Example*")),
        AnnotationFeature(square, classification=PathClass.of("Region*")),
    ]
    write_geojson(disc, features)
    _output("import", str(small_project), str(disc), "--image", "1")
    before, files = dump(small_project), _bytes(small_project)
    ask = ("segment", str(small_project), "--everything", "--class", "Region*=Disc", "--like", "Example*")
    ask += ("--model", "fake", "--effort", "fast", "--no-thumbnails", "--image", "1")
    assert "nothing was written" in _output(*ask, "--dry-run", "--report", str(tmp_path / "report"))
    assert _bytes(small_project) == files
    _output(*ask)
    after = dump(small_project)
    found = [item for key, item in after[0].items() if key not in before[0]]
    places = [shapely.geometry.shape(item["geojson"]["geometry"]).centroid for item in found]
    assert sum(any(place.distance(Point(xy)) < 20 for place in places) for xy in centres) >= 8
    assert {item["class"] for item in found} == {"Disc"}
    region = next(item["id"] for item in after[0].values() if item["class"] == "Region*")
    assert {item["parent"] for item in found} == {region}
    assert after[1:] == before[1:]
    _output(*ask)
    again = [key for key in dump(small_project)[0] if key not in before[0]]
    assert len(again) == len(found), "what the first run had found is replaced"
    assert not set(again) & {item["id"] for item in found}
    for _ in range(2):
        _output("undo", str(small_project))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that makes Java crash")
def test_a_crash_of_java_leaves_nothing_in_the_checkout(
    qupath: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"{os.environ['JAVA_TOOL_OPTIONS']} -XX:-CreateCoredumpOnCrash")
    with QuPathWorker() as editor:
        editor.qupath_version()
        (process,) = (child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline()))
        process.send_signal(signal.SIGSEGV)
        with pytest.raises(ProjectError, match=r"died|ended"):
            editor.qupath_version()
    assert (qupath / f"hs_err_pid{process.pid}.log").exists()
    assert not list(tmp_path.iterdir())


def test_points_and_lines_come_and_go(small_project: Path, tmp_path: Path) -> None:
    """From a file as QuPath writes it into a project, and out again, in QuPath's words and in ours."""
    rois = {
        "Points": [
            {"type": "Point", "coordinates": [700.25, 800.5]},
            {"type": "MultiPoint", "coordinates": [[700.25, 800.5], [750, 710.75], [700.25, 800.5]]},
        ],
        "Line": [{"type": "LineString", "coordinates": [[700, 800], [750.5, 850]]}],
        "Polyline": [
            {"type": "LineString", "coordinates": [[700, 800], [750.5, 850], [800, 800]]},
            {"type": "LineString", "coordinates": [[700, 800], [750.5, 850], [800, 800], [700, 800]]},
        ],
        "Geometry": [
            {"type": "MultiLineString", "coordinates": [[[700, 800], [750.5, 850]], [[800, 800], [810, 820]]]},
        ],
    }
    meant = [(roi, geometry) for roi, geometries in rois.items() for geometry in geometries]
    features = [
        {
            "type": "Feature",
            "id": str(uuid.UUID(int=number, version=4)),
            "geometry": geometry,
            "properties": {
                "objectType": "annotation",
                "name": f"number {number}",
                "classification": {"names": ["Tumor", "Positive"], "color": [1, 2, 3]},
                "color": [4, 5, 6],
                "isLocked": True,
                "measurements": {"m": 0.5},
                "metadata": {"by": "ä"},
            },
        }
        for number, (_, geometry) in enumerate(meant)
    ]
    source = tmp_path / "points.geojson"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    project, images = select_images(small_project, ("2",))

    def propose(worker: int, image: Any, contents: ImageContents) -> Proposal:
        return import_features(image, read_geojson(source), contents.objects)

    with QuPathWorker() as editor:
        report = run_project(project, images, propose, editor, RunOptions("import"))
        assert [image.error for image in report.images] == [""]
        objects = editor.read(images[0]).objects
        exported = export_image(images[0], objects, tmp_path)
    read = {item.object_id: item for item in objects}
    assert [read[feature["id"]].roi for feature in features] == [roi for roi, _ in meant]
    tumor = next(item for item in objects if item.name == "tumor with hole")
    assert {read[feature["id"]].parent_id for feature in features} == {tumor.object_id}
    assert exported.left_out == 0
    ours = {feature["id"]: feature for feature in json.loads(exported.path.read_text())["features"]}
    in_qupath = {object_id: item["geojson"] for object_id, item in dump(small_project)[1].items()}
    for feature in features:
        wanted = feature["properties"] | {"classification": ANY}  # QuPath gives a class that it knows its own colour
        assert ours[feature["id"]] == feature | {"properties": wanted, "geometry": ANY}
        assert _normal(ours[feature["id"]]) == _normal(feature)
        assert ours[feature["id"]]["properties"]["classification"]["names"] == ["Tumor", "Positive"]
        theirs = in_qupath[feature["id"]]
        if theirs is None:
            continue
        assert _normal(theirs) == _normal(feature)
        said = "objectType", "name", "color", "isLocked", "measurements"
        assert [theirs["properties"][key] for key in said] == [wanted[key] for key in said]
    assert [in_qupath[feature["id"]] is None for feature in features] == [roi == "Geometry" for roi, _ in meant]
    again = read_features(json.dumps([theirs for theirs in in_qupath.values() if theirs is not None]))
    assert len(again) == len(in_qupath) - 1, "what QuPath writes of all objects is read"


def _normal(feature: Any) -> Any:
    """Its shape, whatever the order of its points."""
    return shapely.geometry.shape(feature["geometry"]).normalize()
