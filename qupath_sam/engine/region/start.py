"""From a request to a run over a region."""

from __future__ import annotations

from qupath_sam.engine.call import Call
from qupath_sam.engine.embeddings.store import EmbeddingStore
from qupath_sam.engine.region.model import RegionModel
from qupath_sam.engine.region.probe import is_guessed, probed_downsample
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
) -> RegionRun:
    """Return a run that is ready for its first tile.

    Raises:
        InvalidRequest: the region does not meet the image, or the token is not of this request.
        UnsupportedPrompting: the model cannot find objects that way.
        SlideUnreadable: the pixels cannot be read.
    """
    info = slide.info
    tile_size = loaded.segmenter.capabilities.input_size
    place = place_of(request, info.extent)
    downsample, remarks = tile_downsample(request, info, tile_size)
    automatic = prompting_of(loaded, request) is Prompting.AUTOMATIC
    model = RegionModel(worker=worker, embeddings=embeddings, loaded=loaded, slide=slide, call=call, mirrors=automatic)
    if automatic and loaded.dense is not None:
        if is_guessed(request, info):
            downsample, remarks = probed_downsample(
                model, loaded.dense, info, place, tile_size=tile_size, start=downsample, otherwise=remarks
            )
        remarks = (*remarks, f"objects are proposed by the dense head {loaded.dense.sha256[:12]}")
    proposer = proposer_of(loaded, request, info, downsample=downsample)
    plan = RegionPlan(place, downsample, tile_size, max_extent=tile_size * downsample, remarks=remarks)
    return RegionRun(request=request, plan=plan, slide=slide, loaded=loaded, model=model, proposer=proposer)
