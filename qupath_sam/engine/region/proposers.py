"""From what is asked to the proposer that finds it."""

from __future__ import annotations

from qupath_sam.engine.region.proposals import Proposer
from qupath_sam.errors import UnsupportedPrompting
from qupath_sam.models.load import LoadedModel
from qupath_sam.types.region_requests import Prompting, RegionRequest


def has_automatic_prompts(loaded: LoadedModel) -> bool:
    """Return whether a model generates prompts itself."""
    return False


def proposer_of(loaded: LoadedModel, request: RegionRequest, *, mpp: float | None) -> Proposer:
    """Return the proposer for a request.

    Args:
        loaded: the model whose embeddings the tiles hold.
        request: what is asked.
        mpp: um per level-0 px, or None.

    Raises:
        UnsupportedPrompting: the model cannot find objects that way.
    """
    prompting = request.prompting
    if prompting is Prompting.DEFAULT:
        prompting = Prompting.AUTOMATIC if has_automatic_prompts(loaded) else Prompting.GRID
    name = loaded.spec.name
    if prompting is Prompting.AUTOMATIC:
        raise UnsupportedPrompting(f"model {name!r} generates no prompts itself; ask for prompting 'grid'")
    if prompting is Prompting.LIKE:
        raise UnsupportedPrompting(f"model {name!r} cannot look for objects like examples; ask for prompting 'grid'")
    raise UnsupportedPrompting(f"model {name!r} cannot be prompted by a grid; take one that takes clicks")
