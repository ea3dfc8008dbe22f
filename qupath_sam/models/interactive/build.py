"""From networks to the segmenter of their house."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qupath_sam.models.base import Capabilities
from qupath_sam.models.devices import Execution
from qupath_sam.models.interactive.focalclick import FocalClickSegmenter
from qupath_sam.models.interactive.segmenter import ClickSegmenter
from qupath_sam.models.interactive.zooming import RitmSegmenter, SimpleClickSegmenter
from qupath_sam.models.spec import Family
from qupath_sam.networks.interactive.models import ClickNetwork

_SEGMENTERS: dict[Family, type[ClickSegmenter[Any]]] = {
    Family.RITM: RitmSegmenter,
    Family.FOCALCLICK: FocalClickSegmenter,
    Family.SIMPLECLICK: SimpleClickSegmenter,
}


def build_click_segmenter(
    networks: Sequence[ClickNetwork], family: Family, *, capabilities: Capabilities, execution: Execution
) -> ClickSegmenter[Any]:
    """Build the segmenter round networks of its family; see `ClickSegmenter`."""
    return _SEGMENTERS[family](networks, capabilities=capabilities, execution=execution)
