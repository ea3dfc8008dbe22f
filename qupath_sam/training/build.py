"""A network to be trained, started from a model that is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.registry import Family
from qupath_sam.models.weights.checkpoints import build_network
from qupath_sam.networks.network import DecoderKind, Parts, PromptableNetwork


def build_training_network(
    tensors: Mapping[str, Tensor], family: Family, parts: Parts, *, seed: int
) -> PromptableNetwork:
    """A network of these parts on the CPU, with what the model has of them; the rest is random.

    Where the model has no decoder for boxes alone and the parts want one, it is a copy of the model's own decoder.

    Args:
        tensors: of the model, all of them; copied.
        family: its architecture.
        parts: of the new network.
        seed: of what is random.

    Raises:
        InvalidRequest: the parts do without the model's head, want SAM's decoder where the model has the modified one,
            or a decoder for boxes alone that the model cannot give.
    """
    own_parts = Parts.of(tensors)
    if own_parts.refinement_head and not parts.refinement_head:
        raise InvalidRequest(
            "the model to start from has a refinement head, which its decoder was tuned with; "
            "keep it (--head refinement), or start from another model (--init)"
        )
    if own_parts.decoder is DecoderKind.HISTOLOGY and parts.decoder is DecoderKind.SAM:
        raise InvalidRequest(
            "the model to start from has the modified decoder; keep it (--decoder histology), "
            "or start from another model (--init)"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(family, parts)
    known = dict(tensors)
    if parts.box_decoder and not own_parts.box_decoder:
        if own_parts.decoder is not DecoderKind.SAM:
            raise InvalidRequest(
                "boxes alone are answered by SAM's decoder, which this model has not; "
                "start from another model (--init) or tune boxes too (--boxes tuned)"
            )
        own = ("prompt_encoder.", "mask_decoder.")
        known |= {f"box_decoder.{key}": tensor for key, tensor in tensors.items() if key.startswith(own)}
    state = network.state_dict()
    network.load_state_dict({key: known.get(key, tensor).to(tensor) for key, tensor in state.items()})
    return network
