"""Which model answers a call that asks for ``auto``: by the scale at which a person looks.

A person who outlines a tumour region looks at all of it, at 2 um per screen px and more, where a nucleus is 4 px wide;
CAMELYON's x5, the scale of Kim et al. 2023, is 2 um. The model for regions outlines them in fewer clicks and does not
know glands and nuclei (docs/science/kinds.md), so it answers at such scales only.
"""

from __future__ import annotations

from qupath_sam.models.registry import AUTO, REGION_MODEL
from qupath_sam.types.requests import WindowRequest

#: The models among which a call that asks for ``auto`` has its own chosen; the default is empty.
CHOICES = ("", REGION_MODEL)
#: um per px from which on regions are looked at.
COARSE_MPP = 1.5


def model_for(name: str, *, mpp: float | None = None, window: WindowRequest | None = None) -> str:
    """Return the name of the model that answers; the server's default is empty.

    The view decides, for it stays the same over the clicks on an object, or else the scale that is asked for. Without
    a pixel size or a scale the default answers.

    Args:
        name: that the call gives.
        mpp: of the image, um per level-0 px.
        window: that the call asks for; None where it looks at all scales.
    """
    if name != AUTO:
        return name
    return REGION_MODEL if window is not None and _seen_mpp(window, mpp) >= COARSE_MPP else ""


def _seen_mpp(window: WindowRequest, mpp: float | None) -> float:
    """Return the um per px that are looked at; 0 where they are not known."""
    if not window.view_downsample and window.mpp is not None:
        return window.mpp
    return (window.view_downsample or window.downsample or 0.0) * (mpp or 0.0)
