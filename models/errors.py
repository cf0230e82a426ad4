"""Errors that a user can act on: each is one line that says what was found and what is allowed."""


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


class UsageError(SurefootError, ValueError):
    """An argument of the command line that cannot be used as given."""
