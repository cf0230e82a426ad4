"""Surefoot: from simulation to a sure-footed robot."""

from .models.errors import SurefootError

__all__ = ["SurefootError"]
__version__ = "0.1.0"
