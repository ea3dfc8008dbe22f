"""``python -m qupath_sam`` is the command ``qupath-sam``."""

from qupath_sam.cli import main

if __name__ == "__main__":
    main()
