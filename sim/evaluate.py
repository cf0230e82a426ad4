"""How well a policy does its task: a written protocol, so that two figures can be compared.

Deterministic policy; `episodes` episodes under each condition, from the same seeds for every
policy. Commands are uniform over what the policy says it was trained for: velocities are drawn anew
every 5 s, and the first second after that is left out of the errors; a goal stays for an episode.
What is measured is recorded first, tick by tick, and computed then by pure functions: a task's
`Measures`, a number for each episode. docs/evaluation.md says all of it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..models.errors import UsageError
from ..models.limits import Output
from ..models.robot import Robot
from ..models.task import CommandPart
from .conditions import conditions
from .curriculum import TerrainCurriculum
from .measures import Measures, Recording
from .randomisation import Variation, by_part
from .terrain import KIND_NAMES
from .trials import Trial, trial_for

SETTLING = 1.0  # after a new command [s]
MOST_EPISODES = 4096  # under one condition: their recording is held in memory, 0.24 MB each

# Inputs, each (N, width), and whose episode begins now, bool (N,) → actions (N, n)
Policy = Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray]
OnProgress = Callable[[float], None]


class Motion(Protocol):
    """How N robots of n joints are and move."""

    @property
    def qpos(self) -> np.ndarray:
        """MuJoCo's positions. Shape (N, nq)."""
        ...

    @property
    def joint_vel(self) -> np.ndarray:
        """[rad/s]. Shape (N, n)."""
        ...

    @property
    def joint_torque(self) -> np.ndarray:
        """[N·m]. Shape (N, n)."""
        ...

    def field(self, name: str) -> np.ndarray:
        """MuJoCo's model field `name`, one value a robot. Shape (N, …)."""
        ...


class MeasuredEnv(Protocol):
    """What a recording needs of N environments; a `RobotEnv` has it."""

    num_envs: int
    period: float  # of a step [s]
    inputs: dict[str, np.ndarray]  # of the policy, each (N, width)

    @property
    def drawn(self) -> dict[str, np.ndarray]:
        """What varies of the episodes, each (N, m)."""
        ...

    @property
    def pushed(self) -> np.ndarray:
        """Whom a push hit in the last step. bool, shape (N,)."""
        ...

    @property
    def curriculum(self) -> TerrainCurriculum | None:
        """Where the ground is not level."""
        ...

    @property
    def robots(self) -> Motion:
        """The robots, as the last step left them."""
        ...

    @property
    def episode_ticks(self) -> int:
        """Steps after which an episode is cut."""
        ...

    def reset(self, *, seed: int | None = None) -> Any:
        """Start every episode anew."""
        ...

    def set_commands(self, command: np.ndarray) -> None:
        """Command every robot until it is commanded anew. Shape (N, c)."""
        ...

    def advance(self, actions: np.ndarray, /) -> tuple[Any, Any, np.ndarray, Any, Any]:
        """One period under `actions` (N, n); the third result, bool (N,), tells who has fallen.

        Nobody begins anew.
        """
        ...


