"""docs/project.md says what the code does: options, defaults, reasons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from qupath_sam.cli.app import app
from qupath_sam.engine.refine_prompts import PromptOptions
from qupath_sam.project.boundary import BoundaryOptions
from qupath_sam.project.decisions import Action
from qupath_sam.project.guards import Guards, Refusal
from qupath_sam.project.refine import RefineOptions
from qupath_sam.project.report import MOST_THUMBNAILS
from qupath_sam.project.run import KEEP_RUNS
from qupath_sam.project.store.commit import STATE_FOLDER

TEXT = (Path(__file__).parents[2] / "docs" / "project.md").read_text("utf-8")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_option_is_one_of_the_project_commands() -> None:
    commands = get_command(app).commands
    known = {
        option
        for group in ("project", "bench")
        for command in commands[group].commands.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert len(used) > 30
    assert used - known == set()


@pytest.mark.parametrize("command", ["refine", "segment"])
def test_every_option_of_the_commands_that_ask_a_model_is_told(command: str) -> None:
    """But for those that the help says all about, or that are told for `segment` elsewhere."""
    options = {o for p in get_command(app).commands["project"].commands[command].params for o in p.opts if "--" in o}
    plain = {
        "--model",
        "--tls",
        "--heap",
        "--time-limit",
        "--report",
        "--thumbnails",
        "--provenance",
        "--box",
        "--mask",
    }
    assert {option for option in options - plain if option not in TEXT} == set()


def test_the_reasons_are_the_codes_own() -> None:
    listed = re.findall(r"^\| `(?!--)([^`]+)` \|", section("Refine"), re.MULTILINE)
    assert sorted(listed) == sorted(reason.value for reason in Refusal)


def test_the_actions_are_the_codes_own() -> None:
    assert f"({', '.join(f'`{action.value}`' for action in Action)})" in " ".join(TEXT.split())


def test_the_numbers_are_the_codes_own() -> None:
    text = " ".join(TEXT.split())
    options, guards, prompts = RefineOptions(), Guards(), PromptOptions()
    assert f"`--coarsest-mpp` ({options.coarsest_mpp:g} µm per px" in text
    assert f"by less than IoU {BoundaryOptions(1, 1).min_window_iou:g} has no say" in text
    assert f"below `--clean` ({options.clean_share:g})" in text
    assert f"below `--min-score` ({guards.min_score:g}," in text
    assert f"more than `--max-area-change` ({guards.max_area_change:g}) times" in text
    assert f"below `--min-iou` ({guards.min_iou:g})" in text
    assert f"below `--min-part-iou` ({guards.min_part_iou:g})" in text
    assert f"box ({100 * prompts.box_margin:g} % wider)" in text
    assert (prompts.interior, "one point in its middle" in text) == (1, True)
    assert f"up to {MOST_THUMBNAILS} objects" in text
    assert f"the last {KEEP_RUNS} runs are kept" in text
    assert f"`{STATE_FOLDER}/backups`" in text
