"""Where ``qupath-sam embed`` has windows encoded: into a folder, or on a server, behind the people who click there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qupath_sam.engine.windows import Scales
from qupath_sam.slides.base import SlideReader
from qupath_sam.types.regions import Window
from qupath_sam.types.requests import WindowRequest
from qupath_sam.types.service import EmbedMode

if TYPE_CHECKING:
    from qupath_sam.client import Access, SamClient, Slide
    from qupath_sam.client.local import LocalClient


class EmbedTarget(Protocol):
    """Encodes windows of one slide, each once."""

    scales: Scales

    def ready(self, windows: Sequence[Window]) -> set[Window]:
        """Return those that are encoded already."""
        ...

    def encode(self, window: Window) -> None:
        """Encode one."""
        ...


class _Folder:
    def __init__(self, local: LocalClient, reader: SlideReader) -> None:
        self._local = local
        self._reader = reader
        self.scales = local.engine.scales(reader.info)

    def ready(self, windows: Sequence[Window]) -> set[Window]:
        return {status.window for status in self._local.engine.embedded(self._reader, windows) if status.ready}

    def encode(self, window: Window) -> None:
        self._local.engine.embed(self._reader, [window])


class _Server:
    def __init__(self, client: SamClient, slide: Slide, scales: Scales, model: str) -> None:
        self._client = client
        self._slide = slide
        self._model = model
        self.scales = scales

    def ready(self, windows: Sequence[Window]) -> set[Window]:
        return {window for window in windows if self._ask(window, EmbedMode.QUERY)}

    def encode(self, window: Window) -> None:
        self._ask(window, EmbedMode.WAIT)

    def _ask(self, window: Window, mode: EmbedMode) -> bool:
        wanted = WindowRequest(region=window.region, downsample=window.downsample)
        return self._client.embed(self._slide, model=self._model, window=wanted, mode=mode)[0].ready


@contextmanager
def embed_into(folder: Path, reader: SlideReader, *, model: str, device: str, gib: int) -> Iterator[EmbedTarget]:
    """Encode in this process; the folder has the embeddings when the block ends."""
    from qupath_sam.client.local import LocalClient
    from qupath_sam.engine.settings import MIB, EngineSettings

    limit = gib * 1024 * MIB
    settings = EngineSettings(model=model, device=device, embedding_folder=folder, embedding_folder_bytes=limit)
    with LocalClient(settings) as local:
        yield _Folder(local, reader)


@contextmanager
def embed_on(address: str, access: Access, reader: SlideReader, slide: Slide, *, model: str) -> Iterator[EmbedTarget]:
    """Have a server encode a slide that it sees as this machine does, when no person waits for it.

    Raises:
        UnknownModel: the model is not one of this version of the package, which knows its windows.
    """
    from qupath_sam.client import SamClient
    from qupath_sam.client.sam import PATIENT_PAUSES_S
    from qupath_sam.models.weights.store import ModelStore

    with SamClient(address, access=access, batch=True, busy_pauses_s=PATIENT_PAUSES_S) as client:
        name = model or client.capabilities().default_model
        spec = ModelStore().find(name)
        scales = Scales.of(
            extent=reader.info.extent,
            mpp=reader.info.mpp,
            input_size=spec.capabilities.input_size,
            default_mpp=spec.default_mpp,
            finest_downsample=reader.info.finest_downsample,
        )
        yield _Server(client, slide, scales, name)
