"""The documents hold together: links lead somewhere, tables come from their commands. Commands: test_command_lines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qupath_sam.cli.app import app
from qupath_sam.models.registry import BUILT_IN, DEFAULT_MODEL
from qupath_sam.types.refinements import Refusal

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = sorted((REPOSITORY / "docs").rglob("*.md"))
DOCUMENTS = [REPOSITORY / "README.md", *DOCS]


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def identified(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_the_readme_is_one_screen() -> None:
    readme = REPOSITORY / "README.md"
    assert readme.stat().st_size <= 6_000
    assert [line for line in text_of(readme).splitlines() if len(line) > 110] == []


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    from qupath_sam.assets import demo_slide_path

    (code,) = re.findall(r"```python\n(.*?)```", text_of(REPOSITORY / "README.md"), re.DOTALL)
    assert '"slide.svs"' in code
    script = tmp_path / "readme.py"
    script.write_text(code.replace('"slide.svs"', repr(str(demo_slide_path()))), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "POLYGON" in done.stdout
    assert '"Gland"' in (tmp_path / "gland.geojson").read_text("utf-8")


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted(REPOSITORY.glob("C*.md"))], ids=identified)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Files, and headings in them; what lies on the web is not asked for."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        found = document.parent / file if file else document
        assert found.exists(), f"no {target}"
        assert not heading or heading in anchors(found), f"no heading {target}"


@pytest.mark.parametrize("document", DOCS, ids=identified)
def test_links_of_the_site_stay_in_the_site(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(document)):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).resolve().is_relative_to(REPOSITORY / "docs"), target


def test_the_command_writes_the_table_of_models(tmp_path: Path) -> None:
    document = tmp_path / "models.md"
    shutil.copy(REPOSITORY / "docs" / "models.md", document)
    before = text_of(document)
    result = CliRunner().invoke(app, ["models", "list", "--markdown", str(document)])
    assert result.exit_code == 0, result.output
    after = text_of(document)
    mark = re.compile(r"(?<=list -->\n).*(?=<!-- end -->)", re.DOTALL)
    assert mark.sub("", before) == mark.sub("", after), "text around the table is kept"
    assert mark.search(before)[0].splitlines()[0] == mark.search(after)[0].splitlines()[0]
    assert f"| `{DEFAULT_MODEL}` (default) |" in after
    assert all(f"| `{name}`" in after for name in BUILT_IN)
    assert after == before, "run `qupath-sam models list --markdown docs/models.md`"


def test_every_reason_for_a_refusal_is_explained() -> None:
    text = text_of(REPOSITORY / "docs" / "project.md")
    assert [reason.value for reason in Refusal if f"| `{reason.value}` |" not in text] == []
