"""The engine in this process, with the face of the gRPC client: for commands that run without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qupath_sam.client.images import Slide
from qupath_sam.client.parts import in_parts
from qupath_sam.engine.refine import RefineOptions
from qupath_sam.engine.settings import EngineSettings, build_engine
from qupath_sam.slides.base import SlideReader
from qupath_sam.slides.builder import parse_builder
from qupath_sam.slides.cache import SlideCache
from qupath_sam.slides.wrapped import calibrated
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import Prediction


class LocalClient:
    """Segments slides in this process. Use as a context manager, or call `close`."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self.engine = build_engine(settings or EngineSettings())
        self.slides = SlideCache()

    def close(self) -> None:
        """Stop the inference thread and close the slides."""
        self.engine.close()
        self.slides.close_all()

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def open(self, image: Slide) -> Iterator[SlideReader]:
        """Borrow the reader of a slide, as the server would for a request about it."""
        text = str(image.location)
        rendered = image.rendering is not None
        source = parse_builder(text, rendered=rendered) if text.lstrip().startswith("{") else image.location
        options = {"z": image.z, "t": image.t}
        with self.slides.open(source, expected_size=image.size, rendering=image.rendering, **options) as slide:
            yield calibrated(slide, image.mpp)

    def predict(
        self,
        image: Slide,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
    ) -> Prediction:
        """As `qupath_sam.client.SamClient.predict`."""
        requests = [item if isinstance(item, ObjectRequest) else ObjectRequest(item) for item in objects]
        with self.open(image) as reader:

            def ask(part: Sequence[ObjectRequest]) -> Prediction:
                return self.engine.predict(reader, part, model=model, window=window, output=output, refine=refine)

            return in_parts(requests, ask, most=max(1, self.engine.max_objects))
