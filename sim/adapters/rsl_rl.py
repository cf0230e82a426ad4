"""A robot's task as rsl_rl wants it. Needs `pip install rsl-rl-lib`."""

from __future__ import annotations

from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from ...models.errors import UsageError
from ..robot_env import RobotEnv


class RslRlEnv(VecEnv):
    """N robots at a task. The groups: `policy` is the actor's observation, `critic` the privileged.

    Actions go to the task as they are, unbounded: its limiter bounds the joint targets. The
    runner's `obs_groups` are `{"actor": ["policy"], "critic": ["critic"]}`.
    """

    def __init__(self, env: RobotEnv, seed: int | None = None) -> None:
        self.env = env
        self.num_envs = env.num_envs
        self.num_actions = len(env.robot.joints)
        self.max_episode_length = env.episode_ticks
        self.device = "cpu"
        self.cfg = {"task": type(env).__name__, "robot": env.robot.name, "num_envs": env.num_envs}
        self.obs, _ = env.reset(seed=seed)

    @property
    def episode_length_buf(self) -> torch.Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Steps since each episode began. Shape (N,), int64."""
        return torch.from_numpy(self.env.ticks.copy())

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        raise UsageError(
            "init_at_random_ep_len: found True, allowed is False: the gait has a clock"
        )

    def get_observations(self) -> TensorDict:
        """The present ones: (N, D) and (N, P), float32."""
        groups = {"policy": self.obs, "critic": self.env.privileged}
        return TensorDict(
            {name: torch.from_numpy(array) for name, array in groups.items()},
            batch_size=[self.num_envs],
        )

    def step(
        self, actions: torch.Tensor
    ) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Observations, rewards (N,), dones (N,) and extras, under `actions` (N, n).

        In the extras `time_outs` (N,) says where only the clock ended an episode, and `log` holds
        means over the episodes that ended.
        """
        self.obs, reward, terminated, truncated, infos = self.env.step(actions.cpu().numpy())
        done = terminated | truncated
        extras: dict[str, Any] = {"time_outs": torch.from_numpy(truncated & ~terminated)}
        if done.any():
            means = {name: float(v[done].mean()) for name, v in infos["statistics"].items()}
            extras["log"] = means
        dones = torch.from_numpy(done).long()
        return self.get_observations(), torch.from_numpy(reward), dones, extras
