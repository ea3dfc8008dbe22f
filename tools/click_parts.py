"""The networks of a click and their inputs: in eager torch, as the product runs them, and for other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qupath_sam.assets import demo_slide_path
from qupath_sam.models.adapters.promptable import PromptableSegmenter
from qupath_sam.models.adapters.two_decoders import TwoDecoderSegmenter
from qupath_sam.models.base import WindowPrompts
from qupath_sam.models.devices import encode
from qupath_sam.models.load import load_segmenter, load_weights
from qupath_sam.models.weights.checkpoints import build_network_with
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.frozen_decoder import cells_of, in_order
from qupath_sam.networks.network import PromptableNetwork
from qupath_sam.slides.open import open_slide
from qupath_sam.types.regions import Region, Window

Run = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Part:
    """A network of a click.

    Attributes:
        name: encoder, decoder or head.
        network: as other runtimes get it, fp32; they fold what can be folded.
        inputs: fp32, real ones.
        growing: the input whose second axis has another length from call to call; None where all shapes are fixed.
        eager: the same answers by the network as it was trained.
        folded: by torch in fp32, as the product runs it where there is no bf16.
        today: by torch in bf16, as the product runs it without OpenVINO.
        gflop: multiplications and additions of a call, in 1e9.
    """

    name: str
    network: nn.Module
    inputs: tuple[Tensor, ...]
    growing: int | None
    eager: Run
    folded: Run
    today: Run
    gflop: float


def parts_of(model: str) -> list[Part]:
    """Return the networks of a model, with the inputs that a click on the demo slide gives them.

    Raises:
        ValueError: the model has no refinement head, or is of another kind.
    """
    eager, folded, bf16 = (_segmenter(model, precision) for precision in ("fp32_eager", "fp32", "bf16"))
    trained, exported = eager.network, _exported(model)
    image, embedding, sparse, dense, head_inputs = _inputs(eager)
    cells, position = cells_of(embedding + dense), trained.prompt_encoder.get_dense_pe()

    def decode_eager(*_: Tensor) -> Sequence[Tensor]:
        found = trained.mask_decoder.decode(embedding, sparse, dense, dense_position=position)
        return found.logits, found.scores

    return [
        Part(
            "encoder",
            exported.image_encoder,
            (image,),
            None,
            lambda image: [trained.image_encoder(image)],
            *(_encoder(each) for each in (folded, bf16)),
            gflop=_gflop(trained.image_encoder, image),
        ),
        Part(
            "decoder",
            _Ordered(exported.mask_decoder),
            (cells, sparse),
            1,
            decode_eager,
            *(_Ordered(each.network.mask_decoder) for each in (folded, bf16)),
            gflop=_gflop(exported.mask_decoder, cells, sparse),
        ),
        Part(
            "head",
            _head(exported),
            head_inputs,
            None,
            *(_head(each.network) for each in (eager, folded, bf16)),
            gflop=_gflop(_head(trained), *head_inputs),
        ),
    ]


def _encoder(segmenter: PromptableSegmenter) -> Run:
    return lambda image: [encode(segmenter.network.image_encoder, image, segmenter.execution)]


def _head(network: PromptableNetwork) -> nn.Module:
    assert network.refinement_head is not None
    return network.refinement_head


def _exported(model: str) -> PromptableNetwork:
    """Return the network for other runtimes: fp32, its decoder in the form for inference, nothing of inference mode."""
    store = ModelStore()
    spec = store.find(model)
    with torch.inference_mode(mode=False):
        network = build_network_with(load_weights(spec, store).tensors, spec.family).eval().requires_grad_(False)
        network.freeze_decoder()
    return network


class _Ordered(nn.Module):
    """A frozen decoder that gives what a trained one gives: logits over the square and scores."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, cells: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor]:
        return _ordered(self.decoder(cells, sparse))


def _ordered(answers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    logits, scores, _ = answers
    return in_order(logits), scores


def _segmenter(model: str, precision: str) -> PromptableSegmenter:
    segmenter = load_segmenter(model, device="cpu", precision=precision, runtime="torch").segmenter
    if isinstance(segmenter, TwoDecoderSegmenter):
        segmenter = segmenter.first
    if not isinstance(segmenter, PromptableSegmenter) or segmenter.network.refinement_head is None:
        raise ValueError(f"{model} has no refinement head; choose the default model")
    return segmenter


def _inputs(eager: PromptableSegmenter) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Return what encoder, decoder and head get for three clicks on a mask so far."""
    network, size = eager.network, eager.network.input_size
    reader = open_slide(demo_slide_path())
    try:
        pixels = reader.read(Window.of(Region(1200, 1200, 512, 512), 2.0))
    finally:
        reader.close()
    points = torch.tensor([[0.5, 0.5], [0.6, 0.55], [0.3, 0.7]]) * size
    labels = torch.tensor([1, 1, 0])
    seen: dict[str, tuple[Tensor, ...]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given}))
        for name, module in (("encoder", network.image_encoder), ("head", network.refinement_head))
        if module is not None
    ]
    embedding = eager.embed(pixels)
    first = eager.decode(embedding, [WindowPrompts(points[:1].numpy(), labels[:1].numpy(), last_click=1)])[0]
    eager.decode(embedding, [WindowPrompts(points.numpy(), labels.numpy(), None, first.logits[0], 1)])
    for hook in hooks:
        hook.remove()
    masks = torch.from_numpy(first.logits[0])[None, None].float()
    sparse, dense = network.prompt_encoder(points=(points[None] - 0.5, labels[None]), boxes=None, masks=masks)
    # Copies: what was made in inference mode cannot be exported.
    with torch.inference_mode(mode=False):
        copies = [each.clone() for each in (seen["encoder"][0], embedding.tensors["image"].float(), sparse, dense)]
        image, image_embedding, tokens, cells = copies
        return image, image_embedding, tokens, cells, tuple(each.float().clone() for each in seen["head"])


def _gflop(network: nn.Module, *inputs: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    # The counter sees no fused operators, so no folded network belongs here.
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    return float(counter.get_total_flops() / 1e9)


def several(answers: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the answers of a network that may have one alone."""
    return (answers,) if isinstance(answers, Tensor) else answers
