"""What of a running server's settings can change without a restart, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from qupath_sam.server.settings import ServerSettings
from qupath_sam.slides.location import PathMap

if TYPE_CHECKING:
    from qupath_sam.server.app import RunningServer


def reconfigure(server: RunningServer, wanted: ServerSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take over what can change while a server runs: slides, token, budgets, patience.

    Returns:
        Names of the settings that have changed, and of those that only a restart changes.
    """
    current = server.settings
    different = [field.name for field in fields(current) if getattr(current, field.name) != getattr(wanted, field.name)]
    changes = {name: change for name in different if (change := _change(name, current, wanted)) is not None}
    server.settings = replace(current, **{name: getattr(wanted, name) for name in changes})
    for change in dict.fromkeys(changes.values()):
        change(server, server.settings)
    return tuple(changes), tuple(name for name in different if name not in changes)


Change = Callable[["RunningServer", ServerSettings], None]


def _change(name: str, current: ServerSettings, wanted: ServerSettings) -> Change | None:
    """Return what puts a setting into force; None where a restart is needed."""
    if name == "token" and not (current.token and wanted.token):
        return None  # whether tokens are asked for at all is settled at the start
    if name == "slide_roots" and wanted.slide_roots is None and not current.is_loopback:
        return None
    return _CHANGES.get(name)


def _slides(server: RunningServer, settings: ServerSettings) -> None:
    if server.images.slides is not None:
        server.images.slides.reconfigure(PathMap(settings.path_map), settings.permissions, settings.slide_bytes)


def _token(server: RunningServer, settings: ServerSettings) -> None:
    server.listener.core.tokens.replace_single(settings.token)


def _budgets(server: RunningServer, settings: ServerSettings) -> None:
    server.engine.resize_embeddings(settings.embedding_bytes)
    server.engine.states.resize(settings.state_bytes)
    server.engine.memories.resize(settings.tracking_bytes)
    server.listener.core.messages.resize(settings.message_bytes)
    server.images.pushed.resize(settings.pushed_bytes)
    server.images.memory.resize(settings.decode_bytes)


def _nothing(server: RunningServer, settings: ServerSettings) -> None:
    """Do nothing: the setting is looked up when it is needed."""


_CHANGES: dict[str, Change] = {
    "path_map": _slides,
    "slide_roots": _slides,
    "allow_urls": _slides,
    "slide_bytes": _slides,
    "token": _token,
    "embedding_bytes": _budgets,
    "state_bytes": _budgets,
    "tracking_bytes": _budgets,
    "pushed_bytes": _budgets,
    "message_bytes": _budgets,
    "decode_bytes": _budgets,
    "grace_s": _nothing,
}
