"""Files that are given for weights and are something else: named by their first bytes, each with what to do."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

#: Enough for the heads of all formats below, and for a page's title.
HEAD_BYTES = 4096

_ARCHIVES = (
    (b"\x1f\x8b", "compressed by gzip"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
)
_OTHER_PROGRAMS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them"),
    (b"GGUF", "a GGUF file"),
    (b"TFL3", "a TensorFlow Lite model"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
)
_DOWNLOAD = "download the file itself, as its publisher's page says, and add that"
_UNPACK = "unpack it and add the weights file in it"


def what_else(path: Path) -> str:
    """Return what a file is instead of a checkpoint, and what to do, as part of a sentence; empty where it may be one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "is empty; download it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the weights themselves; run `git lfs pull` in its repository, or " + _DOWNLOAD
    for magic, name in _ARCHIVES:
        if head.startswith(magic):
            return f"is {name}; {_UNPACK}"
    for magic, name in _OTHER_PROGRAMS:
        if head.startswith(magic):
            return f"is {name}, not a PyTorch checkpoint; {_DOWNLOAD}"
    if head.startswith(b"PK"):
        return _of_zip(path)
    if head[257:262] == b"ustar" and tarfile.is_tarfile(path):
        return f"is a tar archive; {_UNPACK}"
    return _of_text(head)


def _of_zip(path: Path) -> str:
    """Name what a ZIP archive holds; PyTorch's own files are such, with tensors described in ``data.pkl``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return ""  # PyTorch says what is missing
    inside = {name.partition("/")[2] for name in names}
    if "data.pkl" in inside and any(name.startswith("code/") for name in inside):
        return (
            "is a TorchScript program, not a checkpoint; load it with torch.jit.load, save its state_dict() by "
            "torch.save, and add that file"
        )
    if "data.pkl" in inside:
        return ""
    if any(name.endswith(".npy") for name in names):
        return f"is a NumPy archive, not a PyTorch checkpoint; {_DOWNLOAD}"
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"is a ZIP archive ({listed}); {_UNPACK}"


def _of_text(head: bytes) -> str:
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = head.decode(encoding, "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return ""
    if any(ord(character) < 32 and character not in "\t\r\n\f" for character in text):
        return ""
    text = text.strip()
    folded = text.casefold()
    if folded.startswith(("<!doctype html", "<html", "<head", "<script")) or "<html" in folded[:1000]:
        title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
        named = f" ({' '.join(title[1].split())[:80]!r})" if title else ""
        return f"is a web page{named}, not weights; {_DOWNLOAD}"
    if text.startswith("<"):
        code = re.search(r"<(?:code|message)>(.*?)</", text, re.IGNORECASE | re.DOTALL)
        named = f" ({' '.join(code[1].split())[:80]!r})" if code else ""
        return f"is an XML document{named}, not weights; {_DOWNLOAD}"
    first = text.splitlines()[0][:80] if text else ""
    if text.startswith(("{", "[")):
        return f"is JSON text ({first!r}), such as a server's error or a model's settings, not weights; {_DOWNLOAD}"
    return f"is text ({first!r}), not weights; {_DOWNLOAD}"
