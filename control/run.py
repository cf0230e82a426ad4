"""A run: environments, a learner, how far it is, and the folder that keeps it all.

The folder holds `config.json`, TensorBoard's events and `checkpoint.pt`. On the same machine,
versions and thread count, a run that is resumed from its checkpoint goes on bit for bit like one
that never stopped, if its budget is in steps and the environment exposes its state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from ..models.errors import UsageError
from ..models.provenance import versions
from . import checkpoint, distributed, ppo, sac
from .checkpoint import Policy
from .envs import Envs, make
from .ppo import PPOConfig
from .sac import SACConfig

CHECKPOINT = "checkpoint.pt"
VARYING = ("commit", "from", "episodes")  # of what is known of a run, what a resume may change

Config = PPOConfig | SACConfig
Learner = ppo.Learner | sac.Learner


@dataclass(frozen=True)
class Budget:
    """How long a run learns; with both, what is spent first ends it."""

    minutes: float | None = None  # of training time [min]
    steps: int | None = None  # of all environments

    def spent(self, progress: Progress) -> float:
        """Part of it that is spent; 1 or more when it is all gone."""
        by_time = 0.0 if self.minutes is None else progress.elapsed / max(60 * self.minutes, 1e-9)
        by_steps = 0.0 if self.steps is None else progress.steps / max(self.steps, 1)
        return max(by_time, by_steps)


@dataclass
class Progress:
    """How far a run is."""

    iterations: int = 0
    steps: int = 0  # of all environments
    elapsed: float = 0.0  # training time [s]
    warm_up: int = 0  # iterations to come in which the critic alone learns


class Run:
    """One of these on each rank; rank 0 alone reads and writes the folder."""

    def __init__(
        self,
        env: str | VectorEnv,
        config: Config,
        folder: Path,
        seed: int,
        pool: bool,
        about: Mapping[str, Any],
    ) -> None:
        """An untrained one; nothing is written yet. Raises UsageError as `make` and the learner."""
        self.folder, self.seed, self.about = folder, seed, dict(about)
        self._owned = isinstance(env, str)
        self.envs = make(env, config.num_envs, seed + distributed.rank() * config.num_envs, pool)
        self.learner = learner_of(self.envs, config, seed)
        self.progress = Progress()
        self._task = {
            "environment": env if isinstance(env, str) else type(env.unwrapped).__name__,
            "observations": self.envs.obs_dim,
            "privileged observations": self.envs.privileged_dim,
            "actions": self.envs.action_dim,
        }

    def begin(self, earlier: Policy | None) -> None:
        """Write what the run is into its folder; take over an earlier policy if there is one.

        Raises:
            UsageError: that policy is of another kind, size or Box.
        """
        config = self.learner.config
        if earlier is not None:
            checkpoint.transfer(earlier, self.learner.policy)
            self.progress.warm_up = config.critic_warm_up
        distributed.broadcast_state(self._learned())
        if distributed.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            if isinstance(self.learner, sac.Learner):
                self.learner.replay.begin(self.folder)
            _write_config(self.folder, config, self.seed, self.about)

    def resume(self, saved: dict[str, Any]) -> bool:
        """Go on from a checkpoint; False if the environments could only start episodes anew.

        Raises:
            UsageError: it is of another task.
        """
        _require_equal(self._task, saved["task"])
        self.learner.policy.load_state_dict(saved["policy"]["parameters"])
        for name, part in self.learner.parts().items():
            part.load_state_dict(saved[name])
        self.learner.generator.set_state(saved["generator"])
        for name, number in saved["progress"].items():
            setattr(self.progress, name, number)
        exactly = self.envs.set_state(
            _envs_of_ranks(saved)[distributed.rank()], self.progress.steps
        )
        if isinstance(self.learner, sac.Learner):
            self.learner.replay.set_state(saved["replay"], self.folder)
            if not exactly:
                self.learner.replay.cut()
        distributed.broadcast_state(self._learned())
        return exactly

    def close(self) -> None:
        """End the environments, if they were made here."""
        if self._owned:
            self.envs.env.close()

    def save(self, budget: Budget) -> None:
        """Write the checkpoint: the old one or the new one is whole at any moment."""
        distributed.broadcast_state(self._learned())
        state = self._state() | {"budget": asdict(budget)}
        distributed.from_first(lambda: checkpoint.save(self.folder / CHECKPOINT, state))

    def _state(self) -> dict[str, Any]:
        """All that the run is. Nothing draws from torch's or numpy's global generators.

        What was replayed lies in files of its own, which this writes into the folder.
        """
        states = distributed.all_gather_objects(self.envs.get_state())
        state = {
            "algorithm": algorithm(self.learner.config),
            **self._learned(),
            "generator": self.learner.generator.get_state(),
            "envs": states if len(states) > 1 else states[0],
            "task": self._task,
            "progress": asdict(self.progress),
            "config": asdict(self.learner.config),
            "seed": self.seed,
            "about": self.about,
        }
        if isinstance(self.learner, sac.Learner):
            state["replay"] = self.learner.replay.get_state(self.folder)
        return state

    def _learned(self) -> dict[str, Any]:
        """What ranks have in common, beside the random state."""
        parts = {name: part.state_dict() for name, part in self.learner.parts().items()}
        return {"policy": checkpoint.policy_state(self.learner.policy), **parts}


def learner_of(envs: Envs, config: Config, seed: int) -> Learner:
    """An untrained learner of the algorithm that a configuration is for."""
    if isinstance(config, PPOConfig):
        return ppo.Learner.of(envs, config, seed)
    return sac.Learner.of(envs, config, seed)


def algorithm(config: Config) -> str:
    """The name of what a configuration is for."""
    return "ppo" if isinstance(config, PPOConfig) else "sac"


def saved_in(
    folder: Path, resume: bool, config: Config, seed: int, about: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The checkpoint to resume.

    Raises:
        UsageError: there is none, or one to spoil, or one of another algorithm, configuration,
            seed, task or number of processes.
    """
    path = folder / CHECKPOINT
    if resume:
        saved = checkpoint.load(path)
        _require_same(saved, config, seed, about)
        return saved
    if path.exists():
        raise UsageError(f"{folder}: found a run, allowed is a new folder, or to resume it")
    return None


