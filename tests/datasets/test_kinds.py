"""What a data set labels: stated by its index, or known by its name."""

from __future__ import annotations

import pytest

from qupath_sam.datasets.kinds import Kind, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("camelyon_tiles", Kind.REGION),
        ("bcss_tumour", Kind.REGION),
        ("EBHI-SEG", Kind.GLAND),
        ("my glands", Kind.GLAND),
        ("rings_prostate", Kind.GLAND),
        ("tnbc", Kind.NUCLEUS),
        ("dsb2018_fluorescence", Kind.BRIGHT_NUCLEUS),
        ("lab 7", Kind.NUCLEUS),
    ],
)
def test_a_name_tells_where_nothing_is_stated(name: str, kind: Kind) -> None:
    assert kind_of(name) is kind


def test_what_is_stated_goes_before_the_name() -> None:
    assert kind_of("camelyon", stated="nucleus") is Kind.NUCLEUS
    assert kind_of("glands", stated=" Region ") is Kind.REGION
    assert kind_of("x", stated="bright_nucleus") is Kind.BRIGHT_NUCLEUS


def test_the_stain_tells_bright_nuclei() -> None:
    assert kind_of("x", stated="nucleus", stain="DAPI fluorescence") is Kind.BRIGHT_NUCLEUS
    assert kind_of("x", stain="nuclear fluorescence") is Kind.BRIGHT_NUCLEUS
    assert kind_of("x", stated="gland", stain="DAPI") is Kind.GLAND


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="cell"):
        kind_of("x", stated="cells")
