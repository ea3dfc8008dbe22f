"""A minimal whole-slide DICOM: one uncompressed level, with what OpenSlide asks for and nothing else."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_LONG = {"OB", "OW", "SQ"}


def write_dicom(path: Path, pixels: NDArray[np.uint8], *, mpp: float = 0.25, tile: int = 64) -> Path:
    """Write ``pixels`` as a slide of JPEG tiles of quality 100."""
    height, width = pixels.shape[:2]
    frames = [_jpeg(frame) for frame in _tiles(pixels, tile)]
    spacing = _element(0x0028, 0x0030, "DS", f"{mpp / 1000}\\{mpp / 1000}")
    measures = _sequence(0x0028, 0x9110, spacing)
    dataset = b"".join(
        [
            _element(0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
            _element(0x0008, 0x0016, "UI", _WSI),
            _element(0x0008, 0x0018, "UI", "1.2.3.4.1"),
            _element(0x0020, 0x000D, "UI", "1.2.3.1"),
            _element(0x0020, 0x000E, "UI", "1.2.3.2"),
            _element(0x0020, 0x0052, "UI", "1.2.3.3"),
            _element(0x0020, 0x9311, "CS", "TILED_FULL"),
            _element(0x0028, 0x0002, "US", 3),
            _element(0x0028, 0x0004, "CS", "YBR_FULL_422"),
            _element(0x0028, 0x0006, "US", 0),
            _element(0x0028, 0x0008, "IS", str(len(frames))),
            _element(0x0028, 0x0010, "US", tile),
            _element(0x0028, 0x0011, "US", tile),
            _element(0x0028, 0x0100, "US", 8),
            _element(0x0028, 0x0101, "US", 8),
            _element(0x0028, 0x0102, "US", 7),
            _element(0x0028, 0x0103, "US", 0),
            _element(0x0048, 0x0006, "UL", width),
            _element(0x0048, 0x0007, "UL", height),
            _sequence(0x5200, 0x9229, measures),
            _pixel_data(frames),
        ]
    )
    meta = b"".join(
        [
            _element(0x0002, 0x0001, "OB", b"\0\1"),
            _element(0x0002, 0x0002, "UI", _WSI),
            _element(0x0002, 0x0003, "UI", "1.2.3.4.1"),
            _element(0x0002, 0x0010, "UI", _JPEG_BASELINE),
            _element(0x0002, 0x0012, "UI", "1.2.3.5"),
        ]
    )
    path.write_bytes(bytes(128) + b"DICM" + _element(0x0002, 0x0000, "UL", len(meta)) + meta + dataset)
    return path


def _tiles(pixels: NDArray[np.uint8], side: int) -> list[NDArray[np.uint8]]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    return [
        padded[y : y + side, x : x + side]
        for y in range(0, padded.shape[0], side)
        for x in range(0, padded.shape[1], side)
    ]


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    import imagecodecs

    data = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(frame), level=100, subsampling="444"))
    return data + bytes(len(data) % 2)


def _element(group: int, element: int, vr: str, value: str | bytes | int) -> bytes:
    if isinstance(value, int):
        data = struct.pack("<H" if vr == "US" else "<I", value)
    else:
        data = value.encode() if isinstance(value, str) else value
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    head = struct.pack("<HH2s", group, element, vr.encode())
    return head + (struct.pack("<HI", 0, len(data)) if vr in _LONG else struct.pack("<H", len(data))) + data


def _sequence(group: int, element: int, item: bytes) -> bytes:
    return _element(group, element, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)


def _pixel_data(frames: list[bytes]) -> bytes:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    items += b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame for frame in frames)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