@dataclass(frozen=True)
class Result:
    """What came of one condition."""

    variations: Sequence[Variation]
    measures: Measures
    recording: Recording
    drawn: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What was drawn for each episode, by quantity and part: `stiffness.left_knee`. Each (N,)."""
    grounds: Mapping[str, np.ndarray] = field(default_factory=dict)
    """On terrain, the `kind` and the `level` that each episode began on. Each str, (N,)."""

    @property
    def figures(self) -> dict[str, Any]:
        """A summary as plain data; on terrain, by kind and by level, too.

        There, an episode belongs to the tile that it began on, a fall to the one under the robot.
        """
        groups = {f"by_{name}": self._by(labels) for name, labels in self.grounds.items()}
        return {**self.measures.figures(), **groups, **falls_by_ground(self.recording)}

    def _by(self, labels: np.ndarray) -> dict[str, dict[str, float]]:
        """Survival and score of the episodes of each label, in the order of the labels."""
        alive, score = self.recording.alive[-1], self.measures.merit
        groups = {label: labels == label for label in dict.fromkeys(labels.tolist())}
        return {
            label: {
                "episodes": int(own.sum()),
                "survival": float(alive[own].mean()),
                "score": float(score[own].mean()),
            }
            for label, own in groups.items()
        }


def falls_by_ground(recording: Recording) -> dict[str, dict[str, dict[str, float]]]:
    """On terrain, how often robots fell on each kind and level, and how long they were on it.

    `falls_by_kind` and `falls_by_level`: for each name `falls`, and `minutes` before one.
    """
    terrain, alive = recording.terrain, recording.alive
    if terrain is None:
        return {}
    level, kind = terrain.tiles(recording.qpos[..., :2])
    fell = ~alive & np.concatenate((np.ones_like(alive[:1]), alive[:-1]))
    tiles = {
        "kind": {name: kind == i for i, name in enumerate(KIND_NAMES)},
        "level": {str(i + 1): level == i for i in range(terrain.levels)},
    }
    return {
        f"falls_by_{what}": {
            name: {
                "falls": int((fell & there).sum()),
                "minutes": float((alive & there).sum() * recording.period / 60),
            }
            for name, there in places.items()
        }
        for what, places in tiles.items()
    }


def evaluate(
    policy: Policy,
    commands: Sequence[CommandPart],
    robot: Robot,
    output: Output = "joint_target",
    episodes: int = 256,
    seed: int = 0,
    on_progress: OnProgress = lambda _share: None,
    terrain: bool = False,
) -> dict[str, Result]:
    """Every condition's result, by its name.

    Args:
        policy: inputs by name, each (N, width), to actions (N, n); a policy with a memory is told
            whose episode begins.
        commands: the policy's, and the ranges that it was trained for: no others are given.
        robot: which it was trained for.
        output: what its actions stand for.
        episodes: N, under each condition.
        seed: of commands, randomisation and noise.
        on_progress: called with the share done, 0 to 1.
        terrain: under a further condition, on ground that is not level.

    Raises:
        UsageError: no task has such commands, or the robot is none for it, or the task has no
            terrain.
    """
    trial = trial_for(commands, robot, output)
    usual = conditions(robot, trial.nominal, trial.pushes, trial.training)
    plan = {name: (trial.make, variations) for name, variations in usual.items()}
    if terrain:
        if trial.on_terrain is None:
            named = " ".join(part.name for part in commands)
            raise UsageError(
                f"terrain: found a policy commanded by {named}, allowed is one of vx vy yaw_rate"
            )
        plan["terrain"] = (trial.on_terrain, trial.nominal)
    results = {}
    for index, (name, (make, variations)) in enumerate(plan.items()):

        def report(share: float, done: int = index) -> None:
            on_progress((done + share) / len(plan))

        env = make(episodes, robot, variations)
        grounds = env.curriculum.names() if env.curriculum else {}
        recording = record(policy, env, trial, commands, seed, report)
        measures = trial.measures(env)(recording)
        drawn = by_part(recording.drawn, variations, env.robots)
        results[name] = Result(variations, measures, recording, drawn, grounds)
    return results


def record(
    policy: Policy,
    env: MeasuredEnv,
    trial: Trial,
    commands: Sequence[CommandPart],
    seed: int,
    on_progress: OnProgress = lambda _share: None,
) -> Recording:
    """One episode of each environment under `policy`, by the protocol above.

    Who fell stays there. Another episode would draw from the generator of all, and what the others
    meet after that would depend on the policy.
    """
    # A generator of its own: the commands are the same whatever the policy does.
    rng = np.random.default_rng([seed, 1])
    lower, upper = (np.array([getattr(c, end) for c in commands]) for end in ("lower", "upper"))
    ticks = env.episode_ticks - 1  # the last one would end the episode
    period = trial.command_period or env.period * env.episode_ticks
    redraw, settling = round(period / env.period), round(SETTLING / env.period)
    env.reset(seed=seed)
    torque_limit = env.robots.field("actuator_forcerange")[:, :, 1].copy()
    mass = env.robots.field("body_mass").sum(1)
    alive = np.ones((ticks, env.num_envs), bool)
    drawn = {name: values.copy() for name, values in env.drawn.items()}
    rows: dict[str, np.ndarray] = {}
    begins = np.ones(env.num_envs, bool)
    for tick in range(ticks):
        if tick % redraw == 0:
            command = rng.uniform(lower, upper, (env.num_envs, len(commands)))
            env.set_commands(command)
        action = policy(env.inputs, begins)
        _, _, terminated, _, _ = env.advance(action)
        begins = np.zeros(env.num_envs, bool)
        found = {
            "command": command,
            "achieved": trial.achieved(env),
            "action": action,
            "torque": env.robots.joint_torque,
            "joint_vel": env.robots.joint_vel,
            "qpos": env.robots.qpos,
            "pushed": env.pushed,
        }
        for name, value in found.items():
            if not tick:
                kind = bool if value.dtype == bool else np.float32
                rows[name] = np.empty((ticks, *value.shape), kind)
            rows[name][tick] = value
        alive[tick] = alive[max(tick - 1, 0)] & ~terminated
        for name, values in drawn.items():
            np.copyto(values, env.drawn[name], where=alive[tick][:, None])
        on_progress((tick + 1) / ticks)
    return Recording(
        period=env.period,
        settled=np.arange(ticks) % redraw >= settling,
        alive=alive,
        torque_limit=torque_limit,
        mass=mass,
        drawn=drawn,
        terrain=env.curriculum.terrain if env.curriculum else None,
        **rows,
    )
