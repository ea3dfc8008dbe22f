"""Opens an image of a project in the JVM that `qupath_sam.project.jvm.bridge` has started: its data, and its pixels.

The project itself is not opened (QuPath would create folders in it): an image is read by `PathIO.readImageData` with
the server builder of project.qpproj. That call is loud on a broken file, where the project's own `readImageData`
answers with an empty image, and `readHierarchy` can go round for ever.

An image's data is read though its slide is elsewhere. QuPath 0.6 and later take what would open the slide; 0.5 takes an
open server, and is given one that knows its metadata only (`_SlideElsewhere`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qupath_sam.errors import ProjectError
from qupath_sam.project.layout import ImageEntry, check_data_file, check_saved, count_objects


class ImageOpener:
    """Opens images. In the JVM's one thread only.

    Args:
        find_class: gives the Java class of a full name.
        failure: what Java's exceptions are in Python.
        proxy: gives Python objects to Java, as ``jpype.JProxy``.
        is_0_5: QuPath is of version 0.5.
    """

    def __init__(
        self,
        find_class: Callable[[str], Any],
        *,
        failure: type[Exception],
        proxy: Callable[..., Any],
        is_0_5: bool,
    ) -> None:
        self._class = find_class
        self._failure = failure
        self._proxy = proxy
        self._is_0_5 = is_0_5
        self._builders: dict[str, Any] = {}
        self._servers: dict[str, Any] = {}

    def data(self, image: ImageEntry) -> Any:
        """Read an image's data, fresh from disk.

        Raises:
            ProjectError: the data is broken, or does not hold as many objects as summary.json says.
        """
        check_saved(image)
        if not image.data_file.exists():
            hierarchy = self._class("qupath.lib.objects.hierarchy.PathObjectHierarchy")()
            unset = self._class("qupath.lib.images.ImageData$ImageType").UNSET
            return self._class("qupath.lib.images.ImageData")(self._slide(image), hierarchy, unset)
        check_data_file(image.data_file)
        data = self.read_data(image.data_file, image)
        expected = count_objects(image).get("nObjects")
        count = int(data.getHierarchy().getObjects(None, None).size())
        if isinstance(expected, int) and expected != count:
            raise ProjectError(
                f"image {image.name!r} has {count} objects, but QuPath counted {expected} when it saved them; "
                "open it in QuPath, check it and save it"
            )
        return data

    def read_data(self, path: Path, image: ImageEntry) -> Any:
        """Read an image's data from a file that need not be the image's own; summary.json is not asked.

        Raises:
            ProjectError: QuPath cannot read it.
        """
        slide = self._slide(image)
        arguments = (None, slide, self._class("java.awt.image.BufferedImage")) if self._is_0_5 else (slide,)
        try:
            data = self._class("qupath.lib.io.PathIO").readImageData(
                self._class("java.nio.file.Paths").get(str(path)), *arguments
            )
        except self._failure as error:
            raise ProjectError(f"QuPath cannot read {path} ({error}); restore it from a backup") from error
        self._restore_workflow(data, path)
        return data

    def server_metadata(self, data: Any) -> Any:
        """Return the metadata of the image's server, without opening it where QuPath can."""
        return data.getServer().getMetadata() if self._is_0_5 else data.getServerMetadata()

    def server(self, image: ImageEntry) -> Any:
        """Open the image's pixels as QuPath shows them; opened once, the last one kept.

        Raises:
            ProjectError: QuPath cannot open the slide.
        """
        text = json.dumps(image.slide_builder)
        if text not in self._servers:
            for server in self._servers.values():
                server.close()
            self._servers.clear()
            self._servers[text] = self._build(image, rendered=True)
        return self._servers[text]

    def _restore_workflow(self, data: Any, path: Path) -> None:
        """Take out the steps that reading adds (image type and stains, each time), so that files do not grow."""
        # Java resolves classes with the loader of the caller, and a call from Python has none: Groovy takes one.
        stream = self._class("org.codehaus.groovy.runtime.IOGroovyMethods").newObjectInputStream(
            self._class("java.io.BufferedInputStream")(self._class("java.io.FileInputStream")(str(path))),
            self._class("qupath.lib.io.PathIO").class_.getClassLoader(),
        )
        try:
            stream.readUTF()
            stored = None
            for _ in range(5):
                candidate = stream.readObject()
                if candidate is not None and str(candidate.getClass().getSimpleName()) == "Workflow":
                    stored = candidate
                    break
        finally:
            stream.close()
        if stored is not None:
            history = data.getHistoryWorkflow()
            history.clear()
            history.addSteps(stored.getSteps())

    def _builder(self, description: dict[str, Any]) -> Any:
        text = json.dumps(description)
        if text not in self._builders:
            kind = self._class("qupath.lib.images.servers.ImageServerBuilder$ServerBuilder")
            self._builders[text] = self._class("qupath.lib.io.GsonTools").getInstance().fromJson(text, kind)
        return self._builders[text]

    def _slide(self, image: ImageEntry) -> Any:
        """Return the server for an image's data that works without the slide.

        A server builder; but QuPath 0.5 wants an open server.
        """
        builder = self._builder(image.server_builder)
        if not self._is_0_5:
            return builder
        stored = image.server_builder.get("metadata")
        if stored is None:
            return self._build(image, rendered=False)
        gson = self._class("qupath.lib.io.GsonTools").getInstance()
        metadata = gson.fromJson(json.dumps(stored), self._class("qupath.lib.images.servers.ImageServerMetadata"))
        return self._proxy(
            "qupath.lib.images.servers.ImageServer", inst=_SlideElsewhere(builder, metadata), convert=True
        )

    def _build(self, image: ImageEntry, *, rendered: bool) -> Any:
        try:
            server = self._builder(image.slide_builder).build()
            if rendered and not server.isRGB():
                data = self._class("qupath.lib.images.ImageData")(server)
                server = self._class("qupath.lib.gui.images.servers.RenderedImageServer$Builder")(data).build()
        except self._failure as error:
            raise ProjectError(f"QuPath cannot open the slide of image {image.name!r} ({error})") from error
        return server


@dataclass(frozen=True)
class _SlideElsewhere:
    """The ImageServer that QuPath 0.5 needs to read and write an image's data; it has no pixels."""

    builder: Any
    metadata: Any

    def getBuilder(self) -> Any:
        return self.builder

    def getMetadata(self) -> Any:
        return self.metadata

    def getPath(self) -> str:
        return str(self.builder.getURIs())
