"""Write catalog.json, by which QuPath 0.6 and newer install and update the extension, for a release that is there.

The file stands in the repository's root; people give QuPath the repository's address (Extensions > Manage extensions >
Manage catalogs). QuPath reads it by `qupath.ext.extensionmanager.core.model.CatalogModel`: the same rules hold here.

Usage, once a release has its jar: python -m tools.catalog https://github.com/OWNER/NAME/releases/download/vX.Y.Z/FILE.jar
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from qupath_sam import __version__

FILE = Path(__file__).resolve().parents[1] / "catalog.json"
#: QuPath takes releases from GitHub alone, under names such as v0.1.0 or v0.1.0-rc1.
ASSET = re.compile(
    r"https://github\.com/([\w.-]+/[\w.-]+)/releases/download/(v\d+\.\d+\.\d+(?:-rc\d+)?)/[\w.-]+\.(?:jar|zip)"
)
#: The first QuPath with catalogues.
OLDEST_QUPATH = "v0.6.0"


def with_release(catalog: dict[str, Any] | None, url: str, *, version: str = __version__) -> dict[str, Any]:
    """Return a catalogue with one more release, newest first, or with another jar for one that it has.

    Args:
        catalog: as it was; None begins one.
        url: of the release's jar.
        version: of this repository; a release of another version is refused.

    Raises:
        ValueError: QuPath would not take the URL, or the release is of another version or repository.
    """
    match = ASSET.fullmatch(url)
    if match is None:
        raise ValueError(
            f"{url!r} is no jar of a release; give https://github.com/OWNER/NAME/releases/download/vX.Y.Z/FILE.jar"
        )
    repository, release = match.groups()
    if release.split("-")[0] != f"v{version}":
        raise ValueError(f"{url} is of {release}, this repository of v{version}; check out that release's tag")
    homepage = f"https://github.com/{repository}"
    extension = {
        "name": "SAM",
        "description": "Outlines objects from clicks, boxes and rough outlines, and all objects of a region, "
        "with SAM models on a qupath-sam server.",
        "author": "qupath-sam maintainers",
        "homepage": homepage,
        "starred": False,
        "releases": [],
    }
    if catalog is not None:
        (extension,) = catalog["extensions"]
        if extension["homepage"] != homepage:
            raise ValueError(
                f"the catalogue is of {extension['homepage']}, the jar of {homepage}; remove catalog.json first"
            )
    entry = {"name": release, "main_url": url, "version_range": {"min": OLDEST_QUPATH}}
    older = [known for known in extension["releases"] if known["name"] != release]
    return {
        "name": "qupath-sam",
        "description": "SAM models for QuPath.",
        "extensions": [{**extension, "releases": [entry, *older]}],
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the file; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.catalog", description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the release's jar on GitHub")
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    catalog = json.loads(options.file.read_text("utf-8")) if options.file.exists() else None
    try:
        catalog = with_release(catalog, options.url)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options.file.write_text(json.dumps(catalog, indent=2) + "\n", "utf-8")
    names = ", ".join(entry["name"] for entry in catalog["extensions"][0]["releases"])
    sys.stdout.write(f"{options.file}: {names}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
