"""``auto`` takes the model for regions where a person looks at regions, and the default elsewhere."""

from __future__ import annotations

import pytest

from qupath_sam.assets import demo_slide_path
from qupath_sam.client import EmbedMode, Slide
from qupath_sam.client.local import LocalClient
from qupath_sam.engine.model_choice import model_for
from qupath_sam.engine.settings import EngineSettings
from qupath_sam.errors import UnknownModel
from qupath_sam.models.registry import AUTO, REGION_MODEL
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.types.prompts import Click, ObjectPrompts
from qupath_sam.types.regions import Region
from qupath_sam.types.requests import WindowRequest


@pytest.mark.parametrize(
    ("window", "mpp", "expected"),
    [
        (WindowRequest(view_downsample=8), 0.25, REGION_MODEL),
        (WindowRequest(view_downsample=4), 0.25, ""),
        (WindowRequest(downsample=4), 0.5, REGION_MODEL),
        (WindowRequest(mpp=2), 0.5, REGION_MODEL),
        (WindowRequest(mpp=0.5), 0.5, ""),
        # The view says what is meant; a window is chosen for other reasons too.
        (WindowRequest(view_downsample=1, downsample=8), 0.25, ""),
        (WindowRequest(view_downsample=1, mpp=4), 0.25, ""),
        (WindowRequest(view_downsample=64), None, ""),
        (WindowRequest(), 0.25, ""),
        (None, 0.25, ""),
    ],
)
def test_the_scale_decides(window: WindowRequest | None, mpp: float | None, expected: str) -> None:
    assert model_for(AUTO, mpp=mpp, window=window) == expected


@pytest.mark.parametrize("name", ["", "fake", REGION_MODEL])
def test_a_model_that_is_named_answers_at_every_scale(name: str) -> None:
    assert model_for(name, mpp=0.25, window=WindowRequest(view_downsample=16)) == name


def test_both_models_answer_and_each_finds_what_was_embedded_for_it() -> None:
    slide, view = Slide(demo_slide_path()), Region(0, 0, 1000, 1000)
    with LocalClient(EngineSettings(model="fake", device="cpu")) as client:
        models = {model.name: model for model in client.models()}
        assert models[AUTO].available
        for downsample, expected in ((1.0, "fake"), (6.0, REGION_MODEL)):
            window = WindowRequest(view_downsample=downsample)
            client.embed(slide, model=AUTO, window=window, view=view, focus=(500, 500), mode=EmbedMode.WAIT)
            made = client.predict(slide, [ObjectPrompts((Click.at(500, 500),))], model=AUTO, window=window)
            assert made.provenance.model == expected
            source = made.results[0].embedding_source
            assert source is not None
            assert source.value == "memory"


def test_a_command_that_needs_one_model_says_that_auto_is_a_choice() -> None:
    with pytest.raises(UnknownModel, match="'auto' is no model but a choice by the scale of the view"):
        ModelStore().find(AUTO)
