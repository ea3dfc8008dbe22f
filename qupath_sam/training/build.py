"""A network to be trained, started from a model that is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from qupath_sam.errors import InvalidRequest
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import build_network
from qupath_sam.networks.network import DecoderKind, Parts, PromptableNetwork


def build_training_network(
    tensors: Mapping[str, Tensor], family: Family, parts: Parts, *, seed: int
) -> PromptableNetwork:
    """Build a network of these parts on the CPU, with what the model has of them; the rest is random.

    Args:
        tensors: of the model, all of them; copied.
        family: its architecture.
        parts: of the new network.
        seed: of what is random.

    Raises:
        InvalidRequest: the parts do without the model's head, or want SAM's decoder where the model has the modified
            one.
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
    state = network.state_dict()
    network.load_state_dict({key: tensors.get(key, tensor).to(tensor) for key, tensor in state.items()})
    return network
