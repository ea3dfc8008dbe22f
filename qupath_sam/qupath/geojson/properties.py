"""What a feature says beside its shape: class, colour, measurements, plane and the rest, as many programs write them.

Tables (GDAL, geopandas, pandas) hold no nested values: what was an object or a list comes back from them as JSON text,
or as Python prints it. Such text is read as what it was.

Each reader here raises `ValueError` for a value that it cannot use, with a message that completes "its colour ...".
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from qupath_sam.qupath.geojson.features import Color, ObjectType, PathClass, default_color

_OBJECT_TYPES = {kind.value: kind for kind in ObjectType} | {
    "pathannotationobject": ObjectType.ANNOTATION,
    "pathdetectionobject": ObjectType.DETECTION,
    "pathcellobject": ObjectType.CELL,
    "pathtileobject": ObjectType.TILE,
}  # the second half: as QuPath up to 0.3 wrote them
_OTHER_OBJECTS = {
    "tma_core": "a TMA core, which is not read; make the TMA grid in QuPath",
    "tmacoreobject": "a TMA core, which is not read; make the TMA grid in QuPath",
    "root": "the root of an image, which is no object",
    "pathrootobject": "the root of an image, which is no object",
}
#: What stands for no class: QuPath's word for it, and how tables print that there is nothing.
_NO_CLASS = frozenset({"Unclassified", "None", "nan", "NaN", "null", "<NA>"})
_YES, _NO = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0", ""})
#: How numpy prints what lies in a list or dict: ``array([1, 2], dtype=int64)``, ``np.int64(1)``.
_NUMPY = re.compile(r"\b(?:(?:np|numpy)\.)?(?:array|u?int\d+|float\d+|str_)\(([^()]*?)(?:,\s*dtype=\w+)?\)")
#: How Python prints dicts of other kinds, of one level.
_DICT_OF_A_KIND = re.compile(r"(?:OrderedDict|defaultdict)\((?:<class '\w+'>, *)?(.*)\)", re.DOTALL)
#: A text, which is left alone, or NaN outside of one.
_TEXT_OR_NAN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\bnan\b""", re.DOTALL)
_HEX = re.compile(r"(?:#|0x)([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
_RGB = re.compile(r"rgba?\(([^()]*)\)", re.IGNORECASE)


def unwrapped(value: Any) -> Any:
    """Return a value that a table has turned into text, as it was; every other value as it is.

    Raises:
        ValueError: the text begins as an object or a list of values does, and cannot be read as one.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    if not quoted and not text.startswith(("{", "[", "(", "OrderedDict(", "defaultdict(")):
        return value
    for read in (json.loads, _printed_by_python):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if text[:1] == "(" and not isinstance(found, list):
            continue  # a number in brackets
        return unwrapped(found) if found != value else found
    if text.startswith("("):
        looks_like_json = text[1:2] in ("'", '"')
    else:
        looks_like_json = not quoted and any(sign in text for sign in ":\"'")
    if looks_like_json:
        raise ValueError(f"is the text {_shortened(text)}, which looks like JSON and is none")
    return value  # a person's name in brackets


def _printed_by_python(text: str) -> Any:
    """Return the value that Python prints as ``text``, in the types of JSON."""
    plain = _NUMPY.sub(r"\1", text)
    if found := _DICT_OF_A_KIND.fullmatch(plain):
        plain = found[1]
        if plain.startswith("["):  # of pairs, as it was printed before Python 3.12
            return _as_in_json(dict(ast.literal_eval(plain)))
    plain = _TEXT_OR_NAN.sub(lambda found: "None" if found[0] == "nan" else found[0], plain)
    return _as_in_json(ast.literal_eval(plain))


def _as_in_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_in_json(item) for key, item in value.items()}
    if isinstance(value, set):
        value = sorted(value, key=str)
    return [_as_in_json(item) for item in value] if isinstance(value, list | tuple) else value


def object_type(value: Any) -> ObjectType | None:
    """Return the kind of object that a word names, None where it names none.

    Raises:
        ValueError: it names one that is not made here: the root of an image, a TMA core.
    """
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    if word in _OTHER_OBJECTS:
        raise ValueError(f"is {_OTHER_OBJECTS[word]}")
    return _OBJECT_TYPES.get(word)


def is_root(value: Any) -> bool:
    """Return whether a word names the root of an image, which every image has."""
    return isinstance(value, str) and value.strip().lower() in ("root", "pathrootobject")


def name(value: Any) -> str | None:
    """Read a name; None where there is none."""
    if isinstance(value, dict | list):
        raise ValueError(f"{_shortened(value)} is no text")
    return str(value) if _is_there(value) else None


def classification(value: Any) -> PathClass | None:
    """Read a class from text, or from an object with ``name`` or ``names`` and perhaps a colour."""
    value = unwrapped(value)
    own: Color | None = None
    if isinstance(value, dict):
        own = color(value.get("color", value.get("colorRGB")))
        inner = value.get("name")
        if isinstance(inner, str) and inner.lstrip()[:1] == "{":  # a whole class that has become a name
            inner = unwrapped(inner)
            if isinstance(inner, dict):
                return classification({"color": value.get("color", value.get("colorRGB")), **inner})
        names = unwrapped(value.get("names")) or [inner]
    elif isinstance(value, str) and value.strip() in _NO_CLASS:
        return None
    else:
        names = value if isinstance(value, list) else [value]
    if not isinstance(names, list) or any(isinstance(item, dict | list) for item in names):
        raise ValueError(f"has names that are no list of text: {_shortened(names)}")
    shown = ":".join(str(item) for item in names if _is_there(item))
    parts = tuple(part.strip() for part in shown.split(":") if part.strip())
    return PathClass(parts, own or default_color(": ".join(parts))) if parts else None


def color(value: Any) -> Color | None:
    """Read a colour from any of its spellings.

    ``[r, g, b]`` with or without alpha, 0 to 255, or 0 to 1 where a number has a decimal point; one number as Java
    packs it (alpha, red, green, blue, a byte each, signed); ``#rrggbb`` and its kin; ``rgb(r, g, b)``.
    """
    value = unwrapped(value)
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Color(value >> 16 & 255, value >> 8 & 255, value & 255)
    if isinstance(value, str):
        return _color_of_text(value)
    if isinstance(value, list) and len(value) in (3, 4):
        channels = [_number(channel) for channel in value]
        if any(isinstance(channel, float) for channel in channels) and all(0 <= channel <= 1 for channel in channels):
            channels = [255 * channel for channel in channels]
        red, green, blue = (round(channel) for channel in channels[:3])
        if all(0 <= channel <= 255 for channel in (red, green, blue)):
            return Color(red, green, blue)
    raise ValueError(f"{_shortened(value)} is not [red, green, blue], each 0 to 255")


def measurements(value: Any) -> tuple[dict[str, float], list[str]]:
    """Read numbers by name, and the names of measurements that are none."""
    value = unwrapped(value)
    if isinstance(value, list):
        value = {
            str(entry["name"]): entry.get("value") for entry in value if isinstance(entry, dict) and "name" in entry
        }
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        raise ValueError(f"are no object but {_shortened(value)}")
    numbers: dict[str, float] = {}
    others: list[str] = []
    for key, number in value.items():
        if number is None:
            continue
        try:
            numbers[str(key)] = float(number)
        except (ValueError, TypeError, OverflowError):
            others.append(str(key))
    return numbers, others


def metadata(value: Any) -> dict[str, str]:
    """Read text by name."""
    value = unwrapped(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"is no object but {_shortened(value)}")
    return {
        str(key): text if isinstance(text, str) else json.dumps(text) for key, text in value.items() if text is not None
    }


def is_locked(value: Any) -> bool:
    """Read yes or no from a truth value, a number or a word."""
    if value is None:
        return False
    word = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"{_shortened(value)} is neither true nor false")


def plane_index(value: Any, default: int) -> int:
    """Read the number of a plane or channel."""
    if value is None:
        return default
    number = None if isinstance(value, bool) else _number(value)
    if number is None or number != number // 1:
        raise ValueError(f"{_shortened(value)} is no whole number")
    return int(number)


def _is_there(value: Any) -> bool:
    """Return whether a value is neither empty nor a table's NaN; 0 is a number like others."""
    return value is not None and value is not False and value != "" and value == value


def _number(value: Any) -> float | int:
    """Read a finite number, also one that is written as text; an int where it is one."""
    if isinstance(value, str):
        value = value.strip()
        value = int(value) if re.fullmatch(r"[+-]?\d{1,20}", value) else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shortened(value)} is no number")
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is no finite number")
    return value


def _color_of_text(text: str) -> Color:
    text = text.strip()
    if found := _HEX.fullmatch(text):
        digits = found[1]
        if len(digits) < 6:
            digits = "".join(2 * digit for digit in digits)
        if text[:1] != "#" and len(digits) == 8:  # as Java packs it; after "#" the alpha comes last
            digits = digits[2:]
        return Color(*(int(digits[start : start + 2], 16) for start in (0, 2, 4)))
    if found := _RGB.fullmatch(text):
        text = found[1]
    parts = [part for part in re.split(r"[\s,]+", text) if part]
    if len(parts) == 1 and re.fullmatch(r"[+-]?\d{1,20}", parts[0]):
        packed = color(int(parts[0]))
        assert packed is not None
        return packed
    if len(parts) in (3, 4):
        several = color([_number(part) for part in parts[:3]])
        assert several is not None
        return several
    raise ValueError(f"{_shortened(text)} is not [red, green, blue], each 0 to 255")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
