"""What the readers of other libraries' files have in common."""

from __future__ import annotations

import importlib
import math
import pickle
import zipfile
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ....models.errors import UsageError, first_line

# What a file that is damaged, or of other versions, may raise where it is unpickled.
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ImportError,
    OSError,
    RuntimeError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


def import_library(module: str, package: str) -> ModuleType:
    """A library that Surefoot itself does not need. Raises UsageError where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{package} cannot be imported ({first_line(error)}), and its own network is what the "
            f"export is checked with: pip install {package}"
        ) from None


def table_of(value: Any) -> Mapping[str, Any]:
    """What should be a table, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def plain(value: Any) -> Any:
    """As JSON can hold it; what it cannot, in words."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)
