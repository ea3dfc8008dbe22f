"""Objects that are carried to the next plane of a stack by a model that remembers the planes before.

A client asks plane by plane. The first call, about the plane where the outlines are right, begins the memories; each
answer has a token that names the memory after its plane, and the next plane's request brings it back. Where there is no
memory (a model without one, a token that was dropped, an object that has left the window that is remembered), the
outline is refined as any other (`qupath_sam.engine.refine`), and a memory begins with the answer.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import shapely
from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.engine.refine import RefineContext, judged, kept_as_it_is, not_asked, outline_of
from qupath_sam.engine.refine_guards import old_refusal
from qupath_sam.engine.refine_options import RefineOptions
from qupath_sam.machine.byte_lru import ByteLru
from qupath_sam.models.tracking import MemoryBank
from qupath_sam.polygons.distance import rasterize
from qupath_sam.types.masks import Mask
from qupath_sam.types.regions import Window
from qupath_sam.types.requests import ObjectRequest
from qupath_sam.types.results import ObjectResult

#: Name, digest of the weights and preprocessing version of a model.
ModelKey = tuple[str, str, str]
_TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """An object's memory after a plane.

    Attributes:
        model: whose bank it is.
        window: that all of its planes were seen in.
        bank: the model's.
    """

    model: ModelKey
    window: Window
    bank: MemoryBank


class MemoryBanks:
    """Memories by their tokens; what was used longest ago gives way. Safe to use from several threads.

    Args:
        max_bytes: of all together. A bank counts whole, also where it shares planes with another one.
    """

    def __init__(self, max_bytes: int) -> None:
        self._held: ByteLru[bytes, Remembered] = ByteLru(max_bytes)
        self._lock = threading.Lock()

    def get(self, token: bytes) -> Remembered | None:
        """Return the memory that a token names; None where it is not held."""
        with self._lock:
            return self._held.get(token)

    def keep(self, token: bytes, remembered: Remembered) -> None:
        """Hold a memory."""
        with self._lock:
            self._held.put(token, remembered, remembered.bank.size_bytes)

    def resize(self, max_bytes: int) -> None:
        """Change the bound."""
        with self._lock:
            self._held.resize(max_bytes)

    def clear(self) -> None:
        """Hold nothing; objects go on as those without a memory do."""
        with self._lock:
            self._held.clear()

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._held.size_bytes


class TracksPlane(Protocol):
    """A running call about one plane, of a model with a memory."""

    @property
    def model(self) -> ModelKey:
        """The model: memories of another one are of no use."""
        ...

    @property
    def image(self) -> str:
        """Fingerprint of the plane's pixels."""
        ...

    def first_window(self, outline: Polygon | MultiPolygon, *, margin_share: float) -> Window:
        """Return the window that the outline (level-0 px) and a margin round it are looked at in."""
        ...

    def still_fits(self, outline: Polygon | MultiPolygon, window: Window) -> bool:
        """Return whether the object can be looked for in a window that its planes before were seen in."""
        ...

    def remember(self, window: Window, mask: Mask) -> MemoryBank:
        """Begin a memory with a mask (bool, window px) on this plane."""
        ...

    def track(self, item: ObjectRequest, window: Window, bank: MemoryBank) -> tuple[ObjectResult, MemoryBank]:
        """Find the object on this plane; the result has no verdict yet."""
        ...


def begin_tracking(
    objects: Sequence[ObjectRequest],
    options: RefineOptions,
    context: RefineContext,
    call: TracksPlane | None,
    banks: MemoryBanks,
) -> list[ObjectResult]:
    """Begin memories with outlines, which come back as they are; tokens are empty where the model has no memory.

    Args:
        objects: with an outline each, and no other prompts.
        options: how the outlines will be refined.
        context: of the image and the model.
        call: None where the model has no memory.
        banks: where memories are held.

    Raises:
        InvalidPrompt: an object has no outline, or other prompts beside it.
    """
    outlines = [outline_of(item) for item in objects]
    results = []
    for item, outline in zip(objects, outlines, strict=True):
        refusal = old_refusal(outline, locked=False, extent=context.extent)
        if refusal is not None:
            results.append(not_asked(item, outline, refusal))
            continue
        token = b""
        if call is not None:
            window = call.first_window(outline, margin_share=options.prompts.box_margin)
            token = _begun(outline, window, call, banks)
        results.append(replace(kept_as_it_is(item, outline, context), token=token))
    return results


def track_objects(
    objects: Sequence[ObjectRequest],
    options: RefineOptions,
    context: RefineContext,
    call: TracksPlane,
    banks: MemoryBanks,
    refine: Callable[[Sequence[ObjectRequest]], list[ObjectResult]],
) -> list[ObjectResult]:
    """Find objects on a plane, those with a memory by it; each result has a verdict, and those that go on a token.

    Args:
        objects: with an outline each, that of the plane before, and the token of its answer.
        options: what the new outlines have to fulfil.
        context: of the image and the model.
        call: about the plane.
        banks: where memories are held.
        refine: answers objects without a memory; is called once at most.

    Raises:
        InvalidPrompt: an object has no outline, or other prompts beside it.
    """
    outlines = [outline_of(item) for item in objects]
    results: dict[int, ObjectResult] = {}
    for index, (item, outline) in enumerate(zip(objects, outlines, strict=True)):
        remembered = banks.get(item.token)
        if remembered is None or remembered.model != call.model or not call.still_fits(outline, remembered.window):
            continue
        found, bank = call.track(item, remembered.window, remembered.bank)
        if found.touches_window_edge:
            # It leaves the window: refining chooses another one.
            continue
        result = judged(found, outline, options.guards, context)
        if result.outlines:
            token = _token(call, item.token, shapely.to_wkb(result.outlines[0].geometry))
            banks.keep(token, replace(remembered, bank=bank))
            result = replace(result, token=token)
        results[index] = result
    rest = [index for index in range(len(objects)) if index not in results]
    for index, result in zip(rest, refine([replace(objects[i], token=b"") for i in rest]) if rest else (), strict=True):
        token = _begun(result.outlines[0].geometry, result.window, call, banks) if result.outlines else b""
        results[index] = replace(result, token=token)
    return [results[index] for index in range(len(objects))]


def _begun(outline: Polygon | MultiPolygon, window: Window, call: TracksPlane, banks: MemoryBanks) -> bytes:
    """Begin a memory; returns its token."""
    mask = _mask_over(outline, window)
    token = _token(call, b"", shapely.to_wkb(outline))
    banks.keep(token, Remembered(call.model, window, call.remember(window, mask)))
    return token


def _mask_over(outline: Polygon | MultiPolygon, window: Window) -> Mask:
    region = window.region
    scale = (window.width / region.width, window.height / region.height)
    inside = shapely.transform(outline, lambda points: (points - (region.x, region.y)) * scale)
    return rasterize(inside, 0, 0, window.width, window.height)


def _token(call: TracksPlane, before: bytes, outline_wkb: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_TOKEN_BYTES)
    for part in (*(each.encode() for each in (*call.model, call.image)), before, outline_wkb):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()
