"""Errors that a user can act on: each is one line that says what was found and what is allowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class SurefootError(Exception):
    """Base of every error raised on purpose; the command prints it without traceback."""


class RobotFileError(SurefootError, ValueError):
    """A robot.toml that is unreadable, incomplete or contradictory."""


class PolicyError(SurefootError, ValueError):
    """A policy file that is broken, or that belongs to another robot or format."""


class NonFiniteError(SurefootError, ValueError):
    """A NaN or an infinity where a number was due; refused before anything is clamped."""


class DeviceError(SurefootError, OSError):
    """A serial port, motor or IMU that is missing, busy, silent or not as robot.toml says."""


class EnableRefused(DeviceError):
    """A motor cannot be given torque: it reports an error, or torque is on already."""


class UsageError(SurefootError, ValueError):
    """An argument that cannot be used as given."""


class Diverged(SurefootError, ArithmeticError):
    """What was learned is no longer finite."""


class LogError(SurefootError, ValueError):
    """A log that cannot be started, or cannot be read."""


class RenderError(SurefootError, RuntimeError):
    """This machine has no way to render."""


def first_line(error: BaseException) -> str:
    """What a library's error says, for a message of one line; without ONNX Runtime's own codes."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |\s*/onnxruntime_src/\S+", "", line)


def require_finite(**arrays: np.ndarray) -> None:
    """Raise `NonFiniteError` naming the first array, of any shape, that holds a NaN or infinity."""
    import numpy as np  # here, so that `surefoot --help` need not wait for it

    for name, array in arrays.items():
        finite = np.isfinite(array)
        if not finite.all():
            bad = np.argwhere(~np.atleast_1d(finite))[0]
            found = np.atleast_1d(array)[tuple(bad)]
            raise NonFiniteError(f"{name}{bad.tolist()}: found {found}, allowed is a finite number")
