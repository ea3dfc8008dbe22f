"""A FeatureCollection that grows: whole after every batch, so that QuPath imports it at any time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from qupath_sam.errors import InvalidRequest
from qupath_sam.qupath.geojson.features import AnnotationFeature
from qupath_sam.qupath.geojson.writing import feature_text

_HEAD = b'{"type": "FeatureCollection", "features": ['
_FOOT = b"\n]}\n"


class GrowingGeoJson:
    """Writes features to the end of a file. Use as a context manager, or call `close`.

    Args:
        path: of the file.
        offset: go on at this byte of a file that an earlier run has written, from `offset`; what follows is dropped.
            None begins a new file.

    Raises:
        InvalidRequest: there is no such file, or it is shorter.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, *, offset: int | None = None) -> None:
        self._file: BinaryIO
        if offset is None:
            self._file = path.open("w+b")
            self._file.write(_HEAD)
            self.offset = len(_HEAD)
        else:
            if not path.is_file() or path.stat().st_size < offset or offset < len(_HEAD):
                raise InvalidRequest(f"{path} is not what the earlier run has left; begin again without --resume")
            self._file = path.open("r+b")
            self._file.seek(offset)
            self.offset = offset
        self._finish()

    def append(self, features: Iterable[AnnotationFeature]) -> None:
        """Add features; the file is a whole FeatureCollection before and after."""
        text = "".join(("\n" if self._is_empty(index) else ",\n") + feature_text(f) for index, f in enumerate(features))
        if text:
            self._file.seek(self.offset)
            self._file.write(text.encode("ascii"))
            self.offset = self._file.tell()
            self._finish()

    def sync(self) -> None:
        """Force what was appended to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _is_empty(self, index: int) -> bool:
        return index == 0 and self.offset == len(_HEAD)

    def _finish(self) -> None:
        self._file.write(_FOOT)
        self._file.truncate()
        self._file.flush()
