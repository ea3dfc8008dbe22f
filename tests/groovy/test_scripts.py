"""What must hold for the scripts as texts, without a QuPath."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from .conftest import with_options

SCRIPTS = sorted((Path(__file__).parents[2] / "groovy" / "scripts").glob("*.groovy"))
SHARED = SCRIPTS[0].parents[1] / "shared"
METHOD = re.compile(r"^(?:/\*\*[^\n]*\*/\n)?def (\w+)\([^)]*\) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def test_all_scripts_are_there() -> None:
    assert [script.stem for script in SCRIPTS] == [
        "everything_for_project",
        "everything_in_selected",
        "like_for_project",
        "like_selected",
        "live_click",
        "propagate_selected",
        "refine_for_project",
        "refine_selected",
        "segment_for_project",
        "segment_selected",
    ]


def test_what_scripts_share_stands_in_the_jar_alone() -> None:
    """A method stood in nine scripts, and had to be the same in all."""
    texts: dict[str, list[str]] = defaultdict(list)
    for script in SCRIPTS:
        for method in METHOD.finditer(script.read_text("utf-8")):
            texts[method.group(1)].append(script.name)
    assert "planeAt" in texts
    assert {name: scripts for name, scripts in texts.items() if len(scripts) > 1} == {}


def test_scripts_call_what_the_shared_classes_have() -> None:
    """Groovy looks for a method when it is called: a wrong name would be an error in the middle of a run."""
    methods = {
        kind: set(re.findall(r"^    def (\w+)\(", (SHARED / f"{kind.lower()}.groovy").read_text("utf-8"), re.M))
        for kind in ("Answers", "Found")
    }
    methods["Found"] |= methods["Answers"]
    called: set[str] = set()
    for script in SCRIPTS:
        text = script.read_text("utf-8")
        names = set(re.findall(r"\bsam\.(\w+)\(", text))
        (kind,) = re.findall(r"loadClass\('(Answers|Found)'\)", text) or ("Found",)
        assert names <= methods[kind], script.name
        called |= names
    within = set(re.findall(r"\b(\w+)\(", "".join(each.read_text("utf-8") for each in SHARED.glob("*.groovy"))))
    assert {"samImageOf", "roiOf", "promptOf"} <= methods["Found"] <= called | within


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_missing_jar_is_named_before_it_is_used(script: Path) -> None:
    text = script.read_text("utf-8")
    assert (
        text.index("loadClass('io.github.qupathsam.client.SamClient')")
        < re.search(r"SamClient\.connect|ScriptTexts\.(?:clickTool|shared)", text).start()
    )  # type: ignore[union-attr]
    # Without the jar a class of it in a declaration or after `new` would not compile, and nobody would see our message.
    names = [path.stem for path in (script.parents[1] / "client" / "src" / "main" / "java").rglob("*.java")]
    assert not re.findall(rf"\bnew (?:{'|'.join(names)})\b", text)


@pytest.mark.parametrize(
    "name", ["segment_for_project", "refine_for_project", "everything_for_project", "like_for_project"]
)
def test_scripts_for_projects_never_look_at_the_viewer(name: str) -> None:
    text = next(script for script in SCRIPTS if script.stem == name).read_text("utf-8")
    assert "getCurrentImageData()" in text
    assert not re.search(r"getViewer|getCurrentViewer|getSelectedObject", text)


def test_every_setting_of_the_pane_is_one_of_a_script() -> None:
    pane = (SCRIPTS[0].parents[1] / "extension" / "settings_pane.groovy").read_text("utf-8")
    names = re.findall(r"^ {8}(\w+): \['", pane, re.MULTILINE)
    assert {"model", "minArea", "downsample", "mpp", "asAnnotations", "autoKeep"} <= set(names)
    heads = [script.read_text("utf-8").split("\n// The client jar is looked for")[0] for script in SCRIPTS]
    for name in names:
        assert any(re.search(SETTING.replace("NAME", name), head, re.M) for head in heads), name


#: How a script names a setting: a variable at its top, or a key of its options.
SETTING = r"^(?:@Field )?def (?:NAME = |\w+ = \[.*\bNAME: )"
CLICKS, REFINES = {"live_click", "segment_selected", "segment_for_project"}, {"refine_selected", "refine_for_project"}
REGIONS = {"everything_in_selected", "everything_for_project", "like_selected", "like_for_project"}


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        # Parts of an outline. What is left out of a region or of a run by its area has a name of its own.
        ("minArea", CLICKS | REFINES | {"propagate_selected"}),
        # Of what prompts become. What is found in a region has the class that the script names for it.
        ("outlineClass", {"segment_for_project"}),
        ("asAnnotations", REGIONS),
        ("objects", {"everything_in_selected", "everything_for_project"}),
        # The click tool's is where no project has a choice: it is read once, for all projects.
        ("model", {script.stem for script in SCRIPTS} - {"live_click"}),
        ("modelElsewhere", {"live_click"}),
    ],
)
def test_a_setting_of_the_pane_is_read_only_where_it_means_the_same(name: str, scripts: set[str]) -> None:
    heads = {s.stem: s.read_text("utf-8").split("\n// The client jar is looked for")[0] for s in SCRIPTS}
    assert {stem for stem, head in heads.items() if re.search(SETTING.replace("NAME", name), head, re.M)} == scripts


def test_no_setting_of_the_pane_is_twice_in_a_script() -> None:
    """A variable and an option of one name: the pane changed both."""
    for script in SCRIPTS:
        head = script.read_text("utf-8").split("\n// The client jar is looked for")[0]
        variables = set(re.findall(r"^(?:@Field )?def (\w+) = ", head, re.M))
        options = [
            name
            for body in re.findall(r"^(?:@Field )?def \w+ = \[(.*)\]", head, re.M)
            for name in re.findall(r"(\w+): ", body)
        ]
        assert len(options) == len(set(options)), script.name
        assert not variables & set(options), script.name


def test_options_of_a_test_take_the_place_of_those_that_are_there() -> None:
    text = "def options = [minArea: 0, objects: 'nuclei', cut: false]   // um2\n"
    changed = with_options(text, {"cut": "true", "spacing": "9", "objects": "'glands'"})
    assert changed == "def options = [spacing: 9, minArea: 0, objects: 'glands', cut: true]   // um2\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_script_takes_the_choice_of_the_project(script: Path) -> None:
    text = script.read_text("utf-8")
    if script.stem == "live_click":
        text = (script.parents[1] / "click_tool" / "clicker.groovy").read_text("utf-8")
    assert re.search(r"ProjectSettings\.(?:of|model)\((?:getProject\(\)|gui\.getProject\(\))\?\.getPath\(\)\)", text)


def test_no_file_of_the_protocol_bears_the_name_of_a_message() -> None:
    """Both become a class in Java: without another name for the class of the file, the client does not build."""
    files = sorted((Path(__file__).parents[2] / "proto").rglob("*.proto"))
    texts = {file: file.read_text("utf-8") for file in files}
    messages = {name for text in texts.values() for name in re.findall(r"^(?:message|enum) (\w+)", text, re.M)}
    for file, text in texts.items():
        named = re.search(r'option java_outer_classname = "(\w+)";', text)
        outer = named.group(1) if named else "".join(part.capitalize() for part in file.stem.split("_"))
        assert outer not in messages, f"{file.name}: set java_outer_classname"


def test_no_field_of_the_protocol_bears_the_name_of_a_method_in_java() -> None:
    """A text `device` has the method getDeviceBytes: a field `device_bytes` beside it does not compile."""
    for file in sorted((Path(__file__).parents[2] / "proto").rglob("*.proto")):
        for body in re.findall(r"^message \w+ \{\n(.*?)^\}", file.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            names = re.findall(r"^ +(?:optional |repeated )?(\w+) (\w+) = \d+;", body, re.MULTILINE)
            taken = {f"{name}_bytes" for kind, name in names if kind == "string"}
            assert not taken & {name for _, name in names}, file.name


@pytest.mark.parametrize(
    "script", [each for each in SCRIPTS if "_for_project" in each.stem], ids=lambda script: script.stem
)
def test_the_command_at_the_top_runs_this_script(script: Path) -> None:
    assert re.findall(r"QuPath script .*?(\w+\.groovy)", script.read_text("utf-8")) == [script.name]
