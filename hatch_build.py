"""Builds the Java client for QuPath into the wheel, where Maven and a JDK are at hand.

An editable installation needs neither: there the jar is taken from ``groovy/client/target`` once it is built.
Set QUPATH_SAM_JAR=require to fail instead of making a wheel without the jar (releases do), or QUPATH_SAM_JAR=skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

JAR = Path("groovy/client/target/qupath-sam-client.jar")


class QupathFilesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the jar and the scripts to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the jar before hatchling collects files; ``version`` is "standard" or "editable"."""
        if self.target_name != "wheel" or version == "editable":
            return
        root = Path(self.root)
        included = build_data["force_include"]
        for script in sorted((root / "groovy" / "scripts").glob("*.groovy")):
            included[str(script)] = f"qupath_sam/assets/qupath/scripts/{script.name}"
        wanted = os.environ.get("QUPATH_SAM_JAR", "")
        if wanted != "skip" and self._build(root, required=wanted == "require"):
            included[str(root / JAR)] = f"qupath_sam/assets/qupath/{JAR.name}"

    def _build(self, root: Path, *, required: bool) -> bool:
        maven = shutil.which("mvn")
        if maven is None or (shutil.which("javac") is None and "JAVA_HOME" not in os.environ):
            told = "no Maven or no JDK: the wheel will carry no client jar for QuPath"
        else:
            command = [maven, "-q", "-B", "-f", str(root / "groovy" / "client" / "pom.xml"), "package", "-DskipTests"]
            if subprocess.run(command, stdout=sys.stderr).returncode == 0 and (root / JAR).is_file():
                return True
            told = "Maven could not build groovy/client: the wheel will carry no client jar for QuPath"
        if required:
            raise RuntimeError(told)
        self.app.display_warning(told)
        return False
