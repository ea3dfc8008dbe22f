"""What works on this machine, and what to do about what does not. Nothing is downloaded or started."""

from qupath_sam.doctor.examination import examine
from qupath_sam.doctor.findings import Finding, State

__all__ = ["Finding", "State", "examine"]
