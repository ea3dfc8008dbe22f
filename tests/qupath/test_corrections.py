"""Whether a person has changed an object since it was found. Java's CorrectionsTest has the same cases."""

from __future__ import annotations

from typing import Any

import pytest
import shapely

from qupath_sam.qupath.corrections import DESCRIPTION, is_corrected, marks_of

OUTLINE = shapely.box(0, 0, 10.25, 7.5)
BLUE = 0xFF0000FF
FOUND = marks_of(OUTLINE, "Nucleus")
#: What is carried through a stack, as Java marks it.
CARRIED = {**marks_of(OUTLINE, None), "qupath-sam.found_name": "A", "qupath-sam.found_colour": "ff0000ff"}
#: An object of the first versions.
OLDER = {"qupath-sam.outline": FOUND["qupath-sam.outline"]}


def corrected(marks: dict[str, str], **now: Any) -> bool:
    about: dict[str, Any] = {"path_class": "Nucleus", "probability": float("nan"), "name": None, "color": None}
    return is_corrected(marks, now.pop("outline", OUTLINE), **{**about, **now})


def test_the_marks_are_those_of_java() -> None:
    assert marks_of(OUTLINE, "Tumor: Positive") == {
        "qupath-sam.found_class": "Tumor: Positive",
        "qupath-sam.outline": "729db01d5fa12576",
    }


@pytest.mark.parametrize(
    ("marks", "now"),
    [
        (FOUND, {}),
        (FOUND, {"name": " "}),
        ({**FOUND, DESCRIPTION: ""}, {}),
        (CARRIED, {"path_class": None, "name": "A", "color": BLUE}),
        (CARRIED, {"path_class": None, "name": "A", "color": BLUE - (1 << 32)}),
        (CARRIED, {"path_class": None, "name": "A"}),
        (FOUND, {"path_class": "Tumor", "probability": 0.8}),
        (OLDER, {"path_class": "Mitosis", "name": "look here", "color": BLUE}),
        ({}, {"path_class": "Mitosis", "name": "look here", "color": BLUE}),
    ],
)
def test_what_no_person_has_changed(marks: dict[str, str], now: dict[str, Any]) -> None:
    assert not corrected(marks, **now)


@pytest.mark.parametrize(
    ("marks", "now"),
    [
        (FOUND, {"outline": shapely.box(0, 0, 9, 7.5)}),
        (FOUND, {"path_class": "Mitosis"}),
        (FOUND, {"path_class": None}),
        (FOUND, {"name": "look here"}),
        (FOUND, {"color": BLUE}),
        ({**FOUND, DESCRIPTION: "odd"}, {}),
        (CARRIED, {"path_class": None, "name": "B", "color": BLUE}),
        (CARRIED, {"path_class": None, "color": BLUE}),
        (FOUND, {"path_class": "Tumor", "probability": 0.8, "name": "but this one"}),
        (OLDER, {"outline": shapely.box(0, 0, 9, 7.5)}),
    ],
)
def test_what_a_person_has_changed(marks: dict[str, str], now: dict[str, Any]) -> None:
    assert corrected(marks, **now)
