"""What `evaluate` and `train` work on, by their options."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from shapely.geometry import Point, box
from typer.testing import CliRunner

from qupath_sam.cli.datasets import DatasetOptions, open_all
from qupath_sam.cli.train import train
from qupath_sam.datasets.options import Target
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.training.data import training_data
from tests.datasets.test_annotated import export, feature


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (DatasetOptions(), "name a DATASET, or a QuPath project"),
        (DatasetOptions(datasets=("tiles",), path_class=["Tumor"]), "--class.* are for a --project or geojson"),
        (DatasetOptions(datasets=("folder:tiles",), mpp=0.5), "--mpp.* are for a --project or geojson"),
        (DatasetOptions(datasets=("geojson:slides",), image=["a.svs"]), "--image.* are for a --project"),
        (DatasetOptions(datasets=("geojson:slides",), group_by="patient"), "--group-by.* are for a --project"),
        (DatasetOptions(project=[Path("a.qpproj")], mpp=0.5, downsample=2), "--mpp or --downsample, not both"),
    ],
)
def test_options_for_what_is_not_there_are_refused(options: DatasetOptions, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        open_all(options)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no data are named"),
        (["tiles", "--class", "Tumor"], "--class"),
        (["tiles", "--mpp", "0.5"], "--mpp"),
        (["tiles", "--downsample", "2"], "--downsample"),
        (["tiles", "--image", "a.svs"], "--image"),
        (["tiles", "--group-by", "patient"], "--group-by"),
        (["tiles", "--path-map", "a=b"], "--path-map"),
        (["--project", "a.qpproj", "--mpp", "0.5", "--downsample", "2"], "not both"),
        (["--project", "missing.qpproj"], "missing.qpproj"),
        (["geojson-x5:.", "--target", "instances"], "a scale and a target of its own"),
    ],
)
def test_train_hands_its_options_on(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, QupathSamError)
    assert complaint in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset,) = open_all(
        DatasetOptions(datasets=(export(tmp_path, feature(box(9, 9, 50, 50)), feature(Point(1, 1))),))
    )
    assert len(dataset.left_out) == 1
    assert f"{dataset.name}: left out of a.geojson: 1 features are no areas" in capsys.readouterr().err


def test_a_target_may_be_chosen_for_training(tmp_path: Path) -> None:

    given = export(tmp_path, feature(box(0, 0, 50, 50)), feature(box(60, 0, 90, 50)))
    datasets = open_all(DatasetOptions(datasets=(given,)))
    assert {each.target for each in training_data(datasets).tiles} == {Target.INSTANCES}
    assert {each.target for each in training_data(datasets, target=Target.REGION).tiles} == {Target.REGION}
