"""An image that is open for segmenting, and the objects found in it: what a notebook works with."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, cast, overload

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.client.images import ImageRef, Pushed, Slide
from qupath_sam.client.propagation import PlaneOutline, PropagateOptions, propagate
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.errors import InvalidRequest, MissingPackage, QupathSamError
from qupath_sam.qupath.annotations import annotations_of
from qupath_sam.qupath.geojson import PathClass, write_geojson
from qupath_sam.types.choices import Axis
from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
from qupath_sam.types.region_requests import Example, Prompting, RegionRequest
from qupath_sam.types.region_results import RegionBatch
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import ObjectResult, Outline, Prediction
from qupath_sam.types.service import ImageDescription, checked

if TYPE_CHECKING:
    from qupath_sam.slides.base import SlideReader

#: What an object is asked for by: a box, a click, an outline of it, or all prompts together.
Prompt = Box | Click | Polygon | MultiPolygon | ObjectPrompts


class _HasOutline(Protocol):
    """An object that was found before."""

    @property
    def geometry(self) -> Polygon | MultiPolygon: ...


#: Where an example lies: its outline, a point in it, or an object that has an outline.
ExamplePlace = Polygon | MultiPolygon | tuple[float, float] | _HasOutline


class _Client(Protocol):
    """What an image asks of its client."""

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
    ) -> Prediction: ...

    def describe(self, image: ImageRef) -> ImageDescription: ...

    def segment_region(self, image: ImageRef, request: RegionRequest, *, model: str = "") -> Iterator[RegionBatch]: ...

    def push(self, pixels: NDArray[np.uint8], *, mpp: float | None = None) -> Pushed: ...


def open_image(
    client: _Client,
    source: str | PurePath | NDArray[np.uint8],
    *,
    mpp: float | None = None,
    model: str = "",
    z: int = 0,
    t: int = 0,
) -> Image:
    """Return the image of a path, a URI or an array; see `Client.open`."""
    if isinstance(source, np.ndarray):
        if (z, t) != (0, 0):
            raise InvalidRequest("an array is one plane; give the pixels of the plane that you mean")
        return Image(client, client.push(source, mpp=mpp), model=model, pixels=source, mpp=mpp)
    return Image(client, Slide(source, mpp=mpp, z=z, t=t), model=model)


def check_pixels(pixels: NDArray[np.uint8]) -> None:
    """Raise `InvalidRequest` unless this is an RGB image: uint8 ``(H, W, 3)``."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InvalidRequest(f"an image is uint8 (H, W, 3) RGB, got {pixels.dtype} {pixels.shape}; convert it first")


