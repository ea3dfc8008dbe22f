"""Whole-slide images: finding, opening and reading them in QuPath's frame.

Names are imported when first used, so that importing this package loads no decoder.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.slides.builder import SlideRecipe, parse_builder
    from qupath_sam.slides.cache import SlideCache
    from qupath_sam.slides.location import Location, PathMap, parse_location
    from qupath_sam.slides.open import open_slide
    from qupath_sam.slides.permissions import Permissions
    from qupath_sam.slides.pushed import PushedReader
    from qupath_sam.slides.urls import UrlRules
    from qupath_sam.types.service import PixelFormat

__all__ = [
    "Location",
    "PathMap",
    "Permissions",
    "PixelFormat",
    "PushedReader",
    "SlideCache",
    "SlideRecipe",
    "UrlRules",
    "open_slide",
    "parse_builder",
    "parse_location",
]

_MODULES = {
    "Location": "location",
    "PathMap": "location",
    "Permissions": "permissions",
    "PixelFormat": "pushed",
    "PushedReader": "pushed",
    "SlideCache": "cache",
    "SlideRecipe": "builder",
    "UrlRules": "urls",
    "open_slide": "open",
    "parse_builder": "builder",
    "parse_location": "location",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
