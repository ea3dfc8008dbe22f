"""What a user does with weights: pull, add, remove, verify. Nothing happens without being asked for."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx

from qupath_sam.errors import InvalidRequest, WeightsMissing, WrongWeights
from qupath_sam.machine.files import atomic_write
from qupath_sam.models.adapters.transformers_sam import CONFIG, family_beside
from qupath_sam.models.load import check_content, check_digest
from qupath_sam.models.registry import AUTO, BUILT_IN
from qupath_sam.models.spec import (
    TRANSFORMERS_FAMILIES,
    Family,
    HubWeights,
    ModelSpec,
    WeightsFile,
    default_capabilities,
    default_mpp,
)
from qupath_sam.models.weights.checkpoints import Checkpoint, Layout, guess_family, read_checkpoint
from qupath_sam.models.weights.download import Progress, Source, download
from qupath_sam.models.weights.hub import pull_folder
from qupath_sam.models.weights.other_families import other_family
from qupath_sam.models.weights.store import ModelStore, Record, UserModel


@dataclass(frozen=True, slots=True)
class Verified:
    """Weights that are what they should be."""

    path: Path
    sha256: str
    layout: Layout


def pull(
    spec: ModelSpec, store: ModelStore, *, progress: Progress | None = None, client: httpx.Client | None = None
) -> Path:
    """Download a model's weights, unless they are there already.

    Raises:
        InvalidRequest: its weights are not to be downloaded.
        WeightsMissing: they cannot be had now; what has arrived is kept, and the next call goes on from there.
        WrongWeights: the file has another size, digest or layout.
    """
    weights = spec.weights
    if not isinstance(weights, WeightsFile):
        raise InvalidRequest(f"{spec.name} needs no download; see `qupath-sam models info {spec.name}`")
    if store.is_present(spec):
        return verify(spec, store).path
    if not weights.url:
        raise InvalidRequest(
            f"{spec.name} has no address that a program can pull from; download it with a browser from {spec.source} "
            f"(such as {weights.file_name}), then `qupath-sam models add {spec.name} FILE`"
        )
    if isinstance(weights, HubWeights):
        return _pull_from_hub(spec, weights, store, progress)
    target = store.folder(spec.name) / weights.file_name
    digest = download(
        Source(weights.url, weights.size_bytes, weights.sha256),
        target,
        accept=lambda path: check_content(read_checkpoint(path), path, spec.family, store, where=weights.url),
        progress=progress,
        client=client,
    )
    store.keep(spec.name, Record(target.name, target.stat().st_size, digest))
    return target


def _pull_from_hub(spec: ModelSpec, weights: HubWeights, store: ModelStore, progress: Progress | None) -> Path:
    pulled = pull_folder(
        weights.repository,
        store.folder(spec.name),
        revision=weights.revision,
        sha256=weights.sha256,
        accept=lambda path: check_content(read_checkpoint(path), path, spec.family, store, where=weights.repository),
        progress=progress,
    )
    size = pulled.weights.stat().st_size
    store.keep(spec.name, Record(pulled.weights.name, size, pulled.sha256, revision=pulled.revision))
    return pulled.weights


@dataclass(frozen=True, slots=True)
class Description:
    """A user's description of a file; values that are left out follow from the file and its family.

    Attributes:
        family: None to tell it from the tensors.
        mask_count: masks a first prompt may return, 1 or 3.
        default_mpp: um/px.
    """

    family: Family | None = None
    title: str = ""
    licence: str = "LicenseRef-unknown"
    mask_count: int | None = None
    default_mpp: float | None = None


def add(name: str, file: Path, store: ModelStore, *, described: Description | None = None, copy: bool = True) -> Path:
    """Register a file: as a new model, or as the weights of a built-in one that were fetched by other means.

    Args:
        described: for a new model; a built-in one is known.
        copy: into the store; else the file stays where it is and must not be moved.

    Returns:
        Where the weights lie.

    Raises:
        InvalidRequest: a name that cannot be used, or a family that the file does not show.
        WeightsMissing: no such file.
        WrongWeights: it does not fit its family, or is not the built-in model's file.
    """
    file = file.expanduser().resolve()
    checkpoint = read_checkpoint(file)
    spec = BUILT_IN.get(name)
    digest = store.digests.sha256(file)
    if spec is None:
        user = _user_model(name, checkpoint, described or Description(), file, store)
        check_content(checkpoint, file, Family(user.family), store, where=str(file))
    else:
        if not isinstance(spec.weights, WeightsFile):
            raise InvalidRequest(f"{name} has its own weights; choose another name for {file.name}")
        user = None
        check_digest(spec, file, digest)
        check_content(checkpoint, file, spec.family, store, where=str(file))
    kept = _copied(file, store.folder(name)) if copy else file
    family = spec.family if spec is not None else Family(user.family) if user is not None else None
    if copy and family in TRANSFORMERS_FAMILIES:
        _copied(file.with_name(CONFIG), store.folder(name))
    stored_as = kept.name if copy else str(kept)
    store.keep(name, Record(stored_as, kept.stat().st_size, digest, user))
    return kept


def family_of(checkpoint: Checkpoint, file: Path, store: ModelStore) -> Family:
    """Return the architecture of a file: what it says of itself, or its base's, or what its tensors look like.

    Raises:
        InvalidRequest: nothing tells.
        WrongWeights: a network that is not run here.
        UnknownModel: the base is not known here.
    """
    if checkpoint.metadata is not None and checkpoint.metadata.family is not None:
        return checkpoint.metadata.family
    if checkpoint.metadata is not None and checkpoint.metadata.base:
        return store.find(checkpoint.metadata.base).family
    if beside := family_beside(file):
        return beside
    if checkpoint.networks:
        return Family(checkpoint.networks[0].house.value)
    guessed = guess_family(checkpoint.tensors)
    if guessed is None:
        if other := other_family(checkpoint.tensors):
            raise WrongWeights(f"{file} cannot be used: {other}")
        known = ", ".join(family.value for family in Family if family is not Family.FAKE)
        raise InvalidRequest(f"cannot tell what kind of model {file} is; name its family: {known}")
    return guessed


def removable(name: str, store: ModelStore) -> list[Path]:
    """Return the files that `remove` would delete; a file that was registered where it lies is not among them.

    Raises:
        UnknownModel: no model of that name.
        InvalidRequest: its weights came with a package.
        WeightsMissing: nothing of it is here.
    """
    spec = store.find(name)
    if spec.weights is None or (name in BUILT_IN and not isinstance(spec.weights, WeightsFile)):
        raise InvalidRequest(f"{name} comes with an installed package and is not removed here; use pip")
    folder = store.folder(name)
    if not folder.is_dir():
        raise WeightsMissing(f"nothing of {name} is on this machine; there is nothing to remove")
    return sorted(path for path in folder.iterdir() if path.is_file())


def remove(name: str, store: ModelStore) -> list[Path]:
    """Delete what was pulled or copied in, and forget the model if the user added it; see `removable`."""
    files = removable(name, store)
    for path in files:
        path.unlink(missing_ok=True)
    store.forget(name)
    return files


def verify(spec: ModelSpec, store: ModelStore) -> Verified:
    """Read the whole file: digest, layout and shapes.

    Raises:
        InvalidRequest: the model needs no weights.
        WeightsMissing: they are not on this machine.
        WrongWeights: they are not what they should be.
    """
    if spec.weights is None:
        raise InvalidRequest(f"{spec.name} has no weights to verify")
    path = store.weights_path(spec)
    digest = store.digests.recomputed(path)
    check_digest(spec, path, digest)
    checkpoint = read_checkpoint(path)
    check_content(checkpoint, path, spec.family, store, where=str(path))
    return Verified(path, digest, checkpoint.layout)


def _user_model(name: str, checkpoint: Checkpoint, described: Description, file: Path, store: ModelStore) -> UserModel:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise InvalidRequest(f"model name {name!r} must be lower case letters, digits and _, beginning with a letter")
    if name == AUTO:
        raise InvalidRequest(f"{AUTO!r} names a choice among models; choose another name for {file.name}")
    family = described.family or family_of(checkpoint, file, store)
    known = checkpoint.metadata.mask_count if checkpoint.metadata is not None else None
    return UserModel(
        family=family.value,
        title=described.title or file.name,
        licence=described.licence,
        mask_count=described.mask_count or known or default_capabilities(family).mask_count,
        default_mpp=described.default_mpp or default_mpp(family),
    )


def _copied(file: Path, folder: Path) -> Path:
    """Copy into the model's folder, where the file appears in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    if target == file:
        return target
    with file.open("rb") as original, atomic_write(target) as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
    return target