def _envs_of_ranks(saved: dict[str, Any]) -> list[Any]:
    return saved["envs"] if isinstance(saved["envs"], list) else [saved["envs"]]


def _require_same(
    saved: dict[str, Any], config: Config, seed: int, about: Mapping[str, Any]
) -> None:
    _require_equal(
        {"algorithm": algorithm(config), **asdict(config), "seed": seed},
        {"algorithm": saved["algorithm"], **saved["config"], "seed": saved["seed"]},
    )
    facts = {name: fact for name, fact in about.items() if name not in VARYING}
    _require_equal(facts, {name: fact for name, fact in saved["about"].items() if name in facts})
    ranks = len(_envs_of_ranks(saved))
    if ranks != distributed.world_size():
        raise UsageError(
            f"resume: found {distributed.world_size()} processes, allowed is the run's own {ranks}"
        )


def _require_equal(wanted: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    for name, found in saved.items():
        if wanted.get(name) != found:
            raise UsageError(
                f"resume: found {name} = {wanted.get(name)}, allowed is the run's own {found}"
            )


def _write_config(run_dir: Path, config: Config, seed: int, about: Mapping[str, Any]) -> None:
    table = {
        "algorithm": algorithm(config),
        "config": asdict(config),
        "seed": seed,
        "processes": distributed.world_size(),
        "about": dict(about),
        "versions": versions("torch", "gymnasium", "numpy"),
    }
    (run_dir / "config.json").write_text(json.dumps(table, indent=2) + "\n")
