"""Which commit of Surefoot this is."""

from __future__ import annotations

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


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], capture_output=True, text=True, check=True
    ).stdout.strip()
