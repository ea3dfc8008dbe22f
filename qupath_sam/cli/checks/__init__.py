"""What works on this machine, and what to do about what does not. Nothing is downloaded or started."""

from qupath_sam.cli.checks.examination import examine
from qupath_sam.cli.checks.findings import Finding, State

__all__ = ["Finding", "State", "examine"]
