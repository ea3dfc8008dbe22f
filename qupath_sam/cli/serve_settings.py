"""The server's settings from the options of ``qupath-sam serve``: command line, file and environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qupath_sam.engine.settings import MIB
from qupath_sam.errors import InvalidRequest
from qupath_sam.protocol.bearer import read_token
from qupath_sam.server.settings import ServerSettings
from qupath_sam.slides.location import PathMap

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


def check_log(level: str, form: str) -> None:
    """Raise `InvalidRequest` where the log cannot be as these options say."""
    if level.lower() not in LOG_LEVELS:
        raise InvalidRequest(f"unknown log level {level!r}; choose one of {', '.join(LOG_LEVELS)}")
    if form not in LOG_FORMATS:
        raise InvalidRequest(f"unknown log format {form!r}; choose one of {', '.join(LOG_FORMATS)}")


def server_settings(options: Mapping[str, Any]) -> ServerSettings:
    """Return the settings that options describe.

    Args:
        options: by the names of the parameters of `qupath_sam.cli.serve.serve`; paths may be strings.

    Raises:
        InvalidRequest: the options do not fit together, or a file that they name cannot be read.
    """
    check_log(options["log_level"], options["log_format"])
    settings = ServerSettings(
        host=options["host"],
        port=options["port"],
        tls_certificate=_path(options["tls_certificate"]),
        tls_key=_path(options["tls_key"]),
        tls_client_ca=_path(options["tls_client_ca"]),
        tokens=_path(options["tokens"]),
        token=read_token(Path(options["token_file"])) if options["token_file"] else "",
        token_without_tls=options["token_without_tls"],
        model=options["model"],
        device=options["device"],
        precision=options["precision"],
        runtime=options["runtime"],
        threads=options["threads"],
        path_map=PathMap.parse(options["path_map"] or []).pairs,
        read_slides=options["read_slides"],
        slide_roots=tuple(map(Path, options["slides"])) if options["slides"] else None,
        allow_urls=tuple(options["allow_url"] or ()),
        reflection=options["reflection"],
        model_bytes=int(_checked(options, "model_memory", "GiB") * 1024 * MIB),
        embedding_bytes=options["embedding_mib"] * MIB,
        embedding_folder=_path(options["embedding_folder"]),
        embedding_folder_bytes=options["embedding_folder_gib"] * 1024 * MIB,
        max_calls=options["max_calls"],
        max_message_bytes=options["max_message_mib"] * MIB,
        metrics_host=options["metrics_host"],
        metrics_port=options["metrics_port"],
        grace_s=_checked(options, "grace", "seconds"),
    )
    memory = _checked(options, "memory", "GiB")
    return settings.within(int(memory * 1024 * MIB)) if memory else settings


def _checked(options: Mapping[str, Any], name: str, unit: str) -> float:
    """Return an option that is a finite number, 0 or more; raises `InvalidRequest` otherwise."""
    value = float(options[name])
    if not (math.isfinite(value) and value >= 0):
        option = name.replace("_", "-")
        raise InvalidRequest(f"--{option} must be a finite number of {unit}, 0 or more; got {value:g}")
    return value


def _path(value: str | Path | None) -> Path | None:
    return Path(value) if value else None
