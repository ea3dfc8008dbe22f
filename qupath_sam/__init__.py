"""Click-to-annotation for whole-slide pathology.

`LocalClient` segments in this process, `SamClient` on a server; both are a `Client`. Importing this package starts
nothing and loads nothing: each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.assets import demo_slide_path
    from qupath_sam.client.access import Access
    from qupath_sam.client.image import Image, SegmentedObject, SegmentedObjects
    from qupath_sam.client.images import Pushed, Slide
    from qupath_sam.client.interface import Client, Live
    from qupath_sam.client.local import LocalClient
    from qupath_sam.client.propagation import PlaneOutline, PropagateOptions
    from qupath_sam.client.sam import Capabilities, SamClient
    from qupath_sam.engine.settings import EngineSettings
    from qupath_sam.errors import QupathSamError
    from qupath_sam.slides.rendering import ChannelDisplay, Rendering
    from qupath_sam.types.choices import Axis, ObjectKind
    from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts, scribble
    from qupath_sam.types.region_requests import (
        Effort,
        Example,
        GridOptions,
        ObjectFilter,
        Prompting,
        RegionRequest,
    )
    from qupath_sam.types.region_results import RegionBatch, RegionObject, RegionProgress
    from qupath_sam.types.regions import Region, Window
    from qupath_sam.types.requests import MaskChoice, ObjectRequest, OutputOptions, WindowRequest
    from qupath_sam.types.results import (
        EmbeddingSource,
        ObjectResult,
        Outline,
        Prediction,
        Provenance,
        Timings,
        WindowStatus,
    )
    from qupath_sam.types.service import EmbedMode, ImageDescription, ModelInfo, PixelFormat

__version__ = "0.1.0"

__all__ = [
    "Access",
    "Axis",
    "Box",
    "Capabilities",
    "ChannelDisplay",
    "Click",
    "Client",
    "Effort",
    "EmbedMode",
    "EmbeddingSource",
    "EngineSettings",
    "Example",
    "GridOptions",
    "Image",
    "ImageDescription",
    "Label",
    "Live",
    "LocalClient",
    "MaskChoice",
    "ModelInfo",
    "ObjectFilter",
    "ObjectKind",
    "ObjectPrompts",
    "ObjectRequest",
    "ObjectResult",
    "Outline",
    "OutputOptions",
    "PixelFormat",
    "PlaneOutline",
    "Prediction",
    "Prompting",
    "PropagateOptions",
    "Provenance",
    "Pushed",
    "QupathSamError",
    "Region",
    "RegionBatch",
    "RegionObject",
    "RegionProgress",
    "RegionRequest",
    "Rendering",
    "SamClient",
    "SegmentedObject",
    "SegmentedObjects",
    "Slide",
    "Timings",
    "Window",
    "WindowRequest",
    "WindowStatus",
    "__version__",
    "demo_slide_path",
    "scribble",
]

#: Where each public name is defined.
_MODULES = {
    "Access": "client.access",
    "Axis": "types.choices",
    "Box": "types.prompts",
    "Capabilities": "client.sam",
    "ChannelDisplay": "slides.rendering",
    "Click": "types.prompts",
    "Client": "client.interface",
    "Effort": "types.region_requests",
    "EmbedMode": "types.service",
    "EmbeddingSource": "types.results",
    "EngineSettings": "engine.settings",
    "Example": "types.region_requests",
    "GridOptions": "types.region_requests",
    "Image": "client.image",
    "ImageDescription": "types.service",
    "Label": "types.prompts",
    "Live": "client.interface",
    "LocalClient": "client.local",
    "MaskChoice": "types.requests",
    "ModelInfo": "types.service",
    "ObjectFilter": "types.region_requests",
    "ObjectKind": "types.choices",
    "ObjectPrompts": "types.prompts",
    "ObjectRequest": "types.requests",
    "ObjectResult": "types.results",
    "Outline": "types.results",
    "OutputOptions": "types.requests",
    "PixelFormat": "types.service",
    "PlaneOutline": "client.propagation",
    "Prediction": "types.results",
    "Prompting": "types.region_requests",
    "PropagateOptions": "client.propagation",
    "Provenance": "types.results",
    "Pushed": "client.images",
    "QupathSamError": "errors",
    "Region": "types.regions",
    "RegionBatch": "types.region_results",
    "RegionObject": "types.region_results",
    "RegionProgress": "types.region_results",
    "RegionRequest": "types.region_requests",
    "Rendering": "slides.rendering",
    "SamClient": "client.sam",
    "SegmentedObject": "client.image",
    "SegmentedObjects": "client.image",
    "Slide": "client.images",
    "Timings": "types.results",
    "Window": "types.regions",
    "WindowRequest": "types.requests",
    "WindowStatus": "types.results",
    "demo_slide_path": "assets",
    "scribble": "types.prompts",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        from qupath_sam.errors import MissingPackage
        from qupath_sam.machine.extras import missing_extra

        said = missing_extra(error)
        if said is None:
            raise
        raise MissingPackage(f"{name}: {said}") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
