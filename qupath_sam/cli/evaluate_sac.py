"""``qupath-sam evaluate --automatic --sac``: rows of models of Segment Any Cell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qupath_sam.evaluation.semantic import SemanticEvaluation


@dataclass(frozen=True, slots=True)
class SacChoices:
    """What is asked of models of Segment Any Cell.

    Attributes:
        files: of the models.
        prompts: numbers of generated points, each a row of its own; None among them takes all. None in place of them
            takes the number of the training.
        selection: centroid or probability; None takes that of the training.
        expert_points: that a person adds to each square.
    """

    files: tuple[Path, ...] = ()
    prompts: tuple[int | None, ...] | None = None
    selection: str | None = None
    expert_points: int = 0


def parse_prompts(text: str) -> tuple[int | None, ...]:
    """Parse numbers of prompts such as ``1,4,all``; raise `InvalidRequest`."""
    from qupath_sam.errors import InvalidRequest

    words = list(dict.fromkeys(word.strip() for word in text.split(",")))
    try:
        counts = tuple(None if word == "all" else int(word) for word in words)
    except ValueError as error:
        raise InvalidRequest(f"--prompts {text} is no list of numbers; say it as 1,4,all") from error
    if any(count is not None and count < 1 for count in counts):
        raise InvalidRequest(f"--prompts {text}: at least one prompt is needed; say it as 1,4,all")
    return tuple(dict.fromkeys(counts))


def check_sac(choices: SacChoices) -> None:
    """Refuse what would be evaluated twice, or would change nothing.

    Raises:
        InvalidRequest: a file is named twice, or options of generated points go to models that all generate none.
    """
    from qupath_sam.errors import InvalidRequest
    from qupath_sam.models.sac.files import FORMAT
    from qupath_sam.models.weights.checkpoints import read_entry

    places = [file.resolve() for file in choices.files]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise InvalidRequest(f"--sac {choices.files[index]} is named twice; name each file once")
    asked = {"--prompts": choices.prompts, "--selection": choices.selection}
    if not (given := [option for option, value in asked.items() if value is not None]):
        return
    entries = [read_entry(file) for file in choices.files]
    if entries and all(entry.get("format") == FORMAT and not entry.get("generates") for entry in entries):
        files = ", ".join(map(str, choices.files))
        raise InvalidRequest(
            f"{', '.join(given)}: {files} was trained without prompts and generates none; leave it out, or name a "
            "model that generates prompts"
        )


def file_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file: the end of its path, folder and file name at least, that no other file shares.

    Args:
        files: no file twice.
    """
    paths = [Path(os.path.abspath(file)).parts for file in files]
    return [Path(*_own_end(path, [each for each in paths if each != path])).as_posix() for path in paths]


def _own_end(path: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    ends = (path[-length:] for length in range(2, len(path)))
    return next((end for end in ends if all(other[-len(end) :] != end for other in others)), path)


def evaluate_sac(choices: SacChoices, *, device: str) -> Iterator[tuple[str, str, SemanticEvaluation]]:
    """Yield what is to be run: the row's name, the SHA-256 of the model's file, and the evaluation.

    Args:
        choices: checked by `check_sac`.
        device: see ``evaluate``.

    Raises:
        ModelError: as `read_sac`.
    """
    from dataclasses import replace

    from qupath_sam.evaluation.semantic import SemanticChoices, SemanticEvaluation
    from qupath_sam.models.devices import choose_execution
    from qupath_sam.models.sac.files import read_sac
    from qupath_sam.models.sac.prompts import Selection
    from qupath_sam.models.sac.segmenter import SacSegmenter
    from qupath_sam.models.weights.store import ModelStore

    for file, name in zip(choices.files, file_names(choices.files), strict=True):
        model = SacSegmenter(read_sac(file, ModelStore()), choose_execution(device))
        selection = Selection(choices.selection) if choices.selection else model.prompts.selection
        trained = replace(model.prompts, selection=selection)
        if not model.generates_prompts:
            rows = {"no prompts": trained}
        elif choices.prompts is None:
            rows = {f"as trained ({_number(trained.most)})": trained}
        else:
            rows = {_number(count): replace(trained, most=count) for count in choices.prompts}
        for title, prompts in rows.items():
            evaluation = SemanticEvaluation(model, SemanticChoices(prompts, choices.expert_points))
            yield f"{name}, {title}", model.sha256, evaluation


def _number(count: int | None) -> str:
    return "all prompts" if count is None else f"{count} prompt{'s' if count > 1 else ''}"


def sac_options(choices: SacChoices) -> dict[str, Any]:
    """Return the options that ask for the choices, as `command_line` takes them."""
    counts = None if choices.prompts is None else ",".join("all" if n is None else str(n) for n in choices.prompts)
    return {
        "sac": [str(file) for file in choices.files],
        "prompts": counts,
        "selection": choices.selection,
        "expert-points": choices.expert_points or None,
    }
