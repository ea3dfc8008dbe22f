"""The command ``qupath-sam``: parse, call, print. What a command needs is imported when it runs."""

from __future__ import annotations

import atexit
import gc
import sys

from qupath_sam.cli.hangup import hangup_event
from qupath_sam.errors import QupathSamError
from qupath_sam.machine.extras import missing_extra


def _leave_garbage() -> None:
    """End without a search for garbage in all objects of torch, which takes a busy machine seconds.

    Triton, which torch loads to compile for a GPU, prints all objects that it misses then.
    """
    if "triton" not in sys.modules:
        gc.freeze()


def main() -> None:
    """Run the command line; errors of this package end in one line and exit code 2."""
    atexit.register(_leave_garbage)
    # `systemctl reload` may come at once: before the command itself is imported.
    reloading = hangup_event() if sys.argv[1:2] == ["serve"] else None
    try:
        # Before torch is loaded, by any command: see qupath_sam.machine.threads.
        from qupath_sam.machine.threads import prepare_process

        prepare_process()
        from qupath_sam.cli.app import app

        app(obj=reloading)
    except ModuleNotFoundError as error:
        said = missing_extra(error)
        if said is None:
            raise
        _end(said)
    except (QupathSamError, OSError) as error:
        # An OSError that reaches this place came from writing what was asked for: a full disk, a folder that is gone.
        _end(str(error))


def _end(message: str) -> None:
    print(f"qupath-sam: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
