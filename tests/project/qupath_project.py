"""Makes a project with QuPath itself, and says in QuPath's own words what is in one.

``python qupath_project.py make|dump FOLDER``: a program of its own, since its JVM cannot be stopped.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile


def make_slide(path: Path, seed: int, size: int = 2048) -> None:
    """A tiled RGB TIFF that OpenSlide opens: pale, with dark discs."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    pixels = np.full((size, size, 3), 235, np.uint8)
    for cx, cy in chance.integers(100, size - 100, (12, 2)):
        pixels[(x - cx) ** 2 + (y - cy) ** 2 < 60**2] = (120, 60, 140)
    resolution = 10_000 / 0.5  # 0.5 um a pixel
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        compression="deflate",
        resolution=(resolution, resolution),
        resolutionunit="CENTIMETER",
    )


def make(folder: Path, images: int, detections: int) -> None:
    """A project with everything that can be lost in each image, and ``detections`` in the first."""
    from jpype import JClass
    from paquo.images import QuPathImageType
    from paquo.projects import QuPathProject

    from paquo.java import LogManager  # isort: skip

    LogManager.setWarn()
    # QuPath 0.5 does so only with a window, and finds no reader for slides before.
    JClass("qupath.lib.images.servers.openslide.jna.OpenSlideLoader").tryToLoad()
    with QuPathProject(folder, mode="x") as project:
        for number in range(images):
            slide = folder.parent / f"slide {number}.tiff"
            make_slide(slide, number)
            project.add_image(slide, image_type=QuPathImageType.BRIGHTFIELD_H_E)
    project = JClass("qupath.lib.projects.ProjectIO").loadProject(
        JClass("java.io.File")(str(folder / "project.qpproj")), JClass("java.awt.image.BufferedImage")
    )
    for number, entry in enumerate(project.getImageList()):
        data = entry.readImageData()
        fill(data.getHierarchy(), random.Random(number), detections if number == 0 else 50)
        entry.saveImageData(data)


def fill(hierarchy: Any, chance: random.Random, detections: int) -> None:
    """Nested annotations, holes, parts, planes, measurements, metadata, colours, locks, cells, many detections."""
    from jpype import JClass

    factory, rois = JClass("qupath.lib.objects.PathObjects"), JClass("qupath.lib.roi.ROIs")
    plane_of = JClass("qupath.lib.regions.ImagePlane").getPlane
    path_class = JClass("qupath.lib.objects.classes.PathClass").fromString
    tools = JClass("qupath.lib.roi.GeometryTools")
    wkt = JClass("org.locationtech.jts.io.WKTReader")(tools.getDefaultFactory())
    features = JClass("qupath.lib.analysis.features.ObjectMeasurements$ShapeFeatures").values()
    calibration = JClass("qupath.lib.images.servers.PixelCalibration").getDefaultInstance()

    def annotation(text: str, name: str, classification: str | None, parent: Any, z: int = 0, t: int = 0) -> Any:
        roi = tools.geometryToROI(wkt.read(text), plane_of(z, t))
        item = factory.createAnnotationObject(roi)
        if classification:
            item.setPathClass(path_class(classification), 0.75)
        item.setName(name)
        hierarchy.addObjectBelowParent(parent, item, False)
        item.getMeasurementList().put("Score, by hand = x", 0.1 + 0.2)
        item.getMeasurementList().put("Positive %", float("nan"))
        JClass("qupath.lib.analysis.features.ObjectMeasurements").addShapeMeasurements(
            JClass("java.util.Collections").singletonList(item), calibration, features
        )
        item.getMeasurementList().put("ROI: 2.00 µm per pixel: Hematoxylin: Mean", 0.5)
        item.getMetadata().put("Reviewer", "Ü, ö = ok")
        return item

    root = hierarchy.getRootObject()
    region = annotation("POLYGON((100 100,1900 100,1900 1900,100 1900,100 100))", "region", "Region", root)
    tumor = annotation(
        "POLYGON((300 300,1000 320,980 1000,310 990,300 300),(500 500,520 700,700 690,690 510,500 500))",
        "tumor with hole", "Tumor", region,
    )  # fmt: skip
    annotation("POLYGON((320 320,400 320,400 400,320 400,320 320))", "in the tumor", "Stroma", tumor)
    annotation(
        "MULTIPOLYGON(((1200 300,1400 310,1390 500,1210 490,1200 300)),"
        "((1500 300,1600 300,1600 400,1500 400,1500 300)))",
        "two parts", "Tumor", region,
    )  # fmt: skip
    locked = annotation("POLYGON((1200 1200,1400 1200,1400 1400,1200 1400,1200 1200))", "locked", "Tumor", region)
    locked.setLocked(True)
    other_plane = annotation(
        "POLYGON((1500 1500,1700 1510,1690 1700,1500 1690,1500 1500))", "on z 3, t 2", "Tumor: Positive", root, 3, 2
    )
    other_plane.setColor(JClass("java.lang.Integer").valueOf(-65536))
    annotation("POLYGON((1600 800,1800 810,1790 1000,1600 990,1600 800))", "unclassified", None, region)
    hierarchy.addObjectBelowParent(
        region, factory.createAnnotationObject(rois.createEllipseROI(800, 1300, 200, 100, plane_of(0, 0))), False
    )
    points = rois.createPointsROI(600.5, 1500.5, plane_of(0, 0))
    point = factory.createAnnotationObject(points, path_class("SAM prompt"))
    hierarchy.addObjectBelowParent(region, point, False)
    box = factory.createAnnotationObject(
        rois.createRectangleROI(300, 1500, 200, 100, plane_of(0, 0)), path_class("SAM prompt")
    )
    hierarchy.addObjectBelowParent(region, box, False)
    for number in range(detections):
        x, y = chance.uniform(310, 970), chance.uniform(310, 980)
        roi = rois.createEllipseROI(x, y, 6, 5, plane_of(0, 0))
        if number % 3:
            item = factory.createDetectionObject(roi, path_class("Immune cells"))
        else:
            nucleus = rois.createEllipseROI(x + 1, y + 1, 3, 3, plane_of(0, 0))
            item = factory.createCellObject(roi, nucleus, path_class("Tumor"), None)
        item.getMeasurementList().put("Nucleus: Area µm^2", chance.random())
        hierarchy.addObjectBelowParent(tumor if number % 2 else region, item, False)
    hierarchy.fireHierarchyChangedEvent(None)


