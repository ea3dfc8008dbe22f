"""Write the mean of several checkpoints' weights as one checkpoint.

The method is "Model soups" (Wortsman et al. 2022, arXiv 2203.05482, sec. 2). Runs that went on from the same weights
lie in one basin of the loss, and the mean of where they ended is often better than each, at the cost of one. For runs
that began apart the mean is worth nothing. The mean counts as trained on all that any of them has seen.

Usage: python -m tools.average MODEL|FILE... --out mean.safetensors; then `qupath-sam models add NAME mean.safetensors`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qupath_sam.datasets.seen import GROUPS_SEEN, groups_seen_in
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.models.load import complete, load_weights
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.checkpoints import check_fits, read_checkpoint, read_entry
from qupath_sam.models.weights.manage import family_of
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.networks.network import Parts
from qupath_sam.training.checkpoint import Base, load_base, merged_groups, write_checkpoint

SUFFIX = ".safetensors"
#: What the metadata of the mean repeats of each source's.
_REPEATED = ("config", "data_digest", "metrics", "code_version", "initial_model")


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """One of the checkpoints.

    Attributes:
        name: as it was asked for.
        tensors: all of the network, fp32.
        entry: all its metadata; empty for files of others.
        mask_count: masks that a first prompt may return.
    """

    name: str
    family: Family
    tensors: Mapping[str, Tensor]
    sha256: str
    entry: Mapping[str, Any]
    seen: frozenset[tuple[str, str]]
    mask_count: int | None


def average_checkpoints(sources: Sequence[str], out: Path, store: ModelStore) -> None:
    """Write the mean of some models' weights, in which each counts alike; one that is named twice counts twice.

    Its metadata list the groups that any of them has seen, and under ``config`` as ``mean_of`` the digest and the own
    metadata of each. Where all are deltas on one base, so is the mean; but for its weights it is what `save_checkpoint`
    writes.

    Args:
        sources: names of models, or paths of checkpoint files.
        out: ``.safetensors``; what was there stays until the new file is whole.
        store: of the models.

    Raises:
        InvalidRequest: fewer than two, or such as do not have the same family, parts and shapes; another suffix.
        WeightsMissing, WrongWeights: one of them, or what it is a delta on, cannot be had.
    """
    if len(sources) < 2:
        raise InvalidRequest("a mean needs at least two checkpoints; name models or files")
    if out.suffix != SUFFIX:
        raise InvalidRequest(f"the mean is written as {SUFFIX}; call it {out.with_suffix(SUFFIX).name}")
    read = [_read(source, store) for source in sources]
    for other in read[1:]:
        _check_alike(read[0], other)
    entry = {
        "family": read[0].family.value,
        **_mask_count(read),
        GROUPS_SEEN: merged_groups({}, frozenset().union(*(source.seen for source in read))),
        "config": {"mean_of": [_said(source) for source in read]},
        "data_digest": "",
        "metrics": {},
    }
    write_checkpoint(out, mean([source.tensors for source in read]), entry, base=_common_base(read, store))


def mean(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Of tensors of the same names and shapes; of whole numbers, such as counters, the first is taken.

    What is the same in all comes out the same to the bit, so that frozen parts stay what they were.
    """

    def of(key: str, first: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first
        total = torch.zeros_like(first, dtype=torch.float64)
        for each in tensors:
            total += each[key]
        return (total / len(tensors)).to(first.dtype)

    return {key: of(key, first) for key, first in tensors[0].items()}


def _read(source: str, store: ModelStore) -> _Source:
    spec = store.models().get(source)
    if spec is None:
        return _read_file(Path(source), store)
    if spec.weights is None:
        raise InvalidRequest(f"{source} has no weights to average; name another model")
    path = store.weights_path(spec)
    weights = load_weights(spec, store)
    seen = groups_seen_in(path, store)
    masks = spec.capabilities.mask_count
    return _Source(source, spec.family, weights.tensors, weights.sha256, read_entry(path), seen, masks)


def _read_file(path: Path, store: ModelStore) -> _Source:
    if not path.is_file():
        raise InvalidRequest(f"{path} is neither a model nor a file; see `qupath-sam models list`")
    checkpoint = read_checkpoint(path)
    tensors = complete(checkpoint, path, store)
    family = family_of(checkpoint, path, store)
    check_fits(tensors, family, where=str(path))
    masks = None if checkpoint.metadata is None else checkpoint.metadata.mask_count
    sha256 = store.digests.sha256(path)
    return _Source(str(path), family, tensors, sha256, read_entry(path), groups_seen_in(path, store), masks)


def _check_alike(one: _Source, other: _Source) -> None:
    """Raise `InvalidRequest` unless the two can be averaged."""
    if one.family is not other.family:
        found = f"{one.name} is of family {one.family.value}, {other.name} of {other.family.value}"
    elif Parts.of(one.tensors) != Parts.of(other.tensors):
        found = f"{one.name} has {_parts(one)}, {other.name} has {_parts(other)}"
    elif _shapes(one) != _shapes(other):
        found = f"{one.name} and {other.name} differ in the shapes of their tensors"
    else:
        return
    raise InvalidRequest(f"{found}; only models of one kind that began with the same weights can be averaged")


def _parts(source: _Source) -> str:
    parts = Parts.of(source.tensors)
    return f"the decoder {parts.decoder.value}{' and a refinement head' if parts.refinement_head else ''}"


def _shapes(source: _Source) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in source.tensors.items()}


def _mask_count(sources: Sequence[_Source]) -> dict[str, int]:
    """Return what all can answer, where any of them says so."""
    known = [source.mask_count for source in sources if source.mask_count is not None]
    return {"mask_count": min(known)} if known else {}


def _said(source: _Source) -> dict[str, Any]:
    """Of a source, for the metadata of the mean; of a file no path, which would mean nothing on another machine."""
    repeated = {key: source.entry[key] for key in _REPEATED if source.entry.get(key)}
    return {"name": Path(source.name).name, "sha256": source.sha256, **repeated}


def _common_base(sources: Sequence[_Source], store: ModelStore) -> Base | None:
    """Return the built-in model that all sources are deltas on; None where one is not, or on another."""
    names = {source.entry.get("base", "") for source in sources}
    if len(names) > 1 or "" in names:
        return None
    return load_base(names.pop(), store)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.average", description="Write the mean of models' weights.")
    parser.add_argument("sources", nargs="+", metavar="MODEL|FILE", help="names of models, or checkpoint files")
    parser.add_argument("--out", type=Path, required=True, help=f"checkpoint to write, {SUFFIX}")
    chosen = parser.parse_args(arguments)
    try:
        average_checkpoints(chosen.sources, chosen.out, ModelStore())
    except QupathSamError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{chosen.out}\n")


if __name__ == "__main__":
    main()
