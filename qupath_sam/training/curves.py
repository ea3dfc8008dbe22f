"""The course of a run as a CSV file: one row every few steps, appended, cut back to the step a run resumes at."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path

from qupath_sam.training.loop import StepReport

CURVES_FILE = "curves.csv"
_COLUMNS = [each.name for each in fields(StepReport)]


def append_report(path: Path, report: StepReport) -> None:
    """Add a row; the file and its header are made where there is none."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({key: "" if value is None else f"{value:.6g}" for key, value in asdict(report).items()})


def cut_back(path: Path, *, step: int) -> None:
    """Drop rows of steps after ``step``: they were made by a process that was killed before it saved."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["step"]) <= step]
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