def dump(folder: Path) -> list[list[dict[str, Any]]]:
    """For each image all objects in hierarchy order: QuPath's own GeoJSON of each, and what that leaves out."""
    from jpype import JClass

    from paquo.java import LogManager  # isort: skip

    LogManager.setWarn()
    project = JClass("qupath.lib.projects.ProjectIO").loadProject(
        JClass("java.io.File")(str(folder / "project.qpproj")), JClass("java.awt.image.BufferedImage")
    )
    gson = JClass("qupath.lib.io.GsonTools").getInstance()
    images = []
    for entry in project.getImageList():
        data = entry.readImageData()
        steps = int(data.getHistoryWorkflow().size())
        images.append([_described(item, gson, steps) for item in _tree(data.getHierarchy().getRootObject())])
    return images


def _tree(item: Any) -> Iterator[Any]:
    for child in item.getChildObjects():
        yield child
        yield from _tree(child)


def _described(item: Any, gson: Any, steps: int) -> dict[str, Any]:
    roi, parent = item.getROI(), item.getParent()
    is_several_lines = str(roi.getGeometry().getGeometryType()) == "MultiLineString"
    return {
        "id": str(item.getID()),
        "name": str(item.getName()),
        "locked": bool(item.isLocked()),
        "class": str(item.getPathClass()),
        "parent": str(parent.getID()) if parent.getROI() is not None else "root",
        "probability": str(item.getClassProbability()),
        "measurements": {str(entry.getKey()): str(entry.getValue()) for entry in item.getMeasurements().entrySet()},
        "plane": str(roi.getImagePlane()),
        "bounds": [roi.getBoundsX(), roi.getBoundsY(), roi.getArea()],
        # QuPath reads lines of several parts but recurses without end where it writes them (0.5 to 0.7).
        "geojson": None if is_several_lines else json.loads(str(gson.toJson(item))),
        "steps": steps,
    }


if __name__ == "__main__":
    import os

    import paquo

    paquo.settings.set("JAVA_OPTS", ["-Xmx1g", f"-Djava.util.prefs.userRoot={sys.argv[2]}-preferences"])
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        Path(sys.argv[3]).write_text(json.dumps(dump(Path(sys.argv[2]))), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)
