"""Models without their weights, for timing: latency does not depend on what the weights are."""

from __future__ import annotations

import torch
from torch import nn

from qupath_sam.errors import WeightsMissing
from qupath_sam.models.adapters import transformers_published
from qupath_sam.models.adapters.transformers_sam import TransformersSegmenter
from qupath_sam.models.devices import Precision, choose_execution
from qupath_sam.models.interactive.build import build_click_segmenter
from qupath_sam.models.interactive.published import published_network
from qupath_sam.models.load import ADAPTERS, LoadedModel, load_weights
from qupath_sam.models.registry import BUILT_IN
from qupath_sam.models.spec import CLICK_FAMILIES, TRANSFORMERS_FAMILIES, ModelSpec
from qupath_sam.models.weights.checkpoints import build_network
from qupath_sam.models.weights.store import ModelStore

#: Where the decoders of models without weights come from: its weights travel with a package.
_DECODER_OF = "lite_medsam"


def load_random(name: str, *, device: str = "auto", precision: str | Precision = Precision.AUTO) -> LoadedModel:
    """Load a built-in model with seeded random weights in its image encoder.

    Its prompt encoder and mask decoder are LiteMedSAM's, which have the same shapes: random ones would answer with
    noise, and tracing noise takes longer than tracing tissue.
    """
    spec = BUILT_IN[name]
    if spec.family in CLICK_FAMILIES:
        return _random_click_model(spec, device)
    if spec.family in TRANSFORMERS_FAMILIES:
        return _random_transformers_model(spec, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(spec.family)
    tensors = network.state_dict()
    known = load_weights(BUILT_IN[_DECODER_OF], ModelStore()).tensors
    for key, value in known.items():
        if key.startswith(("prompt_encoder.", "mask_decoder.")) and tensors[key].shape == value.shape:
            tensors[key] = value
    network.load_state_dict(tensors)
    execution = choose_execution(device, precision)
    segmenter = ADAPTERS[spec.family](network, capabilities=spec.capabilities, execution=execution)
    return LoadedModel(segmenter, spec, "", str(execution.device), execution.precision.value)


def _random_transformers_model(spec: ModelSpec, device: str) -> LoadedModel:
    """Build a model of `transformers` whose decoder is random too.

    Where it enlarges its maps, its answer is made smooth, as trained ones are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network = transformers_published.published_network(spec.name)
        except ImportError as error:
            raise WeightsMissing(
                f"{spec.name} needs an optional package; install it with `pip install 'qupath-sam[transformers]'`"
            ) from error
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.ConvTranspose2d):
                module.weight.copy_(module.weight.mean(dim=(2, 3), keepdim=True).expand_as(module.weight))
    execution = choose_execution(device, Precision.FP32)
    segmenter = TransformersSegmenter(network, family=spec.family, capabilities=spec.capabilities, execution=execution)
    return LoadedModel(segmenter, spec, "", str(execution.device), execution.precision.value)


def _random_click_model(spec: ModelSpec, device: str) -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = published_network(spec.name).build()
    execution = choose_execution(device, Precision.FP32)
    segmenter = build_click_segmenter([network], spec.family, capabilities=spec.capabilities, execution=execution)
    return LoadedModel(segmenter, spec, "", str(execution.device), execution.precision.value)
