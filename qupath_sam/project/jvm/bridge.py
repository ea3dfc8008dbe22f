"""QuPath's own code, called through paquo's JVM: reads an image's objects, edits them in place, saves, compares.

The one module that imports paquo and jpype. It is imported by `qupath_sam.project.jvm.worker` only, in a process of its
own: importing paquo.java starts a JVM that cannot be stopped, must not be forked, and knows one thread.

paquo's own objects are not used: its setters move nested objects to the root and lose the z and t of a shape, and its
`save` skips images whose slide is elsewhere.

Detections of QuPath 0.5 take no metadata, and its objects do not say whether they have any.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from qupath_sam.errors import ProjectError
from qupath_sam.project.jvm.image_data import ImageOpener
from qupath_sam.project.jvm.java_objects import by_id, has_metadata, measurements_of, metadata_of, simple_name, twin
from qupath_sam.project.layout import ImageEntry, check_data_file
from qupath_sam.project.measurements import depends_on_shape
from qupath_sam.project.objects import Edit, ImageContents, ImageObject, Kind, Plane, ShapeChange, Written
from qupath_sam.project.snapshot import ObjectState, Snapshot, Values, check_edit

_KINDS = {
    "PathRootObject": Kind.ROOT,
    "PathAnnotationObject": Kind.ANNOTATION,
    "PathDetectionObject": Kind.DETECTION,
    "PathCellObject": Kind.CELL,
    "PathTileObject": Kind.TILE,
    "TMACoreObject": Kind.TMA_CORE,
}
_OVER_THE_SLIDE = "PolygonROI", "RectangleROI", "EllipseROI", "GeometryROI"


class Bridge:
    """A JVM with QuPath in it. One thread only.

    Args:
        java_options: of the JVM, such as ``-Xmx2g``.
    """

    def __init__(self, java_options: tuple[str, ...]) -> None:
        import paquo

        paquo.settings.set("JAVA_OPTS", list(java_options))
        try:
            from paquo import java
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise ProjectError(
                f"QuPath cannot be started ({error}); install QuPath 0.5 to 0.7 and set PAQUO_QUPATH_DIR to its folder"
            ) from error
        from jpype import JException, JProxy

        self._java = java
        self.qupath_version = str(java.qupath_version)
        java.LogManager.setWarn()
        self._classes: dict[str, Any] = {}
        self._wkb_writer = self._class("org.locationtech.jts.io.WKBWriter")(2)
        self._is_0_5 = self.qupath_version.startswith("0.5.")
        self._images = ImageOpener(self._class, failure=JException, proxy=JProxy, is_0_5=self._is_0_5)
        self._pending: tuple[Snapshot, Edit] | None = None

    # Reading

    def read(self, image: ImageEntry, kinds: tuple[Kind, ...]) -> ImageContents:
        """Read the objects of an image of the given kinds.

        Raises:
            ProjectError: the data is broken, or does not hold as many objects as summary.json says.
        """
        if not image.data_file.exists():
            return ImageContents((), 0)
        hierarchy = self._images.data(image).getHierarchy()
        root = str(hierarchy.getRootObject().getID())
        objects = [
            self._value(item, root) for item in self._all_objects(hierarchy) if _KINDS.get(simple_name(item)) in kinds
        ]
        return ImageContents(tuple(objects), int(hierarchy.nObjects()))

    def pixels(
        self, image: ImageEntry, region: tuple[int, int, int, int], downsample: float, z: int, t: int
    ) -> tuple[int, int, bytes]:
        """Return QuPath's rendered RGB of a region ``(x, y, width, height)``: width, height, three bytes a pixel."""
        from jpype import JInt

        server = self._images.server(image)
        request = self._class("qupath.lib.regions.RegionRequest").createInstance(
            server.getPath(), float(downsample), *(JInt(value) for value in (*region, z, t))
        )
        picture = server.readRegion(request)
        width, height = int(picture.getWidth()), int(picture.getHeight())
        argb = np.array(picture.getRGB(0, 0, width, height, None, 0, width), dtype=np.int64)
        channels = [(argb >> shift) & 255 for shift in (16, 8, 0)]
        return width, height, np.stack(channels, axis=-1).astype(np.uint8).tobytes()

    # Writing

    def write(self, image: ImageEntry, edit: Edit, path: str) -> Written:
        """Read an image afresh, apply ``edit`` to the objects themselves, and save to ``path``.

        Raises:
            ProjectError: an object is gone or has another shape than when it was read.
        """
        data = self._images.data(image)
        hierarchy = data.getHierarchy()
        before = self._snapshot(hierarchy, edit)
        objects = by_id(self._all_objects(hierarchy))
        for object_id in (*(change.object_id for change in edit.changes), *edit.removals):
            if twin(object_id) in objects:
                raise ProjectError(f"two objects have the id {object_id}; delete one of them in QuPath, or copy it")
        recomputed = removed = 0
        for change in edit.changes:
            item = objects.get(change.object_id)
            if item is None:
                raise ProjectError(f"object {change.object_id} is gone; read the image again")
            counts = self._change_shape(item, change, data)
            recomputed, removed = recomputed + counts[0], removed + counts[1]
        self._add_and_remove(hierarchy, objects, edit)
        if edit.step:
            self._add_step(data, edit.step)
        hierarchy.fireHierarchyChangedEvent(None)
        self._class("qupath.lib.io.PathIO").writeImageData(self._class("java.io.File")(path), data)
        self._pending = before, edit
        return Written(self._summary(data, Path(path)), recomputed, removed)

    def verify(self, image: ImageEntry, path: str) -> None:
        """Read what `write` has saved and compare every object with what it was and should be."""
        if self._pending is None:
            raise ProjectError("nothing was written that could be verified")
        before, edit = self._pending
        self._pending = None
        check_data_file(Path(path))
        data = self._images.read_data(Path(path), image)
        check_edit(before, self._snapshot(data.getHierarchy(), edit), edit)

    # Objects

    def _value(self, item: Any, root: str) -> ImageObject:
        state = self._state(item)
        return ImageObject(
            object_id=str(item.getID()),
            kind=_KINDS[simple_name(item)],
            roi=state.roi,
            wkb=state.wkb,
            plane=Plane(*state.plane),
            path_class=state.path_class,
            name=state.name,
            locked=state.locked,
            parent_id=None if state.parent in ("", root) else state.parent,
            color=state.color,
            probability=float(item.getClassProbability()),
            measurements=measurements_of(item),
            metadata=metadata_of(item),
            children=int(item.nChildObjects()),
        )

    def _snapshot(self, hierarchy: Any, edit: Edit) -> Snapshot:
        root = hierarchy.getRootObject()
        items = by_id([root, *self._all_objects(hierarchy)])
        changing = [change.object_id for change in edit.changes if change.object_id in items]
        return Snapshot(
            str(root.getID()),
            {object_id: self._state(item) for object_id, item in items.items()},
            {
                object_id: Values(measurements_of(items[object_id]), metadata_of(items[object_id]))
                for object_id in changing
            },
        )

    def _state(self, item: Any) -> ObjectState:
        roi, path_class, parent = item.getROI(), item.getPathClass(), item.getParent()
        color, name = item.getColor(), item.getName()
        nucleus = item.getNucleusROI() if simple_name(item) == "PathCellObject" else None
        return ObjectState(
            java_class=type(item).__name__,
            roi="" if roi is None else str(roi.getRoiName()),
            wkb=b"" if roi is None else self._wkb(roi),
            nucleus=b"" if nucleus is None else self._wkb(nucleus),
            plane=(-1, 0, 0) if roi is None else (int(roi.getC()), int(roi.getZ()), int(roi.getT())),
            path_class=None if path_class is None else str(path_class.toString()),
            probability=str(item.getClassProbability()),
            color=None if color is None else int(color),
            name=None if name is None else str(name),
            locked=bool(item.isLocked()),
            metadata=str(item.getMetadata()) if has_metadata(item) else "{}",
            measurements=str(item.getMeasurementList().asMap()) if item.hasMeasurements() else "{}",
            parent="" if parent is None else str(parent.getID()),
            children=tuple(str(child.getID()) for child in item.getChildObjects()) if item.hasChildObjects() else (),
        )

    def _wkb(self, roi: Any) -> bytes:
        return bytes(memoryview(self._wkb_writer.write(roi.getGeometry())))

    def _all_objects(self, hierarchy: Any) -> list[Any]:
        """Return all objects but the root, parents before children."""
        found = []
        waiting = [hierarchy.getRootObject()]
        while waiting:
            item = waiting.pop()
            if item.hasChildObjects():
                children = list(item.getChildObjects())
                found += children
                waiting += children
        return found

    # Edits

    def _change_shape(self, item: Any, change: ShapeChange, data: Any) -> tuple[int, int]:
        """Give an object a new shape; returns how many measurements were recomputed and removed."""
        old_roi = item.getROI()
        if self._wkb(old_roi) != change.old_wkb:
            raise ProjectError(f"object {change.object_id} has another shape than when it was read; read it again")
        kept = measurements_of(item)
        roi = self._roi(change.new_wkb, old_roi.getImagePlane())
        if str(roi.getClass().getSimpleName()) not in _OVER_THE_SLIDE or roi.isEmpty():
            raise ProjectError(f"QuPath makes no area of the new shape of object {change.object_id}")
        item.setROI(roi)  # empties the measurements
        measurements = item.getMeasurementList()
        stale = [name for name in kept if depends_on_shape(name, kept)]
        fresh = self._shape_measurements(item, data) if stale and change.exact_measurements is None else {}
        measurements.clear()
        if change.exact_measurements is not None:
            wanted = dict(change.exact_measurements)
            stale = []
        else:
            wanted = {
                name: fresh.get(name, value) for name, value in kept.items() if name in fresh or name not in stale
            }
            wanted |= change.measurements
        for name, value in wanted.items():
            measurements.put(name, value)
        self._set_metadata(item, change)
        recomputed = sum(name in wanted for name in stale)
        return recomputed, len(stale) - recomputed

    def _set_metadata(self, item: Any, change: ShapeChange) -> None:
        if change.exact_metadata is not None:
            item.getMetadata().clear()
        for key, value in (change.metadata if change.exact_metadata is None else change.exact_metadata).items():
            item.getMetadata().put(key, value)

    def _shape_measurements(self, item: Any, data: Any) -> dict[str, float]:
        """Return QuPath's own shape features of an object's present shape."""
        single = self._class("java.util.Collections").singletonList(item)
        features = self._class("qupath.lib.analysis.features.ObjectMeasurements$ShapeFeatures").values()
        pixels = self._class("qupath.lib.images.servers.PixelCalibration").getDefaultInstance()
        for calibration in (pixels, self._images.server_metadata(data).getPixelCalibration()):
            self._class("qupath.lib.analysis.features.ObjectMeasurements").addShapeMeasurements(
                single, calibration, features
            )
        return measurements_of(item)

    def _add_and_remove(self, hierarchy: Any, objects: dict[str, Any], edit: Edit) -> None:
        for addition in edit.additions:
            if addition.object_id in objects:
                raise ProjectError(f"object {addition.object_id} is already there; leave it out or give it a new id")
            parent = hierarchy.getRootObject()
            if addition.parent_id is not None:
                if addition.parent_id not in objects:
                    raise ProjectError(f"the parent {addition.parent_id} is gone; read the image again")
                parent = objects[addition.parent_id]
            item = self._new_object(addition)
            hierarchy.addObjectBelowParent(parent, item, False)
            objects[addition.object_id] = item
        if edit.removals:
            gone = self._class("java.util.ArrayList")()
            for object_id in edit.removals:
                gone.add(objects[object_id])
            hierarchy.removeObjects(gone, True)

    def _new_object(self, value: ImageObject) -> Any:
        factory = self._class("qupath.lib.objects.PathObjects")
        plane = self._class("qupath.lib.regions.ImagePlane").getPlaneWithChannel(
            value.plane.c, value.plane.z, value.plane.t
        )
        roi = self._roi(value.wkb, plane)
        match value.kind:
            case Kind.ANNOTATION:
                item = factory.createAnnotationObject(roi)
            case Kind.DETECTION:
                item = factory.createDetectionObject(roi)
            case Kind.TILE:
                item = factory.createTileObject(roi)
            case Kind.CELL:  # its nucleus is not among what travels
                item = factory.createCellObject(roi, None, None, None)
            case _:
                raise ProjectError(f"a {value.kind.value} cannot be created here; import it in QuPath")
        item.setID(self._class("java.util.UUID").fromString(str(uuid.UUID(value.object_id))))
        if value.path_class is not None:
            path_class = self._class("qupath.lib.objects.classes.PathClass").fromString(value.path_class)
            if math.isnan(value.probability):
                item.setPathClass(path_class)
            else:
                item.setPathClass(path_class, value.probability)
        if value.color is not None:
            item.setColor(self._class("java.lang.Integer").valueOf(value.color))
        if value.name is not None:
            item.setName(value.name)
        if value.locked:
            item.setLocked(True)
        for name, number in value.measurements.items():
            item.getMeasurementList().put(name, float(number))
        if value.metadata and value.kind is not Kind.ANNOTATION and self._is_0_5:
            raise ProjectError(
                f"QuPath {self.qupath_version} keeps metadata of annotations only, not of the {value.kind.value} "
                f"{value.object_id}; use QuPath 0.6 or later"
            )
        for key, text in value.metadata.items():
            item.getMetadata().put(key, text)
        return item

    def _roi(self, wkb: bytes, plane: Any) -> Any:
        from jpype import JArray, JByte

        tools = self._class("qupath.lib.roi.GeometryTools")
        reader = self._class("org.locationtech.jts.io.WKBReader")(tools.getDefaultFactory())
        geometry = reader.read(JArray(JByte)(np.frombuffer(wkb, dtype=np.int8)))
        return tools.geometryToROI(geometry, plane)

    # What goes with the objects

    def _add_step(self, data: Any, step: str) -> None:
        kind = self._class("qupath.lib.plugins.workflow.DefaultScriptableWorkflowStep")
        data.getHistoryWorkflow().addStep(kind(step, f"// {step}"))

    def _summary(self, data: Any, path: Path) -> bytes:
        """Return the contents of summary.json, as QuPath's DefaultProject writes them."""
        tools = self._class("qupath.lib.objects.PathObjectTools")
        metadata = self._images.server_metadata(data)
        kinds: Counter[str] = Counter()
        annotations: Counter[str] = Counter()
        detections: Counter[str] = Counter()
        names: dict[str, str] = {}
        objects = list(data.getHierarchy().getObjects(None, None))
        for item in objects:
            java_class = item.getClass()
            simple = str(java_class.getSimpleName())
            if simple not in names:
                names[simple] = str(tools.getSuitableName(java_class, True))
            kinds[names[simple]] += 1
            path_class = item.getPathClass()
            label = "Unclassified" if path_class is None else str(path_class.toString())
            if item.isAnnotation():
                annotations[label] += 1
            elif item.isDetection():
                detections[label] += 1
        summary = {
            "timestamp": path.stat().st_mtime_ns // 1_000_000,
            "imageType": str(data.getImageType().name()),
            "server": {
                "width": int(metadata.getWidth()),
                "height": int(metadata.getHeight()),
                "sizeC": int(metadata.getChannels().size()),
                "sizeZ": int(metadata.getSizeZ()),
                "sizeT": int(metadata.getSizeT()),
            },
            "hierarchy": {
                "nObjects": len(objects),
                "objectTypeCounts": dict(kinds),
                "annotationClassificationCounts": dict(annotations),
                "detectionClassificationCounts": dict(detections),
            },
        }
        return json.dumps(summary, ensure_ascii=False, separators=(",", ":")).encode()

    def _class(self, name: str) -> Any:
        if name not in self._classes:
            from jpype import JClass

            self._classes[name] = JClass(name)
        return self._classes[name]
