"""A text that tells an outline from a corrected one."""

from __future__ import annotations

import shapely

from qupath_sam.qupath.fingerprint import fingerprint


def test_the_client_in_java_returns_the_same() -> None:
    """`OutlinesTest` has the same texts."""
    assert fingerprint(shapely.from_wkt("POLYGON ((0 0, 10.25 0, 10.25 7.5, 0 7.5, 0 0))")) == "729db01d5fa12576"
    parts = "MULTIPOLYGON (((-1 -2.5, 3 4, 5 -6, -1 -2.5)), ((100 100, 110 100, 110 110.07, 100 100)))"
    assert fingerprint(shapely.from_wkt(parts)) == "d5cb3faff84b32e8"


def test_neither_order_nor_what_qupath_rounds_away_counts() -> None:
    made = shapely.box(0, 0, 10.25, 7.5)
    assert fingerprint(made) == fingerprint(shapely.reverse(made))
    assert fingerprint(made) == fingerprint(shapely.box(0, 0, 10.2501, 7.4999))
    assert fingerprint(made) != fingerprint(shapely.box(0, 0, 10.26, 7.5))
