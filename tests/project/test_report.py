"""The page and the table that a run leaves."""

from __future__ import annotations

import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from qupath_sam.errors import ProjectError
from qupath_sam.project.decisions import Action, Decision
from qupath_sam.project.layout import ImageEntry
from qupath_sam.project.objects import ImageObject, Kind
from qupath_sam.project.report import MOST_THUMBNAILS, THUMBNAIL_PX, Heading, write_csv, write_html
from qupath_sam.types.refinements import Refusal

IMAGE = ImageEntry("1", "<b>Grün & co</b>.svs", {}, 1000, 800, 0.5, Path())
OLD, NEW = shapely.box(100, 100, 300, 200), shapely.box(90, 90, 310, 210)


class Blue:
    """Pixels all blue."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int, int]] = []

    def pixels(
        self, image: ImageEntry, region: tuple[int, int, int, int], downsample: float, *, z: int = 0, t: int = 0
    ) -> tuple[int, int, bytes]:
        self.asked.append(region)
        width, height = round(region[2] / downsample), round(region[3] / downsample)
        return width, height, bytes((0, 0, 255)) * (width * height)


def decision(action: Action, iou: float = 0.8, refusal: Refusal | None = None, new: bool = True) -> Decision:
    before = ImageObject(
        "00000000-0000-0000-0000-000000000001", Kind.ANNOTATION, "Polygon", shapely.to_wkb(OLD), name="<script>"
    )
    wkb = shapely.to_wkb(NEW) if new else b""
    return Decision("1", IMAGE.name, action, before.object_id, before, wkb, refusal, iou, 0.9, "x, y")


DECISIONS = [
    decision(Action.REFINED, 0.81),
    decision(Action.REFUSED, 0.2, Refusal.LOW_IOU),
    decision(Action.REFUSED, float("nan"), Refusal.LOCKED, new=False),
]


class Balanced(HTMLParser):
    """Fails on a tag that is not closed or closed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "img", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag


def test_page(tmp_path: Path) -> None:
    pixels = Blue()
    write_html(
        tmp_path / "r.html", Heading("T <1>", [("run", "a & b")]), DECISIONS, [IMAGE], pixels, errors=[("i", "bad <x>")]
    )
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert "script" not in parser.seen, "a name was taken for HTML"
    assert "T &lt;1&gt;" in text
    assert "bad &lt;x&gt;" in text
    assert Refusal.LOW_IOU.value in text
    assert "src=" not in text.replace('src="data:image/jpeg;base64,', "")
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", text)]
    assert len(pictures) == 3
    refused_first = np.asarray(pictures[0])
    left, right = refused_first[:, : THUMBNAIL_PX - 8], refused_first[:, 8 - THUMBNAIL_PX :]  # JPEG blurs the gap
    assert (left[..., 2] > 200).all()
    assert (left[..., :2] < 60).all(), "without outlines"
    assert (right[..., 1] > 100).any(), "with outlines"
    assert all(x <= 100 and y <= 100 and x + w >= 300 and y + h >= 200 for x, y, w, h in pixels.asked)


def test_page_without_pixels_and_with_many_objects(tmp_path: Path) -> None:
    class Fails(Blue):
        def pixels(self, *arguments: object, **keywords: object) -> tuple[int, int, bytes]:
            raise ProjectError("no slide")

    many = [DECISIONS[0]] * (MOST_THUMBNAILS + 50)
    for pixels in (None, Fails()):
        write_html(tmp_path / "r.html", Heading("t", []), many, [IMAGE], pixels)
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert text.count("<figure>") == MOST_THUMBNAILS
        assert f"{MOST_THUMBNAILS} of {len(many)} objects" in text
    write_html(tmp_path / "r.html", Heading("t", []), [], [IMAGE], None)
    assert "<figure>" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_table(tmp_path: Path) -> None:
    write_csv(tmp_path / "r.csv", DECISIONS)
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["action"] for row in rows] == ["refined", "refused", "refused"]
    assert [row["reason"] for row in rows] == ["", Refusal.LOW_IOU.value, "locked"]
    assert float(rows[0]["area before px2"]) == pytest.approx(OLD.area)
    assert float(rows[0]["area after px2"]) == pytest.approx(NEW.area)
    assert rows[2]["IoU"] == ""
    assert rows[0]["remark"] == "x, y"
