"""Small JSON files, as editors leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qupath_sam.models.weights.jsonfile import read_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "model.json").write_text('{"a": "ä"}', encoding)
    assert read_json(tmp_path / "model.json") == {"a": "ä"}
