"""Write a checkpoint as a delta on a built-in model: what differs from it, without what is the same.

A network tuned with its encoder frozen differs in prompt encoder, mask decoder and head alone, half of the tensors.

Usage: python -m tools.delta CHECKPOINT --base MODEL --out delta.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qupath_sam.datasets.seen import GROUPS_SEEN, groups_seen_in
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.models.load import complete
from qupath_sam.models.weights.checkpoints import read_checkpoint, read_entry
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.training.checkpoint import load_base, merged_groups, write_checkpoint

#: Entries that a checkpoint's form decides; the new file gets its own.
_OF_THE_FORM = ("format", "base", "base_sha256", "code_version")


def write_delta(checkpoint: Path, base: str, out: Path, store: ModelStore) -> None:
    """Write a checkpoint of ours as a delta.

    Args:
        checkpoint: all tensors of a network.
        base: name of the built-in model.
        out: ``.safetensors``.
        store: of the models.

    Raises:
        InvalidRequest: no built-in model has the name, or the checkpoint has another image encoder.
        WeightsMissing, WrongWeights: the checkpoint or the base cannot be read.
    """
    below = load_base(base, store)
    if below is None:
        raise InvalidRequest(f"{base} is not built in, so its name means nothing elsewhere; name a built-in model")
    tensors = complete(read_checkpoint(checkpoint), checkpoint, store)
    same = all(
        key in below.tensors and tensor.equal(below.tensors[key])
        for key, tensor in tensors.items()
        if key.startswith("image_encoder.")
    )
    if not same:
        raise InvalidRequest(f"{checkpoint} has another image encoder than {base}; train it with the encoder frozen")
    entry = {key: value for key, value in read_entry(checkpoint).items() if key not in _OF_THE_FORM}
    seen = merged_groups({}, groups_seen_in(checkpoint, store))
    write_checkpoint(out, tensors, {**entry, GROUPS_SEEN: seen}, base=below)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.delta", description="Write a checkpoint as a delta.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--base", required=True, help="name of a built-in model")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        write_delta(chosen.checkpoint, chosen.base, chosen.out, ModelStore())
    except QupathSamError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{chosen.out}\n")


if __name__ == "__main__":
    main()
