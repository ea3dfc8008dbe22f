"""Stopping and going on: everything that the next step depends on, in one file that appears in one step."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from qupath_sam.errors import InvalidRequest
from qupath_sam.machine.files import atomic_write
from qupath_sam.networks.canvas import CanvasClick
from qupath_sam.training.loop import Progress, StepReport
from qupath_sam.training.pool import SessionPool
from qupath_sam.training.sampling import Session, Start

RESUME_FILE = "resume.pt"
_VERSION = 6
#: The version before it differs in two names, of which a setting is one; a run of it goes on.
_VERSION_OF_VIEWS = 5
_RENAMED = {"views": "crops", "sessions_per_view": "sessions_per_crop"}


class Settings(Protocol):
    """All that decides the result of a run beside the data."""

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        ...


class Resumable(Protocol):
    """A trainer that can be stopped between two steps; see `qupath_sam.training.loop.Trainer`.

    Attributes:
        progress, pool: of the run.
        random: of all that is drawn.
    """

    progress: Progress
    pool: SessionPool
    random: np.random.Generator

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of the run."""
        ...

    @property
    def settings(self) -> Settings:
        """Of the run."""
        ...

    @property
    def trained(self) -> Mapping[str, Tensor]:
        """Tensors that steps change, by name."""
        ...

    @property
    def average(self) -> Mapping[str, Tensor]:
        """Their means over steps, by the same names."""
        ...


def save_state(trainer: Resumable, path: Path, *, source: str, since_row: Sequence[StepReport] = ()) -> None:
    """Write weights, averages, optimiser, running sessions, place in the data and all random states.

    The file before stays whole until the new one is.

    Args:
        trainer: between two steps.
        path: of the file.
        source: tells the data and the model that the run started from apart from others.
        since_row: reports that no row of the curves holds yet.
    """
    progress, pool = trainer.progress, trainer.pool
    state = {
        "version": _VERSION,
        "settings": json.dumps(trainer.settings.as_json()),
        "source": source,
        "since_row": [asdict(report) for report in since_row],
        "weights": {name: parameter.detach() for name, parameter in trainer.trained.items()},
        "average": trainer.average,
        "optimizer": trainer.optimizer.state_dict(),
        "step": progress.step,
        "prompts": progress.prompts,
        "seconds": progress.seconds,
        "drawn": pool.drawn,
        "crop": pool.crop,
        "sessions_left": pool.sessions_left,
        "sessions": [_session_state(session) for session in pool.sessions],
        "random": _random_states(trainer),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        torch.save(state, file)


def load_state(trainer: Resumable, path: Path, *, source: str) -> list[StepReport]:
    """Put a trainer of the same settings and source where `save_state` left the other.

    Returns:
        The reports that no row of the curves holds yet.

    Raises:
        InvalidRequest: no such file, one that cannot be read, or one of a run with other settings, data or weights.
    """
    state = read_state(path)
    if not state.get("method") and state["version"] == _VERSION_OF_VIEWS:
        state = _without_views(state)
    if state.get("method") or state["version"] != _VERSION:
        raise InvalidRequest(f"{path.parent} holds a run of another method or version; choose another --out")
    before, now = renamed_settings(json.loads(state["settings"])), trainer.settings.as_json()
    if before.get("parts", {}).get("box_decoder") is False:  # of versions that could have one
        del before["parts"]["box_decoder"]
    # A run may be made longer: its length decides nothing but the schedule.
    other = [key for key in now if key != "length" and before.get(key) != now[key]]
    if other or state["weights"].keys() != trainer.trained.keys():
        raise InvalidRequest(
            f"{path.parent} holds a run with other settings ({', '.join(other) or 'trained parts'}); "
            "resume with the same options, or choose another --out"
        )
    if state["source"] != source:
        raise InvalidRequest(
            f"{path.parent} holds a run on other data, or from other weights; resume with the same data sets and the "
            "same --init, or choose another --out"
        )
    with torch.no_grad():
        for name, parameter in trainer.trained.items():
            parameter.copy_(state["weights"][name])
            trainer.average[name].copy_(state["average"][name])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.progress = Progress(state["step"], state["prompts"], state["seconds"])
    trainer.pool.drawn, trainer.pool.crop = state["drawn"], state["crop"]
    trainer.pool.sessions_left = state["sessions_left"]
    trainer.pool.sessions = [_session(session) for session in state["sessions"]]
    _restore_random(trainer, state["random"])
    return [StepReport(**report) for report in state["since_row"]]


def read_state(path: Path) -> dict[str, Any]:
    """Read the state that a run wrote to resume from.

    Raises:
        InvalidRequest: no such file, or one that cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InvalidRequest(f"there is no run to resume at {path.parent}; start it without --resume") from error
    except Exception as error:  # what torch's reader meets in arbitrary bytes has no common type
        raise InvalidRequest(f"{path} cannot be read ({type(error).__name__}); start again without --resume") from error
    return state


def renamed_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run under today's names: crops were called views."""
    return {_RENAMED.get(name, name): value for name, value in settings.items()}


def _without_views(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an earlier version under today's names."""
    sessions = [{**session, "crop": session["view"]} for session in state["sessions"]]
    return {**state, "version": _VERSION, "crop": state["view"], "sessions": sessions}


def _session_state(session: Session) -> dict[str, Any]:
    return {
        "crop": session.crop,
        "truth": torch.from_numpy(session.truth),
        "fine_truth": torch.from_numpy(session.fine_truth),
        "start": session.start.value,
        "limit": session.limit,
        "clicks": [(click.x, click.y, click.positive) for click in session.clicks],
        "box": session.box,
        "previous": session.previous,
        "answers": session.answers,
    }


def _session(state: dict[str, Any]) -> Session:
    truth: Tensor = state["truth"]
    fine_truth: Tensor = state["fine_truth"]
    return Session(
        crop=state["crop"],
        truth=truth.numpy(),
        fine_truth=fine_truth.numpy(),
        start=Start(state["start"]),
        limit=state["limit"],
        clicks=tuple(CanvasClick(*click) for click in state["clicks"]),
        box=state["box"],
        previous=state["previous"],
        answers=state["answers"],
    )


def _random_states(trainer: Resumable) -> dict[str, Any]:
    """Return the trainer's own generator, and the global ones, from which libraries may draw."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "trainer": json.dumps(trainer.random.bit_generator.state),
        "numpy": json.dumps([kind, np.asarray(keys).tolist(), *rest]),
        "python": json.dumps(random.getstate()),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_random(trainer: Resumable, states: dict[str, Any]) -> None:
    trainer.random.bit_generator.state = json.loads(states["trainer"])
    np.random.set_state(tuple(json.loads(states["numpy"])))
    version, words, spare = json.loads(states["python"])
    random.setstate((version, tuple(words), spare))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
