"""Keys: stable over releases, and different wherever anything differs."""

from __future__ import annotations

import hashlib
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupath_sam.engine.embeddings.key import embedding_key
from qupath_sam.types.regions import Region, Window

Fields = tuple[str, Window, str, str, str]

WINDOW = Window(Region(1024, -512, 2048, 2048), 1024, 1024)

# Reckoned with printf '%s' '["qupath-sam embedding key 1",...]' | sha256sum. A change here makes every store on disk
# worthless: only on purpose, and with a new scheme.
GOLDEN = [
    (
        ("9f86d081", WINDOW, "litemedsam", "ab" * 32, "1"),
        '["qupath-sam embedding key 1","9f86d081",[1024,-512,2048,2048],[1024,1024],"litemedsam","'
        + "ab" * 32
        + '","1"]',
        "c571e75889bed3a79c13777ae79ceaa992981092e4ba290edf6529c822d0aa76",
    ),
    (
        ('Präparat "7"', Window(Region(0, 0, 300, 200), 256, 171), "vit_b", "", "2025-01"),
        '["qupath-sam embedding key 1","Pr\\u00e4parat \\"7\\"",[0,0,300,200],[256,171],"vit_b","","2025-01"]',
        "36cd21e9ff632994fbe0ce40549d705b9b2598e608bc90a8821c9dfa24975965",
    ),
]


@pytest.mark.parametrize(("fields", "text", "expected"), GOLDEN)
def test_keys_stay_what_they_are(fields: Fields, text: str, expected: str) -> None:
    assert embedding_key(*fields) == expected == hashlib.sha256(text.encode()).hexdigest()


integers = st.integers(-100, 100_000)
sizes = st.integers(1, 4096)
windows = st.builds(Window, st.builds(Region, integers, integers, sizes, sizes), sizes, sizes)
# Quotes, commas and brackets would blur the borders of fields that are merely joined.
texts = st.text(alphabet='ab",[]\\ä\ud800', max_size=4)
all_fields = st.tuples(texts, windows, texts, texts, texts)


@given(all_fields, all_fields, st.lists(st.booleans(), min_size=5, max_size=5))
def test_equal_keys_mean_equal_fields(one: Fields, other: Fields, change: list[bool]) -> None:
    mixed = cast(Fields, tuple(new if changed else old for old, new, changed in zip(one, other, change, strict=True)))
    assert (embedding_key(*one) == embedding_key(*mixed)) == (one == mixed)


def test_text_that_moves_to_the_next_field_changes_the_key() -> None:
    assert embedding_key("ab", WINDOW, "c", "d", "e") != embedding_key("a", WINDOW, "bc", "d", "e")
    assert embedding_key("a", WINDOW, "b", "c", "de") != embedding_key("a", WINDOW, "b", "cd", "e")
    assert embedding_key('a","b', WINDOW, "", "", "") != embedding_key("a", WINDOW, "b", "", "")


def test_the_same_region_at_another_downsample_is_another_embedding() -> None:
    region = Region(0, 0, 1024, 1024)
    keys = {embedding_key("s", Window.of(region, downsample), "m", "w", "1") for downsample in (1, 2, 4)}
    assert len(keys) == 3
