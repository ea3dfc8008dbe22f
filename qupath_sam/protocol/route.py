"""The metadata by which a front before several servers keeps the calls about an image at one of them."""

from __future__ import annotations

#: Its value is the same with each call about an image, and with the PushPixels of its pixels.
ROUTE_METADATA = "qupath-sam-route"
