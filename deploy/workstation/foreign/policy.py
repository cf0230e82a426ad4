"""What a policy of another library is, and the proof that it is the same function.

PPO and SAC of Stable-Baselines3, PPO of rsl_rl. Each becomes a module that maps observations (N, D)
to actions (N, n) in the task's units, normaliser and bounds inside, and is compared with the
library's own answers all along a rollout before anything is written.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ....models.errors import PolicyError
from ....models.observation import width
from ....models.task import DeployableTask
from ...contract import TOLERANCE
from .files import BROKEN, table_of

Kind = Literal["Surefoot", "Stable-Baselines3", "rsl_rl"]
CHECK_TICKS = 250


@dataclass(frozen=True)
class Foreign:
    """Another library's policy, twice: as it will be exported and as that library computes it."""

    actor: nn.Module  # observations (N, D) → actions (N, n), float32
    predict: Callable[[np.ndarray], np.ndarray]  # the same on arrays, by the library itself
    training: dict[str, Any]  # for the contract: whence it came


def kind_of(path: Path) -> Kind:
    """Whose a checkpoint is, by what it holds; whatever is no other's counts as Surefoot's.

    Runs no code from the file.
    """
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return "Surefoot"
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
        if {"data", "policy.pth"} <= names:
            return "Stable-Baselines3"
        table = table_of(torch.load(path, map_location="cpu", weights_only=True))
    except BROKEN:
        return "Surefoot"
    parts = {"actor_state_dict", "model_state_dict"}  # the latter before rsl_rl 4
    return "rsl_rl" if parts & set(table) else "Surefoot"


def columns_of(task: DeployableTask) -> int:
    """D, of the task's observation."""
    return task.history * width(task.terms, task.robot, len(task.commands))


@torch.no_grad()
def require_same(foreign: Foreign, task: DeployableTask, seed: int = 0) -> None:
    """Drive `task` with the library's own actions and compare the module's at every tick.

    Raises:
        PolicyError: they differ by more than 1e-5 somewhere, or are not finite.
    """
    actor = foreign.actor.eval()
    obs, _ = task.reset(seed=seed)
    for tick in range(CHECK_TICKS):
        expected = foreign.predict(obs)
        error = float(np.abs(actor(torch.from_numpy(obs)).numpy() - expected).max())
        if not error <= TOLERANCE:
            raise PolicyError(
                f"export: the policy and the original network of {foreign.training['library']} "
                f"differ by {error:.3g} at tick {tick}, allowed is {TOLERANCE:g}"
            )
        obs = task.step(expected)[0]
