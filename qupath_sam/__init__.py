"""Click-to-annotation for whole-slide pathology.

Importing this package starts nothing: no JVM, thread, GPU or download. The parts are imported by name,
for example ``from qupath_sam.client import SamClient``.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
