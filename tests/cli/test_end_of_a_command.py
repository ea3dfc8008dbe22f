"""The end of a command, which is a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("loaded", "frozen"), [("json", True), ("triton", False)])
def test_a_command_ends_without_a_search_for_garbage_but_where_triton_would_list_it(loaded: str, frozen: bool) -> None:
    script = (
        "import gc, sys, types\n"
        "from qupath_sam.cli import _leave_garbage\n"
        f"sys.modules.setdefault({loaded!r}, types.ModuleType({loaded!r}))\n"
        "_leave_garbage()\n"
        "print(gc.get_freeze_count() > 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(frozen)
