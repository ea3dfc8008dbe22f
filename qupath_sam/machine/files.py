"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(
    path: Path, *, mode: int = 0o666, durable: bool = False, keep_access: bool = False
) -> Iterator[BinaryIO]:
    """Open a new file for writing, which takes the place of ``path`` when the block ends.

    Until then, and where the block raises, ``path`` is what it was. Two writers of one path do not meet: each has a
    hidden file of its own in the same folder, and the last one wins. Project files are not written like this, but
    through `project.store.filesystem`, whose journal knows what a crash has left.

    Args:
        path: in a folder that exists.
        mode: permissions of the new file, less the umask. ``0o600`` for secrets.
        durable: force the contents to disk first, so that a power cut leaves the old or the new ones.
        keep_access: leave the file to those who have it: owner, group and what the group may do stay. For files that
            an administrator replaces and a service's account reads.

    Raises:
        OSError: the file cannot be written there; nothing is left behind.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    # Not mkstemp, whose files only their owner may read.
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if keep_access:
                _pass_access_on(path, part)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _pass_access_on(old: Path, new: Path) -> None:
    """Give a new file the owner and the group of the one that it replaces, and the group's permissions.

    Who may not change the owner keeps the new file's own; a group that it could not get gets no permission either.
    """
    chown = getattr(os, "chown", None)  # Windows passes access on by the folder
    if chown is None:
        return
    try:
        known = old.stat()
    except OSError:  # there is none
        return
    for owner in (known.st_uid, -1):
        with suppress(OSError):
            chown(new, owner, known.st_gid)
            break
    made = new.stat()
    if made.st_gid == known.st_gid:
        new.chmod(stat.S_IMODE(made.st_mode) & ~stat.S_IRWXG | known.st_mode & stat.S_IRWXG)
