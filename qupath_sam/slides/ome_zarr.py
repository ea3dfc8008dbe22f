"""OME-Zarr (NGFF 0.1 to 0.5, tested with 0.4 and 0.5), as folders or URLs: one image, its pyramid, its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from qupath_sam.errors import SlideUnreadable, SlideUnsupported
from qupath_sam.slides.base import SlideInfo
from qupath_sam.slides.failures import decoding
from qupath_sam.slides.fingerprint import fingerprint
from qupath_sam.slides.location import Location
from qupath_sam.slides.pixel_size import number, um_per
from qupath_sam.slides.pyramid import levels_of, plausible_mpp
from qupath_sam.slides.raster import RasterReader, rasters_of
from qupath_sam.slides.rendering import (
    Channel,
    ChannelDisplay,
    Colours,
    Rendering,
    chosen_channels,
    composite,
    default_channels,
    shown_channels,
    true_colours,
)
from qupath_sam.slides.source import Stamp, stamp
from qupath_sam.slides.zarr_store import SlideStore
from qupath_sam.types.regions import Region

MAX_CHUNK_PX = 2**27
MAX_SIDE = 2**24
_READER = f"zarr {version('zarr')}"
_RGB = (0xFF0000, 0x00FF00, 0x0000FF)
_OLD_AXES = ("t", "c", "z", "y", "x")
_SAMPLED_PX = 2**22


class OmeZarrReader(RasterReader):
    """Reads with zarr."""

    def __init__(
        self,
        location: Location,
        *,
        at: Stamp | None = None,
        rendering: Rendering | None = None,
        z: int = 0,
        t: int = 0,
    ) -> None:
        """Open the image in a folder or URL; of several (bioformats2raw), the largest.

        Args:
            at: its stamp where the caller has just taken it.
            rendering: how to show it; None takes the settings that the file has (omero), else all channels.
            z, t: plane of a stack.

        Raises:
            SlideNotFound, SlideUnreadable: see `qupath_sam.slides.source.stamp`; or no OME-Zarr, or a broken one.
            SlideUnsupported: a plate, labels, or chunks too large to decode for every region.
            InvalidRequest: a channel that it has not.
        """
        found = at or stamp(location)
        with decoding(location.given):
            image, remark = _largest(_images(zarr.open_group(SlideStore(location), mode="r"), location))
            _check(image, z, t, location)
            levels = levels_of([(level.shape[image.axis("x")], level.shape[image.axis("y")]) for level in image.levels])
            shown = _shown(image, rendering, z, t)

        def read_level(index: int, region: Region) -> NDArray[np.uint8]:
            with decoding(location.given):
                return shown.colours(image.read(index, region, shown.chosen, z, t))

        mpp, mpp_remark = plausible_mpp(*image.pixel_size)
        planes = image.count("z") * image.count("t")
        stack = (
            f"plane z={z}, t={t} of a stack of {image.count('z')} x {image.count('t')} is read" if planes > 1 else ""
        )
        width, height = levels[0].width, levels[0].height
        info = SlideInfo(
            width=width,
            height=height,
            levels=levels,
            mpp=mpp,
            mpp_remark=mpp_remark,
            fingerprint=fingerprint(
                found.resolved, found.size_bytes, found.version, _READER, z, t, rendering, shown.how
            ),
            reader=f"{_READER} ({shown.how})" if shown.how else _READER,
            extent=Region(0, 0, width, height),
            remarks=tuple(text for text in (remark, stack, shown.remark) if text),
            channels=tuple(channel.name for channel in image.channels),
            depth=image.count("z"),
            times=image.count("t"),
            rendering=shown.how,
        )
        super().__init__(info, rasters_of(levels, read_level), name=location.given, release=lambda: None)


@dataclass(frozen=True)
class _Image:
    """One multiscale image: its levels, finest first, and its attributes."""

    levels: tuple[Any, ...]
    multiscale: Mapping[str, Any]
    omero: Mapping[str, Any]

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, one for each dimension."""
        stated = self.multiscale.get("axes") or _OLD_AXES
        return tuple(str(axis["name"] if isinstance(axis, Mapping) else axis).lower() for axis in stated)

    def axis(self, name: str) -> int:
        """Return the position of an axis; raise ValueError where there is none."""
        return self.axes.index(name)

    def count(self, name: str) -> int:
        """Return the length of an axis; 1 where there is none."""
        return int(self.levels[0].shape[self.axis(name)]) if name in self.axes else 1

    @property
    def area(self) -> int:
        """Px of level 0."""
        return self.count("x") * self.count("y")

    @property
    def pixel_size(self) -> tuple[float | None, float | None]:
        """Micrometres per px across and down, by the scales of level 0 and of the whole."""
        across, down = (self._micrometres(name) for name in ("x", "y"))
        return across, down

    def _micrometres(self, name: str) -> float | None:
        stated = self.multiscale.get("axes") or ()
        axis = stated[self.axis(name)] if stated else {}
        unit = um_per(str(axis.get("unit", ""))) if isinstance(axis, Mapping) else None
        if unit is None:
            return None
        length = unit
        for holder in (self.multiscale["datasets"][0], self.multiscale):
            for step in holder.get("coordinateTransformations") or ():
                if step.get("type") == "scale" and "scale" in step:
                    length *= number(step["scale"][self.axis(name)]) or 0.0
        return length or None

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Channels with the names and colours of "omero"; of an image that has none, QuPath's."""
        defaults = default_channels(self.count("c"))
        stated = self.omero.get("channels") or ()
        if len(stated) != len(defaults):
            return defaults
        return tuple(
            Channel(str(one.get("label") or default.name), _color(one.get("color"), default.color))
            for one, default in zip(stated, defaults, strict=True)
        )

    @property
    def is_true_colour(self) -> bool:
        """Whether the channels are red, green and blue of 8 bits, as converters write H&E."""
        if self.count("c") != 3 or self.levels[0].dtype != np.uint8:
            return False
        return not self.omero.get("channels") or tuple(channel.color for channel in self.channels) == _RGB

    def own_rendering(self) -> Rendering | None:
        """Return the settings that the file has for viewers, where it has some for every channel that is on."""
        stated = self.omero.get("channels") or ()
        if len(stated) != self.count("c"):
            return None
        displays = []
        for index, one in enumerate(stated):
            if one.get("active") is False:
                continue
            window = one.get("window") or {}
            low, high = number(window.get("start")), number(window.get("end"))
            if low is None or high is None or not low < high:
                return None
            displays.append(ChannelDisplay(index, low, high))
        return Rendering(tuple(displays)) if displays else None

    def read(self, level: int, region: Region, chosen: Sequence[int], z: int, t: int) -> NDArray[Any]:
        """Read the px of the chosen channels, ``(height, width, channels)``."""
        places: dict[str, Any] = {
            "x": slice(region.x, region.right),
            "y": slice(region.y, region.bottom),
            "z": z,
            "t": t,
        }
        found = []
        for channel in chosen:
            selection = tuple({**places, "c": channel}.get(axis, 0) for axis in self.axes)
            plane = np.asarray(self.levels[level][selection])
            found.append(plane if self.axis("y") < self.axis("x") else plane.T)
        return np.stack(found, axis=-1)


