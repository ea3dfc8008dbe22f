"""Which extra of this package brings a module that is not installed.

The core is the client alone: gRPC, numpy and shapely. All else comes by extras, and what needs one of them names it.
"""

from __future__ import annotations

#: Top-level modules by the extra that brings them.
_MODULES = {
    "openvino": ("openvino",),
    "project": ("paquo", "jpype"),
    "ray": ("ray",),
    "server": (
        *("torch", "torchvision", "segment_anything", "safetensors"),
        *("tifffile", "tiffslide", "zarr", "imagecodecs", "fsspec", "PIL", "scipy"),
        *("grpc_reflection", "cryptography", "typer", "rich", "httpx", "httpcore", "platformdirs", "psutil"),
        "prometheus_client",
    ),
    "transformers": ("transformers", "timm"),
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Return what to say of a module that is not there, with the line that mends it; None where no extra brings it."""
    module = (error.name or "").partition(".")[0]
    extra = next((name for name, modules in _MODULES.items() if module in modules), None)
    if extra is None:
        return None
    return f"this needs {module}, which is not installed; run: pip install 'qupath-sam[{extra}]'"
