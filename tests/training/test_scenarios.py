"""Each scenario changes what it says, and nothing else."""

from __future__ import annotations

import pytest
import torch

from qupath_sam.errors import InvalidRequest
from qupath_sam.networks.network import DecoderKind, Parts
from qupath_sam.training.loop import Trainer
from qupath_sam.training.scenarios import (
    LoraSettings,
    Scenario,
    Trainable,
    late_part,
    parameter_counts,
    parse_trainable,
    prepare_scenario,
    trains_encoder,
)
from qupath_sam.training.schedule import Schedule
from qupath_sam.training.settings import Length, TrainingSettings
from tests.training.networks import ONE_CLICK, DiscCrops, EarlyCrops, small_network

HEAD = Parts(refinement_head=True)


@pytest.mark.parametrize(
    ("trainable", "parts", "changed"),
    [
        (Scenario.SAM_MD.parts, Parts(), {"mask_decoder"}),
        (Scenario.SAM_IE_MD.parts, Parts(), {"image_encoder", "mask_decoder"}),
        (Scenario.SAM_WHOLE.parts, Parts(), {"image_encoder", "prompt_encoder", "mask_decoder"}),
        (frozenset({Trainable.LORA}), Parts(), {"image_encoder"}),
        (Scenario.SAM_MD.parts, Parts(DecoderKind.HISTOLOGY), {"mask_decoder"}),
        (frozenset({Trainable.LATE_ENCODER}), Parts(), {"image_encoder"}),
        (frozenset({Trainable.LAST_STAGE}), Parts(), {"image_encoder"}),
        (frozenset({Trainable.PROMPT}), HEAD, {"prompt_encoder", "refinement_head"}),
    ],
)
def test_a_step_changes_the_trained_parts_only(trainable, parts: Parts, changed: set[str]) -> None:
    network = small_network(parts)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    prepare_scenario(network, trainable, LoraSettings())
    settings = TrainingSettings(
        trainable, parts, Length(steps=1), schedule=Schedule.CONSTANT, accumulate=1, warm_up=0, mix=ONE_CLICK
    )
    late = late_part(trainable)
    crops = EarlyCrops(network, 1, late) if late else DiscCrops(1, pixels=trains_encoder(trainable))
    trainer = Trainer(network, crops, settings, normalise=lambda image: image / 255)
    trainer.step()
    after = network.state_dict()
    moved = {key for key in before if key in after and not torch.equal(before[key], after[key])}
    if Trainable.LORA in trainable:
        assert not moved, "the frozen weights below LoRA stay"
        assert all(name.endswith((".down", ".up")) for name in trainer.trained)
        assert any(parameter.abs().sum() > 0 for name, parameter in trainer.trained.items() if name.endswith(".up"))
    else:
        assert {key.split(".")[0] for key in moved} == changed
        assert {name.split(".")[0] for name in trainer.trained} == changed
    if late:
        assert {key.split(".")[1] for key in moved} == {"blocks", "neck"}
        assert not any(key.startswith("image_encoder.blocks.0.") for key in moved), "the early half stays"
    assert not any("gaussian_matrix" in key or "running_" in key for key in moved)


def test_counts_of_the_packaged_model(trainable_of_lite: dict[str, tuple[int, int]]) -> None:
    """LiteMedSAM has 9.8 M parameters; its mask decoder 4.06 M; the histology decoder adds .9 M to them."""
    assert trainable_of_lite == {
        "sam-md": (4_058_340, 9_791_300),
        "histology": (4_977_829, 10_710_789),
        "lora": (29_696 + 4_058_340, 9_791_300 + 29_696),
        "head": (4_980_674, 10_707_414),
    }


@pytest.fixture
def trainable_of_lite() -> dict[str, tuple[int, int]]:
    from qupath_sam.models.adapters.lite_medsam import build_lite_medsam

    decoder = Scenario.SAM_MD.parts
    chosen = {
        "sam-md": (decoder, Parts()),
        "histology": (decoder, Parts(DecoderKind.HISTOLOGY)),
        "lora": (decoder | {Trainable.LORA}, Parts()),
        "head": (decoder | {Trainable.PROMPT}, HEAD),
    }
    counts = {}
    for name, (trainable, parts) in chosen.items():
        with torch.device("meta"):
            network = build_lite_medsam(parts)
        prepare_scenario(network, trainable, LoraSettings())
        counts[name] = parameter_counts(network)
    return counts


def test_parts_by_name() -> None:
    assert parse_trainable("prompt, decoder") == {Trainable.PROMPT, Trainable.DECODER}
    wrongs = {"decodr": "known parts", "": "nothing", "encoder,lora": "leave the others", "late-encoder,lora": "others"}
    for wrong, said in wrongs.items():
        with pytest.raises(InvalidRequest, match=said):
            parse_trainable(wrong)
