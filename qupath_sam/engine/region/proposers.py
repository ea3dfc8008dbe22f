"""From what is asked to the proposer that finds it."""

from __future__ import annotations

from dataclasses import replace

from qupath_sam.engine.automatic.proposer import LEAST_SCORE, AutomaticProposer
from qupath_sam.engine.region.grid import Grid, GridProposer
from qupath_sam.engine.region.proposals import Proposer
from qupath_sam.errors import UnsupportedPrompting
from qupath_sam.models.base import Capabilities
from qupath_sam.models.dense_scales import DENSE_SCALES
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideInfo
from qupath_sam.types.region_requests import Effort, Prompting, RegionRequest

#: Distance of two clicks, px of a tile at its objects' scale: the smallest nuclei have 4 um, and FAST meets all of at
#: least 8 um; of glands these are 16 and 32 um.
GRID_SPACING = {Effort.BEST: 16.0, Effort.FAST: 32.0}


def prompting_of(loaded: LoadedModel, request: RegionRequest) -> Prompting:
    """Return the prompting that a request means for a model: its own, or the model's best."""
    if request.prompting is not Prompting.DEFAULT:
        return request.prompting
    return Prompting.AUTOMATIC if request.objects in loaded.dense else Prompting.GRID


def proposer_of(loaded: LoadedModel, request: RegionRequest, info: SlideInfo, *, downsample: float) -> Proposer:
    """Return the proposer for a request that has no examples; `qupath_sam.engine.like` has the one for those that have.

    Args:
        loaded: the model whose embeddings the tiles hold.
        request: what is asked.
        info: of the slide.
        downsample: of the tiles, level-0 px per tile px.

    Raises:
        UnsupportedPrompting: the model cannot find objects that way.
    """
    prompting, name = prompting_of(loaded, request), loaded.spec.name
    if prompting is Prompting.AUTOMATIC:
        head = loaded.dense.get(request.objects)
        if head is None:
            raise UnsupportedPrompting(
                f"model {name!r} generates no prompts for {request.objects.value} itself; ask for prompting 'grid', or "
                "add a dense head for it (`qupath-sam models add-dense`)"
            )
        score = request.filter.min_score
        return AutomaticProposer(
            head,
            loaded.segmenter.capabilities,
            effort=request.effort,
            min_score=LEAST_SCORE if score is None else score,
        )
    if not loaded.segmenter.capabilities.points:
        raise UnsupportedPrompting(
            f"model {name!r} takes no clicks, so that no grid of clicks can prompt it; ask another"
        )
    return _grid_proposer(request, info, downsample, grid_defaults(loaded.segmenter.capabilities))


def grid_defaults(capabilities: Capabilities) -> Grid:
    """Return how a grid filters the masks of a model, unless it is said otherwise.

    SAM's numbers suit decoders that are trained as SAM's. Models of fewer masks are tuned on few images: their logits
    are softer, their scores lower, and SAM's numbers leave nothing. On a tile of TNBC's validation patients (425 clicks
    of the default model's first decoder, at 0.12 and 0.25 um per px) these keep 65 % of the masks with an IoU above .5,
    and 73 % of what is kept is such a mask; .88 and .95 keep none.
    """
    if capabilities.mask_count >= 3:
        return Grid(spacing=1.0)
    return Grid(spacing=1.0, min_score=0.5, min_stability=0.65, stability_offset=0.25, several_masks=False)


def _grid_proposer(request: RegionRequest, info: SlideInfo, downsample: float, defaults: Grid) -> GridProposer:
    asked = request.grid
    fast = request.effort is Effort.FAST
    if asked.spacing is not None:
        spacing = asked.spacing / (info.mpp or 1.0)
    else:
        # Without a pixel size the tiles' scale says how large the objects are.
        mpp = DENSE_SCALES[request.objects].mpp
        spacing = GRID_SPACING[request.effort] * mpp / (info.mpp or mpp / downsample)
    score = request.filter.min_score
    grid = replace(
        defaults,
        spacing=max(spacing, downsample),
        min_score=defaults.min_score if score is None else score,
        min_stability=defaults.min_stability if asked.min_stability is None else asked.min_stability,
        box_nms_iou=defaults.box_nms_iou if asked.box_nms_iou is None else asked.box_nms_iou,
        skips_found=fast,
    )
    return GridProposer(grid, origin=(info.extent.x, info.extent.y))
