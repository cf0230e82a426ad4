"""Replayed transitions of N environments: n-step returns, hindsight, and a copy on disk.

Row t of the arrays is one step of all environments; a ring of rows, the oldest overwritten. In the
run's folder lies the same, in files of the rows between one checkpoint and the next: a file is
written once and never changed, so a checkpoint costs its own rows only, and whatever is being
written when a machine stops, all that the last checkpoint refers to is whole.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.errors import UsageError
from .checkpoint import sync_folder
from .envs import Envs, Goal, Step
from .returns import n_step

FOLDER = "replay"


class Batch(NamedTuple):
    """Transitions to learn from. Tensors are float32."""

    obs: Tensor  # Shape (B, D)
    privileged: Tensor  # the critic's, beside `obs`. Shape (B, P)
    action: Tensor  # as the policy gave it. Shape (B, A)
    reward: Tensor  # Σ γ^i r_i over the steps from `obs` to `next_obs`. Shape (B,)
    discount: Tensor  # γ^k of those k steps, 0 where they end in a termination. Shape (B,)
    next_obs: Tensor  # the true one, before any reset. Shape (B, D)
    next_privileged: Tensor  # the critic's, beside `next_obs`. Shape (B, P)


class ReplayBuffer:
    """The newest `capacity` transitions, drawn uniformly.

    With `hindsight` k, k of k + 1 transitions are relabelled when they are drawn: with a goal that
    the episode reached later, at a step chosen uniformly ('future', Andrychowicz et al. 2017,
    arXiv:1707.01495), and the reward that the environment gives for that.

    Raises:
        UsageError: hindsight without a goal environment, or together with n-step returns.
    """

    def __init__(
        self, envs: Envs, capacity: int, gamma: float, n: int = 1, hindsight: int = 0
    ) -> None:
        if hindsight < 0:
            raise UsageError(f"hindsight: found {hindsight}, allowed is 0 or more")
        if hindsight and envs.goal is None:
            raise UsageError(
                f"hindsight: found {hindsight} for an environment without goals, allowed is 0"
            )
        if hindsight and envs.goal is not None and envs.goal.reward is None:
            raise UsageError("hindsight: found no compute_reward, allowed are environments with it")
        if hindsight and n > 1:
            # The reward of a relabelled goal is known for the first step only, not for the way.
            raise UsageError(f"n_step: found {n} together with hindsight, allowed is 1")
        self.gamma, self.n, self.hindsight = gamma, n, hindsight
        self.goal: Goal | None = envs.goal if hindsight else None
        self.num_envs = envs.num_envs
        # In rows, at least two: of these each environment has one that did not only reset it.
        self.capacity = max(n, 2, -(-capacity // self.num_envs))
        self.time = 0  # rows added so far: row t lies at t % capacity
        self.saved = 0  # of these, in the folder

        try:
            self.arrays = self._room(envs)
        except MemoryError as error:
            words = f"buffer_size: found {capacity}, allowed is what fits into memory: {error}"
            raise UsageError(words) from None
        # Row at which each transition's episode ends, and where the running episodes began.
        self._end = np.zeros((self.capacity, self.num_envs), np.int64)
        self._began = np.zeros(self.num_envs, np.int64)
        self._cuts: list[int] = []  # rows at which a resumed run began other episodes

    def _room(self, envs: Envs) -> dict[str, Tensor]:
        """Empty arrays of all that is remembered. Raises MemoryError."""

        def room(*width: int, dtype: type = np.float32) -> Tensor:
            # numpy's zeros take memory where they are written to only, torch's at once.
            return torch.from_numpy(np.zeros((self.capacity, self.num_envs, *width), dtype))

        arrays = {
            "obs": room(envs.obs_dim),
            "action": room(envs.action_dim),
            "reward": room(),
            "terminated": room(dtype=bool),
            "done": room(dtype=bool),  # the episode ends here, or is not known to go on
            "valid": room(dtype=bool),
            "next_obs": room(envs.obs_dim),
        }
        if envs.has_privileged:
            arrays["privileged"] = room(envs.privileged_dim)
            arrays["next_privileged"] = room(envs.privileged_dim)
        return arrays

    def __len__(self) -> int:
        """Rows held, each of N transitions."""
        return min(self.time, self.capacity)

    def add(self, obs: np.ndarray, privileged: np.ndarray, action: Tensor, step: Step) -> None:
        """Append one step from `obs` with `action`, in the policy's units. Shapes (N, …)."""
        row = self.time % self.capacity
        rows = {
            "obs": obs,
            "privileged": privileged,
            "action": action.numpy(),
            "reward": step.reward,
            "terminated": step.terminated,
            "done": step.done,
            "valid": step.valid,
            "next_obs": step.next_obs,
            "next_privileged": step.next_privileged,
        }
        for name, array in self.arrays.items():
            array.numpy()[row] = rows[name]
        self._note_ends(self.time, step.done)
        self.time += 1

    def cut(self) -> None:
        """The running episodes will not go on: what comes next are others."""
        if self.time:
            self._cuts.append(self.time - 1)
            self.arrays["done"][(self.time - 1) % self.capacity] = True
            self._note_ends(self.time - 1, np.ones(self.num_envs, bool))

    def recent(self, rows: int) -> tuple[Tensor, Tensor]:
        """Observations acted on in the newest `rows`, without those that only reset.

        Shapes (M, D), (M, P).
        """
        at = torch.arange(self.time - min(rows, len(self)), self.time) % self.capacity
        valid = self.arrays["valid"][at]
        obs = self.arrays["obs"][at][valid]
        return obs, self.arrays["privileged"][at][valid] if "privileged" in self.arrays else obs

    def sample(self, size: int, generator: torch.Generator) -> Batch:
        """`size` transitions, uniformly from all valid ones, with replacement.

        All that is random is drawn from `generator`. There must be a valid transition.
        """
        oldest = self.time - len(self)
        total = len(self) * self.num_envs

        def draw(count: int) -> tuple[Tensor, Tensor, Tensor]:
            index = torch.randint(total, (count,), generator=generator)
            row, env = oldest + index // self.num_envs, index % self.num_envs
            return row, env, self._flat(row, env)

        valid = self.arrays["valid"].flatten()
        row, env, at = draw(size)
        while not (found := valid[at]).all():
            wrong = (~found).nonzero().squeeze(1)
            for column, fresh in zip((row, env, at), draw(len(wrong)), strict=True):
                column[wrong] = fresh
        reward, discount, last = self._returns(row, env)
        read = {
            name: self.arrays[name].flatten(0, 1).index_select(0, last if "next" in name else at)
            for name in self.arrays
            if name not in ("reward", "terminated", "done", "valid")
        }
        batch = Batch(
            obs=read["obs"],
            privileged=read.get("privileged", read["obs"]),
            action=read["action"],
            reward=reward,
            discount=discount,
            next_obs=read["next_obs"],
            next_privileged=read.get("next_privileged", read["next_obs"]),
        )
        if self.goal is not None:
            self._relabel(batch, row, env, self.goal, generator)
        return batch

    def _flat(self, row: Tensor, env: Tensor) -> Tensor:
        """Where the transition of a row and an environment lies in the flattened arrays."""
        return row % self.capacity * self.num_envs + env

    def _returns(self, row: Tensor, env: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """n-step returns, their discounts, and where their last steps lie. Shapes (B,)."""
        rows = row + torch.arange(self.n)[:, None]
        at = self._flat(rows, env)
        # The newest row is no episode's end, but nothing is known beyond it.
        last = self.arrays["done"].flatten()[at] | (rows >= self.time - 1)
        reward = self.arrays["reward"].flatten()[at]
        terminated = self.arrays["terminated"].flatten()[at]
        reward, discount, end = n_step(reward, terminated, last, self.gamma)
        return reward, discount, at.gather(0, end[None])[0]

    def _relabel(
        self, batch: Batch, rows: Tensor, envs: Tensor, goal: Goal, generator: torch.Generator
    ) -> None:
        """Give the first k of k + 1 transitions another goal, in place."""
        count = round(len(rows) * self.hindsight / (self.hindsight + 1))
        row, env = rows[:count].numpy(), envs[:count].numpy()
        end = self._end[row % self.capacity, env]
        running = row >= self._began[env]
        end = np.where(running, self.time - 1, end)
        share = torch.rand(count, generator=generator, dtype=torch.float64).numpy()
        future = row + (share * (end - row + 1)).astype(np.int64)
        next_obs = self.arrays["next_obs"].numpy()
        desired = next_obs[future % self.capacity, env][:, goal.achieved]
        achieved = batch.next_obs.numpy()[:count, goal.achieved]
        original = batch.next_obs.numpy()[:count, goal.desired].copy()
        for obs in (batch.obs, batch.next_obs):
            obs.numpy()[:count, goal.desired] = desired
        assert goal.reward is not None  # refused at the start
        batch.reward.numpy()[:count] = goal.reward(achieved, desired)
        if goal.terminated is not None:
            discount = batch.discount.numpy()[:count]
            # What the goal that was asked for does not explain, a fall, ends it for any other.
            fell = (discount == 0) & ~np.asarray(goal.terminated(achieved, original), bool)
            ended = fell | goal.terminated(achieved, desired)
            discount[:] = np.where(ended, 0.0, self.gamma)

    def _note_ends(self, time: int, done: np.ndarray) -> None:
        for env in np.flatnonzero(done):
            first = max(self._began[env], time - self.capacity + 1)
            self._end[np.arange(first, time + 1) % self.capacity, env] = time
            self._began[env] = time + 1

    # --- on disk ------------------------------------------------------------------------------

    def begin(self, run_dir: Path) -> None:
        """Remove what an earlier run may have left in `run_dir`."""
        for path, _, _ in _segments(run_dir / FOLDER):
            path.unlink()

    def get_state(self, run_dir: Path) -> dict[str, Any]:
        """Write the rows added since the last call into `run_dir`; what a checkpoint must hold.

        The checkpoint of the call before must be on disk: files that it does not need are removed.
        """
        folder = run_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for path, _, end in _segments(folder):
            if end <= self.saved - self.capacity:
                path.unlink()
        first = max(self.saved, self.time - self.capacity)
        if first < self.time:
            rows = np.arange(first, self.time) % self.capacity
            table = {name: array.numpy()[rows] for name, array in self.arrays.items()}
            with (folder / f"{first:012d}-{self.time:012d}.npz").open("wb") as file:
                np.savez(file, allow_pickle=False, **table)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(folder)
        self.saved = self.time
        self._cuts = [time for time in self._cuts if time >= self.time - self.capacity]
        return {"time": self.time, "cuts": list(self._cuts)}

    def set_state(self, state: dict[str, Any], run_dir: Path) -> None:
        """Hold again what a checkpoint refers to; removes what was written after it.

        Raises:
            UsageError: files of the checkpoint are missing or damaged.
        """
        self.time = self.saved = int(state["time"])
        oldest = next_row = self.time - len(self)
        folder = run_dir / FOLDER
        for path, first, end in _segments(folder):
            if end > self.time:
                path.unlink()
            elif first <= next_row < end:
                self._read(path, next_row - first, next_row, end)
                next_row = end
        if next_row != self.time:
            raise UsageError(
                f"{folder}: found no rows from {next_row}, allowed is all up to {self.time}"
            )
        self._began[:] = oldest
        self._cuts = list(state["cuts"])
        for time in self._cuts:
            self.arrays["done"][time % self.capacity] = True
        ordered = self.arrays["done"].numpy()[np.arange(oldest, self.time) % self.capacity]
        for index in np.flatnonzero(ordered.any(1)):
            self._note_ends(oldest + int(index), ordered[index])

    def _read(self, path: Path, skip: int, first: int, end: int) -> None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as table:
                for name, array in self.arrays.items():
                    array.numpy()[np.arange(first, end) % self.capacity] = table[name][skip:]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: not a whole part of a replay buffer: {error}") from None


def _segments(folder: Path) -> list[tuple[Path, int, int]]:
    """Files of a replay buffer with their first row and the one after their last, in order."""
    parts = []
    for path in sorted(folder.glob("*-*.npz")):
        first, end = path.stem.split("-")
        parts.append((path, int(first), int(end)))
    return parts
