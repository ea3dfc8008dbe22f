"""The command ``qupath-sam``: parse, call, print. What a command needs is imported when it runs."""

from __future__ import annotations

import sys

from qupath_sam.machine.threads import prepare_process


def main() -> None:
    """Run the command line; errors of this package end in one line and exit code 2."""
    # Before torch is loaded, by whatever command: see qupath_sam.machine.threads.
    prepare_process()
    from qupath_sam.cli.app import app
    from qupath_sam.errors import QupathSamError

    try:
        app()
    except (QupathSamError, OSError) as error:
        # An OSError that reaches this place came from writing what was asked for: a full disk, a folder that is gone.
        print(f"qupath-sam: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
