"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o666, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a new file for writing, which takes the place of ``path`` when the block ends.

    Until then, and where the block raises, ``path`` is what it was. Two writers of one path do not meet: each has a
    hidden file of its own in the same folder, and the last one wins. Project files are not written like this, but
    through `project.store.filesystem`, whose journal knows what a crash has left.

    Args:
        path: in a folder that exists.
        mode: permissions of the new file, less the umask. ``0o600`` for secrets.
        durable: force the contents to disk first, so that a power cut leaves the old or the new ones.

    Raises:
        OSError: the file cannot be written there; nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    # Not mkstemp, whose files only their owner may read.
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
