"""Which parts of a network are trained: the scenarios of Kim et al. 2023 (sec. 2.2, Fig. 2(b)) and LoRA."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.lora import add_lora
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.stages import Late, late_modules


class Trainable(enum.Enum):
    """A part that can be trained."""

    ENCODER = "encoder"
    """All of the image encoder. Its batch norms keep the statistics they were released with."""
    LATE_ENCODER = "late-encoder"
    """The image encoder's late half; see `qupath_sam.networks.stages`."""
    LAST_STAGE = "last-stage"
    """The image encoder's last stage and neck."""
    LORA = "lora"
    """Low-rank additions to the encoder's attention; see `qupath_sam.networks.lora`."""
    PROMPT = "prompt"
    DECODER = "decoder"


_ENCODER_PARTS = frozenset({Trainable.ENCODER, Trainable.LATE_ENCODER, Trainable.LAST_STAGE, Trainable.LORA})


class Scenario(enum.Enum):
    """The paper's, by the names it gives them."""

    SAM_MD = "sam-md"
    SAM_IE_MD = "sam-ie-md"
    SAM_WHOLE = "sam-whole"

    @property
    def parts(self) -> frozenset[Trainable]:
        """The parts that the scenario trains."""
        match self:
            case Scenario.SAM_MD:
                return frozenset({Trainable.DECODER})
            case Scenario.SAM_IE_MD:
                return frozenset({Trainable.ENCODER, Trainable.DECODER})
            case Scenario.SAM_WHOLE:
                return frozenset({Trainable.ENCODER, Trainable.PROMPT, Trainable.DECODER})


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Size of the low-rank additions."""

    rank: int = 4
    alpha: float = 4.0


def parse_trainable(text: str) -> frozenset[Trainable]:
    """Parse the parts in a comma-separated list.

    Raises:
        InvalidRequest: an unknown part, none, or the encoder in several ways at once.
    """
    try:
        parts = frozenset(Trainable(name.strip()) for name in text.split(",") if name.strip())
    except ValueError as error:
        known = ", ".join(part.value for part in Trainable)
        raise InvalidRequest(f"cannot train {text!r}; known parts: {known}, joined by commas") from error
    if not parts:
        raise InvalidRequest("nothing to train; name parts as in --train prompt,decoder")
    if len(parts & _ENCODER_PARTS) > 1:
        raise InvalidRequest("the encoder is trained whole, in part, or by LoRA; leave the others out")
    return parts


def late_part(parts: Iterable[Trainable]) -> Late | None:
    """Return what of the encoder is trained where the maps before it are kept, else None."""
    late = {Trainable.LATE_ENCODER: Late.HALF, Trainable.LAST_STAGE: Late.LAST_STAGE}
    return next((late[part] for part in parts if part in late), None)


def trains_encoder(parts: Iterable[Trainable]) -> bool:
    """Return whether embeddings change during training, so that none can be kept."""
    return not frozenset(parts).isdisjoint(_ENCODER_PARTS)


def prepare_scenario(network: PromptableNetwork, parts: frozenset[Trainable], lora: LoraSettings) -> None:
    """Freeze everything but the parts, and the refinement head where there is one, in place.

    LoRA layers are added where asked for.
    """
    network.requires_grad_(False)
    network.eval()
    if Trainable.LORA in parts:
        add_lora(network.image_encoder, rank=lora.rank, alpha=lora.alpha)
    trained: dict[Trainable, nn.Module] = {
        Trainable.ENCODER: network.image_encoder,
        Trainable.PROMPT: network.prompt_encoder,
        Trainable.DECODER: _module(network.mask_decoder),
    }
    for part in parts & trained.keys():
        trained[part].requires_grad_(True)
    if (late := late_part(parts)) is not None:
        for module in late_modules(network.image_encoder, late):
            module.requires_grad_(True)
    if network.refinement_head is not None:
        network.refinement_head.requires_grad_(True)


def trainable_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """Count the trained parameters, and all parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def _module(part: object) -> nn.Module:
    assert isinstance(part, nn.Module)
    return part