class Image:
    """An image that a client has open. Nothing is held on the other side: it needs no closing.

    Args:
        client: that segments.
        ref: names the image to the client.
        model: empty takes the default.
        pixels: the image itself, where the caller has it; pictures are drawn on it.
        mpp: of the pixels, um per px.
    """

    def __init__(
        self,
        client: _Client,
        ref: ImageRef,
        *,
        model: str = "",
        pixels: NDArray[np.uint8] | None = None,
        mpp: float | None = None,
    ) -> None:
        self.ref = ref
        self.model = model
        self._client = client
        self._pixels = pixels
        self._mpp = mpp

    def segment(
        self, prompt: Prompt, *, window: WindowRequest | None = None, output: OutputOptions | None = None
    ) -> SegmentedObject:
        """Outline one object.

        Args:
            prompt: level-0 px.
            window: which pixels to use; chosen from the prompt where None.
            output: what to do to the mask.

        Raises:
            InvalidPrompt, InvalidRegion: the prompt or the window is wrong.
            SlideError, ModelError: the image cannot be read, or the model not be had.
        """
        return self._ask(ObjectRequest(_prompts(prompt)), window, output)

    def click(
        self, x: float, y: float, *, window: WindowRequest | None = None, output: OutputOptions | None = None
    ) -> SegmentedObject:
        """Outline the object under a click, level-0 px; see `segment`."""
        return self.segment(Click.at(x, y), window=window, output=output)

    def segment_many(
        self,
        prompts: Sequence[Prompt | tuple[float, float, float, float]],
        *,
        path_class: str | None = None,
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
    ) -> SegmentedObjects:
        """Outline several objects in one call.

        Args:
            prompts: one an object; four numbers are a box, ``(min_x, min_y, max_x, max_y)``, level-0 px.
            path_class: QuPath's class of all of them.
            window: as for `segment`.
            output: as for `segment`.
        """
        every = [_prompts(prompt) for prompt in prompts]
        prediction = self._client.predict(self.ref, every, model=self.model, window=window, output=output)
        return SegmentedObjects(self, tuple(every), prediction, path_class)

    def segment_region(
        self,
        place: RegionRequest | Region | Polygon | MultiPolygon | None = None,
        *,
        like: Sequence[ExamplePlace] = (),
        unlike: Sequence[ExamplePlace] = (),
        **options: Any,
    ) -> Iterator[RegionBatch]:
        """Find all objects of a region, tile by tile; with examples those that look like them.

        ::

            for batch in slide.segment_region(Region(0, 0, 4000, 3000), effort=Effort.FAST):
                for nucleus in batch.objects:
                    print(nucleus.number, nucleus.score, nucleus.geometry)
            gland = slide.click(700, 600).click(650, 560, positive=False)
            for batch in slide.segment_region(like=[gland]):
                print([each.likeness for each in batch.objects])

        Args:
            place: level-0 px; None is the whole image. A `RegionRequest` says everything.
            like: outlines of wanted objects, points in some (``(x, y)``), or objects found before; level-0 px.
            unlike: the same of objects that are not wanted.
            options: of `RegionRequest`, where ``place`` is none.

        Raises (while the batches are taken):
            InvalidPrompt: an example lies outside the image, or a point shows no object.
            InvalidRequest: the region or an option is wrong.
            SlideError, ModelError: the image cannot be read, or the model not be had, or not prompt that way.
        """
        if like or unlike:
            labelled = [(each, Label.POSITIVE) for each in like] + [(each, Label.NEGATIVE) for each in unlike]
            examples = tuple(Example(_place(each), label) for each, label in labelled)
            options = {"prompting": Prompting.LIKE, "examples": examples, **options}
        request = replace(place, **options) if isinstance(place, RegionRequest) else RegionRequest(place, **options)
        return self._client.segment_region(self.ref, request, model=self.model)

    def propagate(
        self,
        outline: SegmentedObject | Polygon | MultiPolygon,
        axis: Axis | str = Axis.Z,
        *,
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        **options: Any,
    ) -> Iterator[PlaneOutline]:
        """Carry an outline of this plane to the planes above and below, until the object ends.

        ::

            slide = sam.open("stack.ome.tif", z=4)
            for plane in slide.propagate(slide.click(300, 200), "z"):
                print(plane.z, plane.outline or plane.refusal)

        Args:
            outline: of the object, level-0 px.
            axis: ``"z"`` or ``"t"``.
            window: as for `segment`.
            output: as for `segment`.
            options: of `PropagateOptions`.

        Raises (while the planes are taken):
            InvalidRequest: the image has one plane along this axis, or an option is wrong.
            SlideError, ModelError: the image cannot be read, or the model not be had.
        """
        if not isinstance(self.ref, Slide):
            raise InvalidRequest("pushed pixels are one plane; open the file of the stack, or segment plane by plane")
        yield from propagate(
            self._client,
            self.ref,
            outline.geometry if isinstance(outline, SegmentedObject) else outline,
            checked(Axis, cast("Axis", axis), name="axis"),
            options=PropagateOptions(**options),
            model=self.model,
            window=window,
            output=output,
        )

    def _ask(
        self, request: ObjectRequest, window: WindowRequest | None, output: OutputOptions | None
    ) -> SegmentedObject:
        prediction = self._client.predict(self.ref, [request], model=self.model, window=window, output=output)
        return SegmentedObject(self, request.prompts, prediction, window, output)

    @contextmanager
    def _reader(self) -> Iterator[SlideReader | None]:
        """Open the pixels as this process can read them; None where it cannot."""
        if self._pixels is None and not isinstance(self.ref, Slide):
            yield None
            return
        try:
            from qupath_sam.slides.open import open_slide
            from qupath_sam.slides.pushed import PushedReader

            reader: SlideReader
            if self._pixels is not None:
                reader = PushedReader.of_image(self._pixels, self._mpp)
            else:
                assert isinstance(self.ref, Slide)
                reader = open_slide(self.ref.location, z=self.ref.z, t=self.ref.t, rendering=self.ref.rendering)
        except (QupathSamError, ImportError):
            yield None
            return
        try:
            yield reader
        finally:
            reader.close()


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedObject:
    """An object that was outlined. Its token lets the next click go on from here.

    Attributes:
        image: it lies in.
        prompts: all that were given for it.
        prediction: everything that was answered, with what made it and what it cost.
        window, output: as they were asked for; the next click asks for the same.
    """

    image: Image
    prompts: ObjectPrompts
    prediction: Prediction
    window: WindowRequest | None = None
    output: OutputOptions | None = None

    @property
    def result(self) -> ObjectResult:
        """The object's part of the answer."""
        return self.prediction.results[0]

    @property
    def outline(self) -> Outline | None:
        """The best outline, or None where nothing was found."""
        return self.result.outlines[0] if self.result.outlines else None

    @property
    def geometry(self) -> Polygon | MultiPolygon:
        """The best outline's polygon, level-0 px; empty where nothing was found."""
        return self.outline.geometry if self.outline is not None else Polygon()

    @property
    def score(self) -> float:
        """The model's own estimate of the outline's IoU, 0 to 1; 0 where nothing was found."""
        return self.outline.score if self.outline is not None else 0.0

    @property
    def area_px2(self) -> float:
        """Area in level-0 px squared."""
        return self.outline.area_px2 if self.outline is not None else 0.0

    @property
    def area_um2(self) -> float | None:
        """Area in um squared; None where the image has no pixel size or nothing was found."""
        return self.outline.area_um2 if self.outline is not None else None

    def click(self, x: float, y: float, *, positive: bool = True, from_mask: int | None = None) -> SegmentedObject:
        """Return the object after one more click, level-0 px. This object stays as it is.

        Args:
            x: level-0 px on pixel edges.
            y: the same.
            positive: whether the place belongs to the object.
            from_mask: goes on from this one of several outlines (`Outline.mask_index`), as `MaskChoice.ALL` gives them;
                from the best where None.

        Raises:
            InvalidPrompt: the click lies outside the image, or there is no such mask.
        """
        label = Label.POSITIVE if positive else Label.NEGATIVE
        click = Click.at(x, y, label, from_mask=from_mask)
        prompts = replace(self.prompts, clicks=(*self.prompts.clicks, click))
        request = ObjectRequest(prompts, token=self.result.token)
        return self.image._ask(request, self.window, self.output)

    def to_geojson(self, path: str | os.PathLike[str], *, path_class: str | None = None) -> None:
        """Write it as an annotation that QuPath imports; raises OSError where the file cannot be written."""
        self._many(path_class).to_geojson(path)

    def _many(self, path_class: str | None) -> SegmentedObjects:
        return SegmentedObjects(self.image, (self.prompts,), self.prediction, path_class)

    def _repr_png_(self) -> bytes | None:
        return self._many(None)._repr_png_()

    def __repr__(self) -> str:
        area = f"{self.area_um2:.1f} um2" if self.area_um2 is not None else f"{self.area_px2:.0f} px2"
        return f"<SegmentedObject {self.geometry.geom_type} of {area}, score {self.score:.2f}>"


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedObjects(Sequence[SegmentedObject]):
    """Objects of one call, in the order in which they were asked for."""

    image: Image
    prompts: tuple[ObjectPrompts, ...]
    prediction: Prediction
    path_class: str | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @overload
    def __getitem__(self, index: int) -> SegmentedObject: ...
    @overload
    def __getitem__(self, index: slice) -> list[SegmentedObject]: ...
    def __getitem__(self, index: int | slice) -> SegmentedObject | list[SegmentedObject]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        alone = replace(self.prediction, results=(self.prediction.results[index],))
        return SegmentedObject(self.image, self.prompts[index], alone)

    def to_geojson(self, path: str | os.PathLike[str]) -> None:
        """Write annotations that QuPath imports unchanged; raises OSError where the file cannot be written."""
        from pathlib import Path

        of_class = None if self.path_class is None else PathClass.of(self.path_class)
        ref = self.image.ref
        z, t = (ref.z, ref.t) if isinstance(ref, Slide) else (0, 0)
        write_geojson(Path(path), annotations_of(self.prediction, path_class=of_class, z=z, t=t))

    def to_geopandas(self) -> Any:
        """Return a GeoDataFrame of the outlines, level-0 px: geometry, score, area_px2, area_um2, path_class.

        Raises:
            MissingPackage: geopandas is not installed.
        """
        try:
            from geopandas import GeoDataFrame
        except ImportError as error:
            raise MissingPackage("to_geopandas needs geopandas; run: pip install geopandas") from error
        rows = [
            {
                "geometry": outline.geometry,
                "score": outline.score,
                "area_px2": outline.area_px2,
                "area_um2": outline.area_um2,
                "path_class": self.path_class,
            }
            for result in self.prediction.results
            for outline in result.outlines
        ]
        return GeoDataFrame(rows, columns=["geometry", "score", "area_px2", "area_um2", "path_class"])

    def _repr_png_(self) -> bytes | None:
        """Return the outlines on their pixels, for a notebook; None where this process cannot read the image."""
        try:
            from qupath_sam.qupath.overlay import draw_prediction
        except ImportError:
            return None
        with self.image._reader() as reader:
            if reader is None:
                return None
            buffer = io.BytesIO()
            draw_prediction(reader, self.prediction, self.prompts, max_side=800).save(buffer, "PNG")
        return buffer.getvalue()


def _prompts(prompt: Prompt | tuple[float, float, float, float]) -> ObjectPrompts:
    match prompt:
        case ObjectPrompts():
            return prompt
        case Click():
            return ObjectPrompts((prompt,))
        case Box():
            return ObjectPrompts(box=prompt)
        case Polygon() | MultiPolygon():
            return ObjectPrompts(outline=prompt)
        case (min_x, min_y, max_x, max_y):
            return ObjectPrompts(box=Box(min_x, min_y, max_x, max_y))
    raise InvalidRequest(f"{type(prompt).__name__} is no prompt; give a Box, a Click, a polygon or ObjectPrompts")


def _place(example: ExamplePlace) -> Polygon | MultiPolygon | tuple[float, float]:
    """Return an example's outline or point, level-0 px."""
    if isinstance(example, tuple | Polygon | MultiPolygon):
        return example
    return example.geometry
