"""Groups of options become options, and the help has them in panels."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.cli.option_groups import MAIN_PANEL, grouped
from qupath_sam.cli.project import _asked


@dataclass(frozen=True)
class Place:
    PANEL: ClassVar[str] = "Place"

    unlisted: int = 7
    server: Annotated[str, typer.Option(help="Where.", rich_help_panel=MAIN_PANEL)] = "here"
    tag: Annotated[list[str] | None, typer.Option(help="What.")] = None
    fast: Annotated[bool, typer.Option("--fast")] = False


def command_line(seen: list[object]) -> typer.Typer:
    built = typer.Typer(add_completion=False)

    @built.command()
    @grouped({"Rules": ("seed",)})
    def command(
        name: Annotated[str, typer.Argument()], *, place: Place, seed: Annotated[int, typer.Option()] = 0
    ) -> None:
        """Do it."""
        seen.extend((name, place, seed))

    return built


def test_a_group_arrives_as_one_value() -> None:
    seen: list[object] = []
    words = ["x", "--server", "there", "--tag", "a", "--tag", "b", "--fast", "--seed", "3"]
    result = CliRunner().invoke(command_line(seen), words)
    assert result.exit_code == 0, result.output
    assert seen == ["x", Place(7, "there", ["a", "b"], True), 3]


def test_what_is_left_out_has_the_groups_defaults() -> None:
    seen: list[object] = []
    assert CliRunner().invoke(command_line(seen), ["x"]).exit_code == 0
    assert seen == ["x", Place(), 0]


def test_options_have_the_panel_of_their_group_or_their_own() -> None:
    panels = {p.name: p.rich_help_panel for p in get_command(command_line([])).params if p.name != "help"}
    assert panels | {"name": None} == {
        "name": None,
        "server": MAIN_PANEL,
        "tag": "Place",
        "fast": "Place",
        "seed": "Rules",
    }


def test_panels_of_options_that_are_not_there_and_names_given_twice_are_refused() -> None:
    def command(*, place: Place, fast: Annotated[bool, typer.Option()] = False) -> None: ...

    with pytest.raises(ValueError, match=r"no options \['slow'\]"):
        grouped({"Speed": ("slow",)})(command)
    with pytest.raises(ValueError, match="two options of one name"):
        grouped()(command)


@pytest.mark.parametrize("name", ["train", "evaluate", "project refine", "project segment"])
def test_commands_with_many_options_show_few_first(name: str) -> None:
    command = get_command(app)
    for part in name.split():
        command = command.commands[part]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    first = [o for o in options if o.name != "help" and (o.rich_help_panel or MAIN_PANEL) == MAIN_PANEL]
    assert len(options) > 20
    assert 3 <= len(first) <= 7, [option.name for option in first]


def test_a_run_notes_the_options_of_its_groups() -> None:
    """But not where it works: a run may be resumed elsewhere."""
    assert _asked({"place": Place(), "path_class": ["Tumor"], "dry_run": True}) == {
        "unlisted": 7,
        "tag": None,
        "fast": False,
        "path_class": ["Tumor"],
    }


def commands_of(group: typer.Typer) -> Iterator[Callable[..., object]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands_of(inner.typer_instance)


def test_no_command_leaves_a_group_as_one_parameter() -> None:
    """`project merge` did: its options were an argument that nobody can give."""
    callbacks = list(commands_of(app))
    assert len(callbacks) > 20
    for callback in callbacks:
        for parameter in inspect.signature(callback, eval_str=True).parameters.values():
            assert not dataclasses.is_dataclass(parameter.annotation), f"{callback.__name__}: {parameter.name}"
