"""What a figure or a bit depends on besides its inputs: commit, versions, processor."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path


def commit() -> str:
    """The repository's commit, with + where the tree differs from it; '' outside a repository."""
    here = Path(__file__).resolve().parent
    try:
        root = _git("-C", str(here), "rev-parse", "--show-toplevel")
        if Path(root) != here.parent:  # Surefoot is installed inside somebody else's repository
            return ""
        return _git("-C", root, "describe", "--always", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed, by name, and Python's."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def processor() -> str:
    """The processor's model: another one may round a matrix product otherwise."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], capture_output=True, text=True, check=True
    ).stdout.strip()
