"""Tests of the evaluation need scipy, which is to be a dependency of the package; without it they are left out."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("scipy") else ["test_*.py"]
