"""Paths and URIs of Windows, UNC and POSIX clients, wherever this runs."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.errors import InvalidRequest, SlideUnsupported
from qupath_sam.slides.location import Location, PathMap, parse_location
from qupath_sam.slides.urls import UrlRules

SPELLINGS = [
    pytest.param("/data/a.svs", "/data/a.svs", id="posix"),
    pytest.param("relative/a.svs", "relative/a.svs", id="relative"),
    pytest.param("/data/with space/Präparat ß.svs", "/data/with space/Präparat ß.svs", id="posix-umlaut"),
    pytest.param("/data/100%20real.svs", "/data/100%20real.svs", id="percent-in-a-path-stays"),
    pytest.param("/data/a::b#1?.svs", "/data/a::b#1?.svs", id="odd-characters-in-a-path-stay"),
    pytest.param(r"C:\slides\a b.svs", r"C:\slides\a b.svs", id="windows"),
    pytest.param(r"\\host\share\a.svs", r"\\host\share\a.svs", id="unc"),
    pytest.param("file:/data/a.svs", "/data/a.svs", id="java"),
    pytest.param("file:///data/a.svs", "/data/a.svs", id="browser"),
    pytest.param("file://localhost/data/a.svs", "/data/a.svs", id="localhost"),
    pytest.param("FILE:/data/a.svs", "/data/a.svs", id="scheme-case"),
    pytest.param("file:/data/with%20space/Pr%C3%A4parat.svs", "/data/with space/Präparat.svs", id="escaped"),
    pytest.param("file:/data/Präparat.svs", "/data/Präparat.svs", id="unescaped-umlaut"),
    pytest.param("file:/data/a%23b%3F%25.svs", "/data/a#b?%.svs", id="escaped-reserved"),
    pytest.param("file:/data/a+b.svs", "/data/a+b.svs", id="plus-is-no-space"),
    pytest.param("file:/C:/slides/a%20b.svs", "C:/slides/a b.svs", id="java-windows"),
    pytest.param("file:///C:/slides/a.svs", "C:/slides/a.svs", id="browser-windows"),
    pytest.param("file://C:/slides/a.svs", "C:/slides/a.svs", id="sloppy-windows"),
    pytest.param("file:////host/share/%C3%BC.svs", r"\\host\share\ü.svs", id="java-unc"),
    pytest.param("file://host/share/a.svs", r"\\host\share\a.svs", id="browser-unc"),
]


@pytest.mark.parametrize(("given_text", "target"), SPELLINGS)
def test_spellings(given_text: str, target: str) -> None:
    assert parse_location(given_text) == Location(target, is_url=False, given=given_text)


@pytest.mark.parametrize(
    "url", ["memory://a/b.tif", "s3://bucket/a.svs", "https://host/a.svs?x=1#y", "HTTPS://host/a.svs"]
)
def test_urls_that_are_allowed_are_left_alone(url: str) -> None:
    rules = UrlRules(frozenset({"memory", "s3", "https"}))
    assert parse_location(url, urls=rules) == Location(url, is_url=True, given=url, urls=rules)


def test_a_path_object_is_taken(tmp_path: Path) -> None:
    assert parse_location(tmp_path / "ä b.svs").target == str(tmp_path / "ä b.svs")


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "file:/a%00b", "file:/%ff.svs"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="send"):
        parse_location(text)


@pytest.mark.parametrize("uri", ["file:/a.tif#2", "file:/a.tif?series=1", "file:/a.tif?name=x"])
def test_old_style_series_are_refused(uri: str) -> None:
    with pytest.raises(SlideUnsupported, match="push the pixels"):
        parse_location(uri)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_any_name_survives_a_java_uri(name: str) -> None:
    uri = "file:/data/" + quote(name, safe="")
    assert parse_location(uri).target == f"/data/{name}"


@pytest.mark.parametrize(
    ("text", "name"), [(r"C:\a\b.mrxs", "b.mrxs"), ("/a/b.svs", "b.svs"), ("https://h/a/b.tif?x=/y", "b.tif")]
)
def test_name(text: str, name: str) -> None:
    assert parse_location(text, urls=UrlRules(frozenset({"https"}))).name == name


@pytest.mark.skipif(os.name == "nt", reason="a Windows path is at home on Windows")
@pytest.mark.parametrize(("text", "foreign"), [("file:/C:/a.svs", True), (r"\\h\s\a.svs", True), ("/C:/a.svs", False)])
def test_windows_paths_are_foreign_elsewhere(text: str, foreign: bool) -> None:
    assert parse_location(text).is_foreign is foreign


MAP = PathMap.parse(
    [
        r"D:\slides=/mnt/slides",
        r"D:\slides\2024=/archive/2024/",
        r"\\NAS\path=/mnt/nas",
        r"\\other=/mnt/other",
        "/Users/me=/home/me",
        "/=/export",
        "E:\\=s3://bucket/e",
        r"F:\x=G:\y",
        "file:/H:/a%20b=/h",
    ]
)
MAPPED = [
    pytest.param("file:/D:/slides/a%20b.svs", "/mnt/slides/a b.svs", id="drive"),
    pytest.param(r"d:\SLIDES\sub\ü.svs", "/mnt/slides/sub/ü.svs", id="windows-ignores-case"),
    pytest.param("D:/slides/2024/a.svs", "/archive/2024/a.svs", id="longest-wins"),
    pytest.param(r"D:\slides2\a.svs", r"D:\slides2\a.svs", id="whole-names-only"),
    pytest.param(r"D:\slides\..\secret\a.svs", r"D:\slides\..\secret\a.svs", id="no-back-door"),
    pytest.param(r"D:\slides\x\..\a.svs", "/mnt/slides/a.svs", id="dots-inside"),
    pytest.param("file:////nas/path/k/a.svs", "/mnt/nas/k/a.svs", id="unc-uri"),
    pytest.param("//nas/path/a.svs", "/mnt/nas/a.svs", id="unc-with-slashes"),
    pytest.param(r"\\other\share\a.svs", "/mnt/other/share/a.svs", id="whole-host"),
    pytest.param("/Users/me/a.svs", "/home/me/a.svs", id="posix"),
    pytest.param("/users/me/a.svs", "/export/users/me/a.svs", id="posix-minds-case"),
    pytest.param(r"E:\k\a.svs", "s3://bucket/e/k/a.svs", id="to-a-url"),
    pytest.param("F:/x/k/a.svs", r"G:\y\k\a.svs", id="windows-to-windows"),
    pytest.param(r"H:\a b\c.svs", "/h/c.svs", id="prefix-as-uri"),
    pytest.param(r"Z:\a.svs", r"Z:\a.svs", id="no-match"),
]


@pytest.mark.parametrize(("text", "target"), MAPPED)
def test_path_map(text: str, target: str) -> None:
    location = parse_location(text, MAP, urls=UrlRules(frozenset({"s3"})))
    assert location.target == target
    assert location.is_url == target.startswith("s3://")


@pytest.mark.parametrize("text", ["D:\\slides", "=/mnt", "D:\\a=", " = "])
def test_a_path_map_without_two_sides_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="write for example"):
        PathMap.parse([text])
