"""What the verbs need of the terminal and of the files that they are about to write."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..models.errors import UsageError


def open_console() -> Console:
    """A console for any words: rich would take `[rad]`, and such parts of a path, for markup."""
    return Console(markup=False, highlight=False)


def command() -> str:
    """How to call this program from here: 'surefoot', or its path where no shell finds that."""
    script = Path(sys.executable).parent / "surefoot"
    if shutil.which("surefoot") or not script.exists():
        return "surefoot"
    return shown(script)


def confirmed(console: Console, warning: str, question: str) -> bool:
    """Whether a person types yes. Raises UsageError where no terminal is there to type at."""
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes: this is no terminal; --yes answers instead")
    console.print(Text.assemble((f"{warning} ", "bold"), question))
    try:
        return console.input("Type yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False


def shown(path: Path) -> str:
    """A path as it may be typed here: relative where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def require_file(path: Path, flag: str, endings: tuple[str, ...] = ()) -> None:
    """Raise UsageError, before any work is done for it, where no file `path` can be written."""
    if endings and path.suffix not in endings:
        raise UsageError(f"{flag}: found {path.name}, allowed are {', '.join(endings)}")
    if path.is_dir():
        raise UsageError(f"{flag}: found a folder {path}, allowed is a file")
    if not path.parent.is_dir():
        raise UsageError(f"{flag}: there is no folder {path.parent}")
    new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror}") from None
    if new:
        path.unlink()


def require_folder(path: Path, flag: str) -> None:
    """Raise UsageError where `path` is no folder that can be written to, nor can become one."""
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UsageError(f"{flag}: found a file {nearest}, allowed is a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{flag} {path}: {nearest} cannot be written to")
