"""'Run for project', clicked in the script editor of QuPath's own window."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import SCRIPTS, QuPath
from .window import open_window

pytestmark = [pytest.mark.qupath, pytest.mark.slow, pytest.mark.timeout(900)]


def button(text: str) -> str:
    """The button with this text, as condition for `Window.click_on`."""
    return f"it instanceof Button && it.getText() == '{text}'"


def test_each_image_gets_its_own_result(qupath: QuPath, copy: Path, server: str, tmp_path: Path) -> None:
    script = tmp_path / "segment_classes.groovy"
    text = (SCRIPTS / "segment_for_project.groovy").read_text("utf-8")
    script.write_text(text.replace("def promptClasses = ['SAM']", "def promptClasses = ['Tumor', 'Stroma']"), "utf-8")
    with open_window(qupath, copy, "two.png", tmp_path, QUPATH_SAM_PORT=server) as window:
        window.ask(f"gui.getScriptEditor().showScript(new File('{script.as_posix()}'))")
        window.click_on("it instanceof MenuButton && it.getText() == 'Run'")
        window.click_on("it instanceof Label && it.getText() == 'Run for project'")
        window.click_on("it.getStyleClass().contains('move-to-target-all-button')")
        window.screenshot(tmp_path / "images.png")
        window.click_on(button("OK"))
        window.click_on(button("Yes"))  # to see in the viewer what the script has saved
        shown = "getAnnotationObjects().findAll { it.getMetadata().containsKey('qupath-sam.model') }.size() == 3"
        window.wait_for(shown, "outlines in the viewer")
        window.screenshot(tmp_path / "done.png")
    found = qupath.objects(copy)
    for objects in found.values():
        named = {"clicked", "boxed", "lined", "locked", "rough", "child"}
        assert [objects[name]["class"] for name in objects.keys() - named] == ["Ignore*"], "prompts are left, or more"
    one, two = (found[name]["clicked"] for name in ("one.png", "two.png"))
    assert one["measurements"] != two["measurements"], "the fake model's score is a checksum of the pixels"
    assert one["metadata"] != two["metadata"], "the image's fingerprint is in it"
