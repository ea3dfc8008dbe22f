"""The contract of every reader over every layout.

Size, pixel size, first px and colour are those of the file, and those that OpenSlide and tifffile themselves give.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from qupath_sam.cli.marked_tables import write_tables
from qupath_sam.slides import open_slide
from qupath_sam.types.regions import Region, Window
from tests.contracts.agreement import agreement
from tests.contracts.layouts import LAYOUTS, Layout

pytest.importorskip("openslide")

each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@each_layout
def test_size_pixel_size_and_colour(layout: Layout, tmp_path: Path) -> None:
    found = agreement(layout, tmp_path)
    assert found.disagrees == ()
    assert all("written" in thing for thing in (found.size, found.pixel_size, found.first_px, found.colour))


@each_layout
@pytest.mark.parametrize("downsample", [2, 4, 5])
def test_coarser_windows_are_averages_of_level_0(layout: Layout, downsample: int, tmp_path: Path) -> None:
    """Whichever level they come from, tiles that a level lacks included."""
    with closing(open_slide(layout.write(tmp_path), rendering=layout.rendering)) as reader:
        whole = Region(0, 0, reader.info.width, reader.info.height)
        level_0 = reader.read(Window.of(whole, 1)).astype(float)
        coarse = reader.read(Window.of(whole, downsample)).astype(float)
    rows, columns = (side // downsample for side in level_0.shape[:2])
    blocks = level_0[: rows * downsample, : columns * downsample].reshape(rows, downsample, columns, downsample, 3)
    off = np.abs(blocks.mean(axis=(1, 3)) - coarse[:rows, :columns])
    # Away from edges between tissue and nothing, where a level that is shifted by half a px differs.
    assert np.quantile(off, 0.97) <= max(4, layout.tolerance)


def test_the_table_in_the_documentation_is_what_the_readers_do(tmp_path: Path) -> None:
    from tools import formats

    copy = tmp_path / "formats.md"
    copy.write_bytes(formats.DOCUMENT.read_bytes())
    write_tables(copy, {formats.TABLE: formats.table()})
    assert copy.read_text("utf-8") == formats.DOCUMENT.read_text("utf-8"), "run python -m tools.formats and commit"
