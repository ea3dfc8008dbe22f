"""QuPath's server-builder JSON: which file, by which reader, and what is done to it before QuPath shows it.

A leaf of ``builderType`` "uri" names the file; wrappers around it turn, crop or recolour the image (``ImageServers`` of
QuPath). What can be reproduced exactly becomes a `SlideRecipe`; everything else is refused by name, because nearly the
right pixels in nearly the right place are worse than none, and the client can always push its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.slides.wrapped import Orientation
from qupath_sam.types.regions import Region

MAX_NESTING = 16

Wrapper = Orientation | Region
"""One change of the image beneath: how it is turned, or the crop in level-0 px of what is beneath."""

_ROTATIONS = {
    "ROTATE_NONE": None,
    "ROTATE_90": Orientation.ROTATE_90,
    "ROTATE_180": Orientation.ROTATE_180,
    "ROTATE_270": Orientation.ROTATE_270,
}
_FLIPS = {
    "NONE": None,
    "HORIZONTAL": Orientation.FLIP_HORIZONTAL,
    "VERTICAL": Orientation.FLIP_VERTICAL,
    "BOTH": Orientation.ROTATE_180,
}


class ReaderProvider(Enum):
    """The reader that QuPath uses; it decides about cropping and series. Values are the ends of its class name."""

    OPENSLIDE = "OpenslideServerBuilder"
    BIO_FORMATS = "BioFormatsServerBuilder"
    IMAGEJ = "ImageJServerBuilder"


@dataclass(frozen=True, slots=True)
class SlideRecipe:
    """How QuPath makes an image, reduced to what can be reproduced here.

    Attributes:
        uri: of the file, as QuPath wrote it.
        provider: QuPath's reader.
        crops_to_bounds: whether QuPath crops to ``openslide.bounds-*`` where a slide has them.
        wrappers: innermost first.
        size: width and height of the outermost image as stated, None where nothing is.
        file_size: the same for the image in the file, before any wrapper.
        mpp: pixel size that QuPath shows in um, mean of both axes; the user may have set it. None where unknown.
    """

    uri: str
    provider: ReaderProvider
    crops_to_bounds: bool
    wrappers: tuple[Wrapper, ...] = ()
    size: tuple[int, int] | None = None
    file_size: tuple[int, int] | None = None
    mpp: float | None = None


def parse_builder(builder: str | Mapping[str, Any], *, rendered: bool = False) -> SlideRecipe:
    """Read a server builder, as JSON text or already parsed.

    Args:
        rendered: whether the caller says how channels are to be shown, and of which plane.

    Raises:
        InvalidRequest: no JSON, or not what QuPath writes.
        SlideUnsupported: a wrapper, reader, series or plane that cannot be reproduced here.
    """
    chain = list(_chain(_parsed(builder)))
    leaf, outermost = chain[-1], chain[0]
    wrappers = [step for node in reversed(chain[:-1]) for step in _wrapper(node)]
    if not rendered:
        _check_metadata(outermost)
        _check_metadata(leaf)
    provider = _provider(leaf)
    args = leaf.get("args") or []
    if not isinstance(args, Sequence) or isinstance(args, str) or not all(isinstance(arg, str) for arg in args):
        raise InvalidRequest(
            f"the builder's args are {args!r}, not a list of texts; send the builder as QuPath writes it"
        )
    return SlideRecipe(
        uri=_text(leaf, "uri"),
        provider=provider,
        crops_to_bounds=_crops_to_bounds(provider, args),
        wrappers=tuple(wrappers),
        size=_size(outermost),
        file_size=_size(leaf),
        mpp=next((mpp for mpp in map(_mpp, chain) if mpp is not None), None),
    )


def _parsed(builder: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(builder, str):
        try:
            builder = json.loads(builder)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the server builder is no JSON ({error}); send what QuPath writes") from error
    if not isinstance(builder, Mapping):
        raise InvalidRequest("the server builder is no JSON object; send what QuPath writes")
    return builder


def _chain(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield wrappers from the outermost to the leaf."""
    for _ in range(MAX_NESTING):
        yield node
        if node.get("builderType") == "uri":
            return
        _refuse_unknown(node)
        beneath = node.get("builder")
        if not isinstance(beneath, Mapping):
            raise InvalidRequest(f"the wrapper {node.get('builderType')!r} wraps nothing; send what QuPath writes")
        node = beneath
    raise InvalidRequest(f"the server builder is nested more than {MAX_NESTING} deep; push the pixels instead")


