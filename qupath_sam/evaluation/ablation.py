"""A model without one of its parts or rules: what each of them is worth.

For evaluations alone: no client can ask for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from qupath_sam.datasets.options import Part
from qupath_sam.errors import InvalidRequest
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.load import LoadedModel


def without(model: LoadedModel, parts: Collection[Part]) -> LoadedModel:
    """Return a model without some of its parts; the given one must not be used any more.

    Args:
        model: loaded.
        parts: to be left out.

    Raises:
        InvalidRequest: the model has not all of them.
    """
    segmenter = model.segmenter
    missing: list[Part] = []
    if Part.SECOND_DECODER in parts:
        if isinstance(segmenter, TwoDecoderSegmenter):
            segmenter = segmenter.first
        else:
            missing.append(Part.SECOND_DECODER)
    decoders = (segmenter.first, segmenter.second) if isinstance(segmenter, TwoDecoderSegmenter) else (segmenter,)
    for decoder in decoders:
        # The rules hold where there is a head.
        if not isinstance(decoder, PromptableSegmenter) or decoder.network.refinement_head is None:
            missing += [part for part in parts if part is not Part.SECOND_DECODER]
            break
        decoder.refines = Part.REFINEMENT_HEAD not in parts
        rules = decoder.click_rules
        decoder.click_rules = replace(
            rules,
            white=rules.white and Part.WHITE_RULE not in parts,
            clicks=rules.clicks and Part.CLICK_RULES not in parts,
        )
    if missing:
        names = ", ".join(part.value for part in dict.fromkeys(missing))
        raise InvalidRequest(f"--without {names}: {model.spec.name!r} has no such part; leave that out")
    return replace(model, segmenter=segmenter)
