"""How good a policy is on a task of Gymnasium's: deterministic episodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .envs import Envs

LONGEST = 100_000  # steps: a task without a time limit must not keep anyone waiting for ever


@torch.no_grad()
def episode_returns(policy: Callable[[Tensor], Tensor], envs: Envs) -> np.ndarray:
    """Undiscounted returns of the first episode of each environment, with the policy's mean action.

    One episode of each, so that short ones don't count more often. Shape (N,).
    """
    returns = np.zeros(envs.num_envs)
    running = np.ones(envs.num_envs, bool)
    for _ in range(LONGEST):
        step = envs.step(policy(torch.as_tensor(envs.obs, dtype=torch.float32)).numpy())
        returns += np.where(running, step.reward, 0.0)
        running &= ~step.done
        if not running.any():
            break
    return returns
