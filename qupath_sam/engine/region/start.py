"""From a request to a run over a region."""

from __future__ import annotations

from qupath_sam.engine.call import Call
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.like.prepare import OutlineClicks, plan_like
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.engine.region.probe import is_guessed, probed_downsample
from qupath_sam.engine.region.proposals import Proposer
from qupath_sam.engine.region.proposers import prompting_of, proposer_of
from qupath_sam.engine.region.run import RegionPlan, RegionRun, place_of
from qupath_sam.engine.region.scale import tile_downsample
from qupath_sam.engine.worker import InferenceWorker
from qupath_sam.models.load import LoadedModel
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.region_requests import Prompting, RegionRequest


def start_region(
    slide: SlideReader,
    request: RegionRequest,
    loaded: LoadedModel,
    *,
    worker: InferenceWorker,
    embeddings: EmbeddingStore,
    call: Call,
    outline_clicks: OutlineClicks,
) -> RegionRun:
    """Return a run that is ready for its first tile.

    Args:
        outline_clicks: outlines the examples that are clicks.

    Raises:
        InvalidRequest: the region does not meet the image, or the token is not of this request.
        InvalidPrompt: an example that is none.
        UnsupportedPrompting: the model cannot find objects that way.
        SlideUnreadable: the pixels cannot be read.
    """
    info = slide.info
    tile_size = loaded.segmenter.capabilities.input_size
    place = place_of(request, info.extent)
    prompting = prompting_of(loaded, request)
    mirrors = prompting in (Prompting.AUTOMATIC, Prompting.LIKE)
    model = RegionModel(worker=worker, embeddings=embeddings, loaded=loaded, slide=slide, call=call, mirrors=mirrors)
    proposer: Proposer
    if prompting is Prompting.LIKE:
        like = plan_like(request, info, loaded, model, tile_size=tile_size, outline_clicks=outline_clicks)
        proposer, downsample, remarks = like.proposer, like.downsample, like.remarks
    else:
        downsample, remarks = tile_downsample(request, info, tile_size)
        head = loaded.dense.get(request.objects)
        if prompting is Prompting.AUTOMATIC and head is not None:
            if is_guessed(request, info):
                downsample, remarks = probed_downsample(
                    model, head, info, place, tile_size=tile_size, start=downsample, otherwise=remarks
                )
            remarks = (*remarks, f"objects are proposed by the dense head {head.sha256[:12]}")
        proposer = proposer_of(loaded, request, info, downsample=downsample)
    plan = RegionPlan(place, downsample, tile_size, max_extent=tile_size * downsample, remarks=remarks)
    return RegionRun(request=request, plan=plan, slide=slide, loaded=loaded, model=model, proposer=proposer)
