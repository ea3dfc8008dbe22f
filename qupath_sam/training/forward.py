"""The forward pass: crops to embeddings, and the prompts of sessions to masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qupath_sam.models.devices import computes_in_bf16
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasPrompts
from qupath_sam.networks.mask_decoder import Decoded
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.networks.refinement_head import Refined, refine
from qupath_sam.networks.stages import late_map
from qupath_sam.training.embeddings import EncodedCrop
from qupath_sam.training.objective import mask_losses
from qupath_sam.training.sampling import Session
from qupath_sam.training.scenarios import late_part, trains_encoder
from qupath_sam.training.settings import TrainingSettings

#: Decoder logits are clamped to this before the loss: beyond, nothing is learnt.
_DECODER_LIMIT = 20.0
#: Beside a head, which share of answers train the decoder, by how many came before: its backward pass is half the time.
_DECODER_SHARE = ((1, 1.0), (3, 0.35), (21, 0.12))


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A network's answers to B prompts while it learns.

    Attributes:
        decoded: M masks each: one, or three where the prompt is ambiguous.
        losses: ``(B, M)``, of the decoder's masks.
        best: ``(B,)``, which of them is nearest to the truth: that one is learnt from and refined.
        refined: None without a head.
    """

    decoded: Decoded
    losses: Tensor
    best: Tensor
    refined: Refined | None

    def best_logits(self) -> Tensor:
        """Return ``(B, 256, 256)`` without gradient: the mask nearest to the truth, refined where there is a head."""
        if self.refined is not None:
            return self.refined.logits[:, 0]
        return self._of(self.best)

    def shown(self) -> Tensor:
        """Return ``(B, 256, 256)`` without gradient: the mask with the highest score, as a user gets it.

        Unrefined where it is another than the best.
        """
        first = self.decoded.scores.detach().argmax(dim=1)
        return torch.where((first == self.best)[:, None, None], self.best_logits(), self._of(first))

    def _of(self, index: Tensor) -> Tensor:
        return self.decoded.logits.detach()[torch.arange(len(index), device=index.device), index]


class Forward:
    """A network that answers while it learns.

    Args:
        network: on its device.
        settings: what is trained, and in which number format.
        normalise: pixels in 0..255 to what the encoder takes; used only where the whole encoder is trained.
        random: of which answers train the decoder, and of the head's regions.
        device: the network's.
    """

    def __init__(
        self,
        network: PromptableNetwork,
        settings: TrainingSettings,
        *,
        normalise: Callable[[Tensor], Tensor],
        random: np.random.Generator,
        device: torch.device,
    ) -> None:
        self.network = network
        self.trains_encoder = trains_encoder(settings.trainable)
        self._late = late_part(settings.trainable)
        self._settings = settings
        self._normalise = normalise
        self._random = random
        self._device = device
        self._in_bf16 = settings.mixed_precision and computes_in_bf16(device)
        with torch.no_grad():
            self._dense_position: Tensor = network.prompt_encoder.get_dense_pe()

    def encode(self, crops: Sequence[EncodedCrop]) -> Tensor:
        """Return embeddings ``(V, 256, 64, 64)``, fp32: kept ones, or made with gradient by the trained part."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bf16):
            return self._encode(crops).float()

    def answer(
        self, sessions: Sequence[Session], crops: Sequence[EncodedCrop], embedding: Tensor, truth: Tensor
    ) -> Answer:
        """Return the masks of the decoder, and what the head makes of the one that is nearest to the truth.

        Args:
            sessions: B, with prompts of one shape.
            crops: that they are on.
            embedding: of these, ``(B, 256, 64, 64)``.
            truth: fp32 ``(B, 1, 256, 256)``.
        """
        head = self.network.refinement_head
        before = max(session.answers for session in sessions)
        learns_decoder = head is None or self._random.random() < _decoder_share(before)
        prompts = [session.prompts() for session in sessions]
        several = self._settings.masks > 1 and sessions[0].is_ambiguous
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bf16):
            with nullcontext() if learns_decoder else torch.no_grad():
                decoded = self._decode(embedding, prompts, masks=slice(1, None) if several else slice(0, 1))
            losses = mask_losses(decoded.logits, truth, alpha=self._settings.focal_alpha)
            best = losses.detach().argmin(dim=1)
            if head is None:
                return Answer(decoded, losses, best, None)
            rows = torch.arange(len(best), device=best.device)
            nearest = Decoded(
                decoded.logits[rows, best][:, None], decoded.scores[rows, best][:, None], decoded.features
            )
            image = torch.cat([crop.image for crop in crops]).to(self._device)
            refined = refine(head, image, head.project(embedding), nearest, prompts, jitter=self._random)
            return Answer(decoded, losses, best, refined)

    def _decode(self, embedding: Tensor, prompts: Sequence[CanvasPrompts], *, masks: slice) -> Decoded:
        decoded = self.network.decode(
            embedding, *network_prompts(prompts, self.network, self._device), dense_position=self._dense_position
        )
        return Decoded(
            decoded.logits[:, masks].float().clamp(-_DECODER_LIMIT, _DECODER_LIMIT),
            decoded.scores[:, masks].float(),
            decoded.features.float(),
        )

    def _encode(self, crops: Sequence[EncodedCrop]) -> Tensor:
        encoder = self.network.image_encoder
        if not self.trains_encoder or self._late is not None:
            kept = [crop.embedding.to(self._device, torch.float32) for crop in crops if crop.embedding is not None]
            return torch.cat(kept) if self._late is None else late_map(encoder, torch.cat(kept), self._late)
        pixels = torch.cat([crop.image for crop in crops]).to(self._device).float()
        # One by one, as some models normalise each image by its own values.
        images = torch.cat([self._normalise(image[None]) for image in pixels])
        embedding: Tensor = encoder(images)
        return embedding


def network_prompts(
    prompts: Sequence[CanvasPrompts], network: PromptableNetwork, device: torch.device
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None]:
    """Return points, boxes and masks of prompts of one shape as `PromptableNetwork.decode` takes them."""
    scale = network.input_size / CANVAS_SIZE
    points = boxes = masks = None
    if prompts[0].clicks:
        places = [[((c.x + 0.5) * scale - 0.5, (c.y + 0.5) * scale - 0.5) for c in p.clicks] for p in prompts]
        labels = [[int(c.positive) for c in p.clicks] for p in prompts]
        points = torch.tensor(places, dtype=torch.float32, device=device), torch.tensor(labels, device=device)
    if prompts[0].box is not None:
        corners = [p.box for p in prompts]
        boxes = torch.tensor(corners, dtype=torch.float32, device=device) * scale - 0.5
    if prompts[0].previous is not None:
        masks = torch.stack([p.previous for p in prompts if p.previous is not None])[:, None].to(device)
    return points, boxes, masks


def _decoder_share(answers: int) -> float:
    return next((share for below, share in _DECODER_SHARE if answers < below), _DECODER_SHARE[-1][1])