def _refuse_unknown(node: Mapping[str, Any]) -> None:
    # A server (rather than a builder) written as JSON has no type of its own: {"builder": ..., "metadata": ...}
    kind = node.get("builderType", "" if "builder" in node else None)
    if kind is None:
        raise InvalidRequest("the server builder has no builderType; send what QuPath writes")
    if kind not in ("", "rotated", "flipped", "cropped", "pyramidize"):
        raise SlideUnsupported(f"the image is wrapped as {kind!r}, which cannot be reproduced here; push the pixels")


def _wrapper(node: Mapping[str, Any]) -> Iterator[Wrapper]:
    """Yield what a wrapper does to the image beneath; nothing for one that leaves level 0 as it is."""
    match node.get("builderType"):
        case "rotated":
            step = _named(node, "rotation", _ROTATIONS)
        case "flipped":
            step = _named(node, "flip", _FLIPS)
        case "cropped":
            yield _crop(node.get("region"))
            return
        case _:
            return
    if step is not None:
        yield step


def _named(node: Mapping[str, Any], key: str, names: Mapping[str, Orientation | None]) -> Orientation | None:
    name = node.get(key)
    if not isinstance(name, str) or name not in names:
        raise SlideUnsupported(f"{node['builderType']} by {name!r} cannot be reproduced here; push the pixels")
    return names[name]


def _crop(region: object) -> Region:
    if not isinstance(region, Mapping):
        raise InvalidRequest("a cropped image states no region; send what QuPath writes")
    _check_plane(region.get("z", 0), region.get("t", 0))
    return Region(*(_integer(region, key) for key in ("x", "y", "width", "height")))


def _check_plane(z: object, t: object) -> None:
    if (z, t) != (0, 0):
        raise SlideUnsupported(f"plane z={z}, t={t} of a stack cannot be read here; push the pixels")


def _check_metadata(node: Mapping[str, Any]) -> None:
    metadata = _metadata(node)
    if metadata.get("isRGB") is False:
        raise SlideUnsupported(
            "the image is not RGB, and how it looks depends on QuPath's channel settings; push the pixels as rendered"
        )
    for axis in ("sizeZ", "sizeT"):
        if metadata.get(axis, 1) not in (0, 1):
            raise SlideUnsupported(f"the image is a stack ({axis} {metadata[axis]}); push the pixels of the plane")


def _provider(leaf: Mapping[str, Any]) -> ReaderProvider:
    name = _text(leaf, "providerClassName")
    for provider in ReaderProvider:
        if name.rpartition(".")[2] == provider.value:
            return provider
    raise SlideUnsupported(f"images of QuPath's reader {name} cannot be read here; push the pixels")


def _crops_to_bounds(provider: ReaderProvider, args: Sequence[str]) -> bool:
    """Return whether the reader crops; refuses arguments that change the image otherwise."""
    no_crop = False
    rest = iter(args)
    for arg in rest:
        name, _, value = arg.partition("=")
        if provider is ReaderProvider.OPENSLIDE and name == "--no-crop":
            no_crop = True
        elif name in ("--classname", "--background-color"):
            # The second paints missing area only, which is white here.
            _ = value or next(rest, "")
        elif provider is ReaderProvider.BIO_FORMATS and name in ("--series", "-s"):
            series = value or next(rest, "")
            if series.strip() not in ("0", "-1"):
                raise SlideUnsupported(f"series {series} of a file cannot be reproduced here; push the pixels")
        else:
            raise SlideUnsupported(f"the reader's argument {arg!r} cannot be reproduced here; push the pixels")
    return provider is ReaderProvider.OPENSLIDE and not no_crop


def _metadata(node: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = node.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _size(node: Mapping[str, Any]) -> tuple[int, int] | None:
    metadata = _metadata(node)
    if "width" not in metadata or "height" not in metadata:
        return None
    return _integer(metadata, "width"), _integer(metadata, "height")


def _mpp(node: Mapping[str, Any]) -> float | None:
    calibration = _metadata(node).get("pixelCalibration")
    if not isinstance(calibration, Mapping):
        return None
    values = []
    for key in ("pixelWidth", "pixelHeight"):
        length = calibration.get(key)
        # micro sign or Greek mu; uncalibrated images say "px"
        if not isinstance(length, Mapping) or length.get("unit") not in ("µm", "μm", "um"):
            return None
        values.append(length.get("value"))
    across, down = values
    if not isinstance(across, (int, float)) or not isinstance(down, (int, float)):
        return None
    return (across + down) / 2


def _text(node: Mapping[str, Any], key: str) -> str:
    value = node.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"the server builder has no {key}; send what QuPath writes")
    return value


def _integer(node: Mapping[str, Any], key: str) -> int:
    value = node.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1 != 0:  # NaN is not 0 either
        raise InvalidRequest(f"{key} is {value!r} in the server builder, not a whole number; send what QuPath writes")
    return int(value)
