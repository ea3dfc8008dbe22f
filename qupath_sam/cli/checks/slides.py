"""The libraries that read slides, and one slide read with them."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from collections.abc import Iterator

from qupath_sam.cli.checks.findings import Finding, State
from qupath_sam.errors import QupathSamError
from qupath_sam.types.regions import Window


def readers() -> Iterator[Finding]:
    """Check tifffile and its decoders, which everybody needs, and openslide for the formats it alone reads."""
    for module, distribution in (("tifffile", "tifffile"), ("imagecodecs", "imagecodecs")):
        version, error = _loaded(module, distribution)
        if error:
            remedy = f"`pip install --force-reinstall {distribution}`"
            yield Finding("slide readers", State.PROBLEM, f"{distribution} does not load: {error}", remedy)
        else:
            yield Finding("slide readers", State.OK, f"{distribution} {version}")
    version, error = _loaded("openslide", "openslide-python")
    if error:
        said = "openslide is not installed: MRXS, VMS and other formats that are no TIFF can only be pushed"
        yield Finding("slide readers", State.WARNING, said, "`pip install qupath-sam[openslide]` for such slides")
    else:
        yield Finding("slide readers", State.OK, f"openslide-python {version}")


def slide(location: str | None) -> Iterator[Finding]:
    """Check that a slide opens and its pixels can be read."""
    from qupath_sam.assets import demo_slide_path
    from qupath_sam.slides.open import open_slide

    started = time.perf_counter()
    try:
        reader = open_slide(location if location is not None else demo_slide_path())
        try:
            info = reader.info
            reader.read(Window.of(info.extent, max(1.0, max(info.extent.width, info.extent.height) / 512)))
        finally:
            reader.close()
    except QupathSamError as error:
        message, _, remedy = str(error).rpartition("; ")
        yield Finding("slide", State.PROBLEM, message or str(error), remedy or "check path and permissions")
        return
    milliseconds = 1000 * (time.perf_counter() - started)
    said = (
        f"{location or 'the demo slide'}: {info.width} x {info.height} px, {len(info.levels)} levels, "
        f"{f'{info.mpp:g} µm/px' if info.mpp else 'no pixel size'}, {info.reader}, overview in {milliseconds:.0f} ms"
    )
    said += "".join(f"; {remark}" for remark in info.remarks)
    if info.mpp is None:
        why = f" ({info.mpp_remark})" if info.mpp_remark else ""
        remedy = "set the pixel size in QuPath, or work with --downsample instead of --mpp"
        yield Finding("slide", State.WARNING, said + why, remedy)
    else:
        yield Finding("slide", State.OK, said)


def _loaded(module: str, distribution: str) -> tuple[str, str]:
    """Return a version and no error, or no version and why it does not load."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:  # a missing shared library is an OSError
        return "", str(error) or type(error).__name__
    return importlib.metadata.version(distribution), ""
