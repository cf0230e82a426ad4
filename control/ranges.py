"""What hyperparameters may be: figures that nothing can be learned with are refused at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from ..models.errors import UsageError

if TYPE_CHECKING:
    from .ppo import PPOConfig
    from .sac import SACConfig

AT_LEAST_ONE = (
    "num_envs",
    "horizon",
    "epochs",
    "num_minibatches",
    "updates_per_step",
    "batch_size",
    "n_step",
)
AT_LEAST_ZERO = (
    "final_learning_rate",
    "entropy_coefficient",
    "learning_starts",
    "hindsight",
    "initial_temperature",
    "final_temperature",
    "critic_warm_up",
)
SEEDS = 2**31  # what every library's generator takes
ABOVE_ZERO = ("learning_rate", "clip", "max_grad_norm", "initial_std")


def require_possible(
    config: PPOConfig | SACConfig, seed: int = 0, shown: Callable[[str], str] = lambda name: name
) -> None:
    """Raise UsageError for what is out of its range, named as `shown` writes it."""
    if not 0 <= seed < SEEDS:
        raise UsageError(f"{shown('seed')}: found {seed}, allowed is 0 to {SEEDS - 1}")
    for name in (field.name for field in fields(config)):
        found = getattr(config, name)
        if (allowed := _allowed(name, found)) is not None:
            words = " ".join(map(str, found)) if isinstance(found, tuple) else found
            raise UsageError(f"{shown(name)}: found {words}, allowed is {allowed}")


def _allowed(name: str, found: float | tuple[int, ...]) -> str | None:
    """What a value should have been; None where it is possible. NaN is in no range."""
    if isinstance(found, tuple):
        return None if all(width >= 1 for width in found) else "widths of 1 or more"
    if name in AT_LEAST_ONE:
        return None if found >= 1 else "1 or more"
    if name in AT_LEAST_ZERO:
        return None if 0 <= found < float("inf") else "0 or more"
    if name in ABOVE_ZERO:
        return None if 0 < found < float("inf") else "a number > 0"
    if name in ("gamma", "gae_lambda"):
        return None if 0 <= found <= 1 else "0 to 1"
    if name == "tau":
        return None if 0 < found <= 1 else "a number > 0, at most 1"
    if name == "buffer_size":
        return None if found >= 2 else "2 or more"
    return None
