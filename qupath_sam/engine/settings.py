"""Everything that can be set about an engine: a value, which loads no library of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qupath_sam.errors import InvalidRequest

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How an engine runs.

    Attributes:
        model: default model.
        device: "auto", "cpu", "cuda", "cuda:1", "mps"; or several, "cuda:0,cuda:1": one lane each.
        precision: "auto", "fp32", "bf16".
        runtime: "auto", "torch", "openvino": the latter starts more slowly, which a server alone earns back.
        models_home: where added and pulled weights lie; None takes the user's data folder.
        max_objects: most objects of one call.
        max_points: most points in the clicks of one object.
        embedding_bytes: memory for embeddings.
        embedding_folder: where embeddings are kept on disk as well; None keeps none.
        embedding_folder_bytes: most bytes there.
        state_bytes: memory for what next clicks continue from.
        tracking_bytes: memory for what models remember of objects that are carried through stacks.
        max_models: most models in the memory of a device.
        model_bytes: most bytes that their weights take together there, in place of ``max_models``; 0 for none.
        max_queue: most jobs waiting for the inference thread.
    """

    model: str = ""
    device: str = "auto"
    precision: str = "auto"
    runtime: str = "torch"
    models_home: Path | None = None
    max_objects: int = 1024
    max_points: int = 1024
    embedding_bytes: int = 1024 * MIB
    embedding_folder: Path | None = None
    embedding_folder_bytes: int = 20 * 1024 * MIB
    state_bytes: int = 256 * MIB
    tracking_bytes: int = 512 * MIB
    max_models: int = 2
    model_bytes: int = 0
    max_queue: int = 512

    def __post_init__(self) -> None:
        self.check_limits("max_objects", "max_points", "max_models", "max_queue")
        self.check_limits("embedding_bytes", "embedding_folder_bytes", "state_bytes", least=0)
        self.check_limits("tracking_bytes", "model_bytes", least=0)
        if not all(self.devices):
            raise InvalidRequest(f"device {self.device!r} names none; write cpu, or cuda:0,cuda:1 for several")

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices, one a lane."""
        return tuple(name.strip() for name in self.device.split(","))

    @property
    def may_use_openvino(self) -> bool:
        """Whether OpenVINO may run models; whether it does, the device and the model say."""
        return self.runtime != "torch" and any(name in ("auto", "cpu") for name in self.devices)

    def check_limits(self, *names: str, least: int = 1) -> None:
        """Raise `InvalidRequest` where one of these attributes is below ``least``, or no number."""
        for name in names:
            # Not the other way round: NaN is below nothing.
            if not getattr(self, name) >= least:
                must = "must not be negative" if least == 0 else f"must be at least {least}"
                raise InvalidRequest(f"{name} {must}, got {getattr(self, name)}")
