"""``qupath-sam models`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qupath_sam.cli.models import app
from qupath_sam.errors import UnknownModel, WeightsMissing
from qupath_sam.models.registry import BUILT_IN, DEFAULT_MODEL
from qupath_sam.models.spec import Family
from qupath_sam.models.weights.store import HOME_VARIABLE
from tests.models.checkpoint_files import original_state, write
from tests.models.weights.test_manage import published


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(original_state(Family.MOBILE_SAM), tmp_path / "mobile_sam.pt")


def run(*arguments: str, typed: str | None = None) -> Result:
    """Run a command; errors of the package come through, as `qupath_sam.cli.main` expects."""
    result = CliRunner().invoke(app, list(arguments), input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_json(*arguments: str) -> Any:
    content = json.loads(run(*arguments, "--json").stdout)
    assert content["schema"] == "qupath-sam/models/1"
    return content


def test_list_names_every_model_and_its_state(home: Path) -> None:
    content = run_json("list")
    models = {model["name"]: model for model in content["models"]}
    assert list(models) == list(BUILT_IN)
    assert content["default"] == DEFAULT_MODEL
    assert models["lite_medsam"]["present"] is True
    assert Path(models["lite_medsam"]["path"]).is_file()
    assert models["sam_vit_b"]["present"] is False
    assert models["sam_vit_b"]["licence"] == "Apache-2.0"
    text = run("list").stdout
    assert all(name in text for name in BUILT_IN)
    assert f"{DEFAULT_MODEL} *" in text
    assert "auto: a click in a view of whole regions" in text
    assert "pull (375 MB)" in text
    assert not home.exists()


def test_info(home: Path) -> None:
    assert run_json("info", "sam_vit_l")["models"][0]["size_bytes"] == 1_249_524_607
    assert "sam_vit_l_0b3195.pth" in run("info", "sam_vit_l").stdout
    with pytest.raises(UnknownModel):
        run("info", "sam")


def test_pull_shows_the_licence_first_and_the_path_last(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with published(monkeypatch, checkpoint.read_bytes()) as file:
        file.status = 404
        result = CliRunner().invoke(app, ["pull", "mobile_sam"])
        assert isinstance(result.exception, WeightsMissing)
        assert "Apache-2.0" in result.stderr
        file.status = 200
        path = Path(run("pull", "mobile_sam").stdout.strip())
        assert path.read_bytes() == checkpoint.read_bytes()
        assert run_json("pull", "mobile_sam")["models"][0]["present"] is True


def test_add_verify_remove(checkpoint: Path) -> None:
    assert Path(run("add", "mine", str(checkpoint), "--title", "Mine", "--mpp", "0.25").stdout.strip()).is_file()
    info = run_json("info", "mine")["models"][0]
    assert (info["family"], info["title"], info["default_mpp"]) == ("mobile_sam", "Mine", 0.25)
    verified = {model["name"]: model for model in run_json("verify")["models"]}
    assert set(verified) == {
        "lite_medsam",
        "lite_medsam_histology",
        "lite_medsam_regions",
        "mobile_sam_regions",
        "mine",
    }
    assert all(model["ok"] for model in verified.values())
    assert verified["mine"]["layout"] == "flat"
    refused = run("remove", "mine", typed="n\n")
    assert refused.exit_code == 1
    assert Path(info["path"]).is_file()
    assert info["path"] in refused.stderr
    assert run("remove", "mine", "--yes").exit_code == 0
    assert not Path(info["path"]).exists()
    assert checkpoint.is_file()


def test_verify_fails_where_one_does(checkpoint: Path) -> None:
    run("add", "mine", str(checkpoint), "--link")
    checkpoint.write_bytes(b"gone wrong")
    result = CliRunner().invoke(app, ["verify", "--json"])
    assert result.exit_code == 1
    models = {model["name"]: model for model in json.loads(result.stdout)["models"]}
    assert models["lite_medsam"]["ok"] is True
    assert models["mine"]["ok"] is False
    assert "registered with" in models["mine"]["error"]
    assert CliRunner().invoke(app, ["verify", "lite_medsam"]).exit_code == 0


def test_unknown_families_are_listed(checkpoint: Path) -> None:
    from qupath_sam.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="known: lite_medsam, mobile_sam"):
        run("add", "mine", str(checkpoint), "--family", "vit_b")