@dataclass(frozen=True, slots=True)
class _Shown:
    colours: Colours
    chosen: tuple[int, ...]
    how: str = ""
    remark: str = ""


def _images(group: zarr.Group, location: Location) -> list[_Image]:
    """Return the images of a group: its own, or those of bioformats2raw's layout."""
    attributes = _attributes(group)
    if "plate" in attributes or "well" in attributes:
        raise SlideUnsupported(f"{location.given} is a plate; name one image of one of its wells (…/A/1/0)")
    if "multiscales" in attributes:
        return [_image(group, attributes)]
    if "bioformats2raw.layout" in attributes:
        found: list[_Image] = []
        while (inner := _inner(group, str(len(found)))) is not None:
            found.append(_image(inner, _attributes(inner)))
        if found:
            return found
    raise SlideUnreadable(f"{location.given} is no OME-Zarr image (no multiscales); name the folder of the image")


def _inner(group: zarr.Group, name: str) -> zarr.Group | None:
    try:
        inner = group[name]
    except KeyError:
        return None
    return inner if isinstance(inner, zarr.Group) and "multiscales" in _attributes(inner) else None


def _attributes(group: zarr.Group) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    inside = attributes.get("ome")  # since 0.5
    return inside if isinstance(inside, Mapping) else attributes


