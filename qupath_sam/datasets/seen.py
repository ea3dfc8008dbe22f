"""What a model was trained on must not be what it is evaluated on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from qupath_sam.datasets.base import IMAGE_SUFFIXES, SLIDE_SUFFIXES, Dataset
from qupath_sam.datasets.objects import Tile
from qupath_sam.errors import InvalidRequest, WrongWeights
from qupath_sam.models.spec import ModelSpec
from qupath_sam.models.weights.checkpoints import read_entry
from qupath_sam.models.weights.store import ModelStore

#: Entry of a checkpoint's metadata: ``{"<data set>": ["<group>", ...], ...}``.
GROUPS_SEEN = "groups_seen"


def groups_seen(spec: ModelSpec, store: ModelStore) -> frozenset[tuple[str, str]]:
    """Return ``(data set, group)`` of everything that a model's checkpoint says it was trained or tuned on.

    Checkpoints of others say nothing; a delta adds to what its base has seen, a second decoder to the first.

    Raises:
        WeightsMissing: the weights are not on this machine.
        WrongWeights: the metadata cannot be understood.
    """
    if spec.weights is None:
        return frozenset()
    seen = groups_seen_in(store.weights_path(spec), store)
    if spec.first_clicks_with:
        seen |= groups_seen(store.find(spec.first_clicks_with), store)
    return seen


def check_unseen(
    model: str, seen: Iterable[tuple[str, str]], datasets: Iterable[Dataset], *, namesakes: bool = False
) -> None:
    """Refuse a model that has seen a group which is to be evaluated.

    A group counts as seen under any data set's name: a copy of a folder under another name holds the same patients.
    Slides count by their own names too, with or without suffix: a model that was trained on the exported slides of a
    project has seen the project, whichever metadata names its patients.

    Args:
        model: its name, for the message.
        seen: ``(data set, group)`` of what it was trained on.
        datasets: what is to be evaluated.
        namesakes: groups of data sets under other names are known to be others: every laboratory has a "patient01".

    Raises:
        InvalidRequest: naming the groups.
    """
    trained_on = {(dataset, _without_suffix(group)) for dataset, group in seen}
    everywhere = {group for _, group in trained_on}
    for dataset in datasets:
        own = {group for name, group in trained_on if name == dataset.name}
        known = _groups_called(own if namesakes else everywhere, dataset)
        if known:
            some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
            way_out = "choose another split (--split) or another model"
            if not _groups_called(own, dataset):
                way_out += ", or say that these are others who only bear the same names (--namesakes)"
            raise InvalidRequest(
                f"model {model!r} was trained on {len(known)} group(s) of {dataset.name} that would be evaluated "
                f"({some}); its scores would mean nothing: {way_out}"
            )


def groups_seen_in(path: Path, store: ModelStore) -> frozenset[tuple[str, str]]:
    """Return the same of a checkpoint file, whether it is registered or not.

    Raises:
        WeightsMissing, UnknownModel: the model that it is a delta on is not on this machine.
        WrongWeights: the metadata cannot be understood.
    """
    entry = read_entry(path)
    try:
        seen = frozenset((name, group) for name, groups in entry.get(GROUPS_SEEN, {}).items() for group in groups)
    except (AttributeError, TypeError) as error:
        raise WrongWeights(f"{path} has metadata that cannot be read ({error}); add the model again") from error
    base = entry.get("base")
    # The base's own file: what a second decoder of it has seen is in no weights of a delta.
    return seen | groups_seen_in(store.weights_path(store.find(base)), store) if base else seen


def _groups_called(names: Collection[str], dataset: Dataset) -> list[str]:
    return sorted({tile.group for tile in dataset.tiles if not _names(tile).isdisjoint(names)})


def _names(tile: Tile) -> set[str]:
    """Return what a tile may be known by: its group, and its slide."""
    return {_without_suffix(name) for name in (tile.group, tile.cut_from) if name}


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in (*SLIDE_SUFFIXES, *IMAGE_SUFFIXES) else name
