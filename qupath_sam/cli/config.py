"""Options of a command from a TOML file, and back: for services, which start without a typed command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

#: Options that are about the file itself.
_NOT_IN_FILES = ("config", "print_config")


def read_config(context: typer.Context, file: Path | None) -> Path | None:
    """Take over what a file says as defaults: options of the command line and variables of the environment go before.

    Raises:
        InvalidRequest: the file cannot be read, is no TOML, or names an option that there is none of.
    """
    if file is not None:
        context.default_map = {**(context.default_map or {}), **_values(context.command, file)}
    return file


def options_now(context: typer.Context) -> dict[str, Any]:
    """Return the options that would be in force if the command began now: its file is read again.

    What the command line and the environment say stays.

    Raises: as `read_config`.
    """
    from qupath_sam.errors import InvalidRequest

    options = dict(context.params)
    file = options.get("config")
    if file is None:
        return options
    context.default_map = _values(context.command, Path(file))
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name not in _NOT_IN_FILES and source is not None and source.name.startswith("DEFAULT"):
            default = parameter.get_default(context)
            try:
                options[str(parameter.name)] = parameter.process_value(context, default)
            except typer.BadParameter as error:
                raise InvalidRequest(f"{file}: {parameter.name} cannot be {default!r}; {error.message}") from error
    return options


def options_from(command: TyperCommand, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a command's options where no command line is: those given, those of the file ``config``, and defaults.

    Args:
        command: whose options they are.
        name: of the command.
        values: by option; each goes before the file.

    Raises: as `read_config`.
    """
    from qupath_sam.errors import InvalidRequest

    given = {option.replace("-", "_"): value for option, value in values.items()}
    file = given.pop("config", None)
    known = _known(command)
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidRequest(f"there are no options {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    from_file = {} if file is None else _values(command, Path(file))
    try:
        return dict(command.make_context(name, [], default_map=from_file | given).params)
    except typer.BadParameter as error:
        raise InvalidRequest(f"an option of {name} cannot be used: {error.format_message()}") from error


def _known(command: Any) -> set[str]:
    return {str(option.name) for option in command.params} - set(_NOT_IN_FILES)


def _values(command: Any, file: Path) -> dict[str, Any]:
    from qupath_sam.errors import InvalidRequest

    try:
        with file.open("rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise InvalidRequest(f"cannot read {file} ({error.strerror}); give --config a TOML file") from error
    except ValueError as error:
        raise InvalidRequest(
            f"{file} is no TOML ({error}); see what --print-config prints, and write a path with \\ in single quotes"
        ) from error
    known = _known(command)
    values = {name.replace("-", "_"): value for name, value in content.items()}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidRequest(
            f"{file} names {', '.join(unknown)}, which are no options; known: {', '.join(sorted(known))}"
        )
    return values


def config_text(options: Mapping[str, Any]) -> str:
    """Return the options in force as TOML, which `read_config` reads; those that are not set are left out."""
    lines = []
    for name, value in sorted(options.items()):
        if name not in _NOT_IN_FILES and value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    # A basic string of TOML is written as JSON writes one.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
