"""Files that a command will write: looked at before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from qupath_sam.errors import InvalidRequest


def check_target(path: Path | None, *, suffix: str | None = None, make_folder: bool = False) -> None:
    """See that a file can be written.

    Args:
        path: of the file; None is not written.
        suffix: that it must have.
        make_folder: whether its folder is made where it is missing.

    Raises:
        InvalidRequest: it cannot.
    """
    if path is None:
        return
    if suffix is not None and path.suffix.lower() != suffix:
        raise InvalidRequest(f"{path} must end in {suffix}; rename it")
    if make_folder:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"the folder of {path} cannot be made ({error}); choose another") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InvalidRequest(f"{path} cannot be written: choose a file in a folder that exists and may be written to")