def _image(group: zarr.Group, attributes: Mapping[str, Any]) -> _Image:
    multiscale = attributes["multiscales"][0]
    levels = tuple(group[str(dataset["path"])] for dataset in multiscale["datasets"])
    return _Image(levels, multiscale, attributes.get("omero") or {})


def _largest(images: Sequence[_Image]) -> tuple[_Image, str]:
    index = max(range(len(images)), key=lambda i: images[i].area)
    if index == 0 and sum(4 * image.area >= images[0].area for image in images) == 1:
        return images[0], ""
    return images[index], (
        f"the file holds {len(images)} images: number {index + 1}, the largest, is the slide here; compare its size "
        "with what your viewer shows"
    )


def _check(image: _Image, z: int, t: int, location: Location) -> None:
    first = image.levels[0]
    if not {"x", "y"} <= set(image.axes) or any(len(level.shape) != len(image.axes) for level in image.levels):
        raise SlideUnreadable(f"{location.given} has axes {image.axes} and an array of {first.shape}; convert it again")
    if first.dtype.kind not in "uifb":
        raise SlideUnsupported(f"{location.given} holds {first.dtype} px, which are no measurements; push the pixels")
    if not (0 <= z < image.count("z") and 0 <= t < image.count("t")):
        raise SlideUnsupported(
            f"{location.given} has no plane z={z}, t={t}: it has {image.count('z')} x {image.count('t')}, counted from "
            "0; name one that it has, or push the pixels of the plane"
        )
    if max(first.shape) > MAX_SIDE:
        raise SlideUnreadable(f"{location.given} claims {first.shape} px; copy it again")
    if any(int(np.prod(level.chunks, dtype=object)) > MAX_CHUNK_PX for level in image.levels):
        raise SlideUnsupported(f"{location.given} has chunks of {first.chunks} px; convert it to smaller ones")


def _shown(image: _Image, rendering: Rendering | None, z: int, t: int) -> _Shown:
    if image.is_true_colour and rendering is None:
        return _Shown(true_colours(high=255.0), (0, 1, 2))
    wanted = rendering or image.own_rendering()
    chosen = chosen_channels(wanted or Rendering(), image.channels)
    indices = tuple(index for index, _ in chosen)
    if rendering is None and wanted is None and image.count("c") == 1 and image.levels[0].dtype == np.uint8:
        return _Shown(composite(shown_channels(Rendering(low=0, high=255), chosen, image.channels, _NOTHING)), indices)
    shown = shown_channels(wanted or Rendering(), chosen, image.channels, _sample(image, indices, z, t))
    how = " + ".join(channel.text for channel in shown)
    remark = ""
    if rendering is None:
        said = "the file's own settings show" if wanted is not None else "no display is given for these channels:"
        remark = f"{said} {how}; choose with channels and range"
    return _Shown(composite(shown), indices, how, remark)


_NOTHING = np.zeros((0, 1), np.uint8)


def _sample(image: _Image, chosen: Sequence[int], z: int, t: int) -> NDArray[Any]:
    """Return the px to find ranges in, ``(N, channels)``: of the coarsest level, or of its middle where it is large."""
    coarsest = len(image.levels) - 1
    shape = image.levels[coarsest].shape
    width, height = shape[image.axis("x")], shape[image.axis("y")]
    side = int(_SAMPLED_PX**0.5)
    across, down = min(width, side), min(height, side)
    region = Region((width - across) // 2, (height - down) // 2, across, down)
    return image.read(coarsest, region, chosen, z, t).reshape(-1, len(chosen))


def _color(text: object, default: int) -> int:
    try:
        return int(str(text).lstrip("#"), 16) & 0xFFFFFF
    except ValueError:
        return default
