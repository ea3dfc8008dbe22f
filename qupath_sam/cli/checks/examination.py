"""All looks at the machine, one after another; one that fails does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from qupath_sam.cli.checks import inference, java, machine, server, slides
from qupath_sam.cli.checks.findings import Finding, State

if TYPE_CHECKING:
    from qupath_sam.client import Access

Look = Callable[[], Iterable[Finding]]


def examine(
    *, server_address: str | None = None, access: Access | None = None, slide: str | None = None
) -> Iterator[Finding]:
    """Look at everything.

    Args:
        server_address: ``host:port`` that must answer; None looks at the usual one, where none is no problem.
        access: encryption and token of that server.
        slide: path or URI that must be readable; None takes the packaged one.
    """
    looks: tuple[tuple[str, Look], ...] = (
        ("python", machine.python),
        ("disk", machine.disk),
        ("torch", inference.torch),
        ("threads", inference.threads),
        ("model", inference.default_model),
        ("models", inference.other_models),
        ("slide readers", slides.readers),
        ("slide", lambda: slides.slide(slide)),
        ("java", java.system_java),
        ("qupath", java.qupath),
        ("server", lambda: server.server(server_address, access)),
    )
    for topic, look in looks:
        yield from _guarded(topic, look)


def _guarded(topic: str, look: Look) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:  # a broken installation breaks in ways that nobody has foreseen
        said = f"could not be looked at: {type(error).__name__}: {error}"
        yield Finding(topic, State.PROBLEM, said, "install qupath-sam again; if that does not help, report this line")
