"""Options that several commands share, written once as a dataclass, and the panels of ``--help``.

A command takes a group as one parameter. `grouped` gives the command line one option for each field of the group:

    @dataclass(frozen=True)
    class Connection:
        PANEL: ClassVar[str] = "Server"
        server: Annotated[str, typer.Option(help="HOST:PORT.")] = ""

    @app.command()
    @grouped({"Rules": ("seed",)})
    def command(*, connection: Connection, seed: Annotated[int, typer.Option(help="...")] = 0) -> None: ...

Options in no panel come first, under "Options": these are the ones that matter.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

#: Panel of the options that matter; a field of a group goes there with ``rich_help_panel=MAIN_PANEL``.
MAIN_PANEL = "Options"

R = TypeVar("R")


def grouped(panels: Mapping[str, Sequence[str]] | None = None) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Return a decorator that spreads a command's groups into options and sorts its options into panels.

    Args:
        panels: names of parameters by panel; those of groups have the panel of their group already.

    Raises:
        ValueError: two options have one name, or a panel names a parameter that the command has not.
    """
    panel_of = {name: panel for panel, names in (panels or {}).items() for name in names}

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        groups: dict[str, type[Any]] = {}
        parameters: list[inspect.Parameter] = []
        hints = get_type_hints(command, include_extras=True)
        for parameter in inspect.signature(command).parameters.values():
            hint = hints[parameter.name]
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                groups[parameter.name] = hint
                parameters += _options_of(hint)
            else:
                hint = _in_panel(hint, panel_of.get(parameter.name))
                parameters.append(parameter.replace(annotation=hint))
        names = [parameter.name for parameter in parameters]
        if unknown := set(panel_of) - set(names):
            raise ValueError(f"{command.__name__} has no options {sorted(unknown)}; name parameters of the command")
        if len(set(names)) < len(names):
            raise ValueError(f"{command.__name__} has two options of one name: {sorted(names)}")

        @functools.wraps(command)
        def spread(**given: Any) -> R:
            for name, group in groups.items():
                fields = [parameter.name for parameter in _options_of(group)]
                given[name] = group(**{field: given.pop(field) for field in fields})
            return command(**given)

        spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return spread

    return decorate


def is_given(context: typer.Context, parameter: str) -> bool:
    """Return whether the command line, or a variable, says a parameter of the command."""
    # By name: some versions of typer bring a click of their own.
    source = context.get_parameter_source(parameter)
    return source is not None and source.name != "DEFAULT"


def given_options(context: typer.Context, parameters: Sequence[str]) -> list[str]:
    """Return those of the parameters that are given, as the options that a user writes."""
    written = {each.name: each.opts[0] for each in context.command.params}
    return [written.get(each, each) for each in parameters if is_given(context, each)]


def _options_of(group: type[Any]) -> Iterator[inspect.Parameter]:
    """Yield a keyword for each field of a group that has a `typer.Option`."""
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        if _info(hint := hints[field.name]) is None:
            continue
        default = field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty
        hint = _in_panel(hint, getattr(group, "PANEL", None), keep=True)
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _in_panel(hint: Any, panel: str | None, *, keep: bool = False) -> Any:
    """Return the hint with a copy of its option that is in the panel; ``keep`` leaves a panel that the option names."""
    info = _info(hint)
    if info is None or panel is None or (keep and info.rich_help_panel):
        return hint
    moved = copy(info)
    moved.rich_help_panel = panel
    kind, *extras = get_args(hint)
    return Annotated[(kind, *(moved if extra is info else extra for extra in extras))]


def _info(hint: Any) -> OptionInfo | ArgumentInfo | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, OptionInfo | ArgumentInfo)), None)
