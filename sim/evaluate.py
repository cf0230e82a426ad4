"""How well a policy does its task: a written protocol, so that two figures can be compared.

Deterministic policy; `episodes` episodes under each condition, from the same seeds for every
policy. Commands are uniform over what the policy says it was trained for: velocities are drawn anew
every 5 s, and the first second after that is left out of the errors; a goal stays for an episode.
What is measured is recorded first, tick by tick, and computed then by pure functions: a task's
`Measures`, a number for each episode. docs/evaluation.md says all of it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..models.errors import UsageError
from ..models.limits import Output
from ..models.robot import Robot
from ..models.task import CommandPart
from .conditions import FRICTION_ONLY, SHOVES, conditions
from .measures import Measures, Recording
from .randomisation import (
    ARM_TORQUE_TRAINING,
    ARM_TRAINING,
    TORQUE_TRAINING,
    TRAINING,
    Variation,
)
from .reach import ReachEnv
from .reach_measures import ReachMeasures
from .walk import WalkEnv
from .walk_measures import WalkMeasures

COMMAND_PERIOD = 5.0  # [s]
SETTLING = 1.0  # after a new command [s]
MOST_EPISODES = 4096  # under one condition: their recording is held in memory, 0.24 MB each

Policy = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # inputs (N, width) → actions (N, n)
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

    def step(self, actions: np.ndarray, /) -> tuple[Any, Any, np.ndarray, Any, Any]:
        """One period under `actions` (N, n); the third result, bool (N,), tells who fell."""
        ...


@dataclass(frozen=True)
class Trial:
    """How policies are evaluated at one task."""

    make: Callable[[int, Robot, Sequence[Variation]], Any]  # N, robot, variations → environment
    nominal: Sequence[Variation]
    pushes: Sequence[Variation]
    training: Sequence[Variation]
    achieved: Callable[[Any], np.ndarray]  # environment → what became of the command, (N, c)
    measures: Callable[[Any], Callable[[Recording], Measures]]  # environment → what measures
    command_period: float | None  # None: one command for each episode [s]


def walking(output: Output) -> Trial:
    """Velocities to follow."""
    return Trial(
        make=lambda count, robot, variations: WalkEnv(count, robot, variations, output=output),
        nominal=FRICTION_ONLY,
        pushes=SHOVES,
        training=TORQUE_TRAINING if output == "joint_torque" else TRAINING,
        achieved=walk_velocity,
        measures=lambda env: partial(WalkMeasures.of, sigma2=env.gait.track_sigma2),
        command_period=COMMAND_PERIOD,
    )


def reaching(output: Output) -> Trial:
    """Goals for the tip of an arm."""
    return Trial(
        make=lambda count, robot, variations: ReachEnv(count, robot, variations, output=output),
        nominal=(),
        pushes=(),
        training=ARM_TORQUE_TRAINING if output == "joint_torque" else ARM_TRAINING,
        achieved=lambda env: env.tip,
        measures=lambda env: ReachMeasures.of,
        command_period=None,
    )


def walk_velocity(env: Any) -> np.ndarray:
    """vx, vy [m/s] and yaw rate [rad/s] of the base, in its own frame. Shape (N, 3)."""
    robots = env.robots
    return np.column_stack((robots.linear_velocity[:, :2], robots.angular_velocity[:, 2]))


# By the names of the command's parts.
TRIALS: Mapping[tuple[str, ...], Callable[[Output], Trial]] = {
    ("vx", "vy", "yaw_rate"): walking,
    ("x", "y", "z"): reaching,
}


def trial_for(commands: Sequence[CommandPart], output: Output) -> Trial:
    """The trial for policies of these. Raises UsageError where there is none."""
    names = tuple(part.name for part in commands)
    if names not in TRIALS:
        known = ", or ".join(" ".join(each) for each in TRIALS)
        raise UsageError(
            f"evaluation: found a policy commanded by {' '.join(names)}, allowed: {known}"
        )
    return TRIALS[names](output)


@dataclass(frozen=True)
class Result:
    """What came of one condition."""

    variations: Sequence[Variation]
    measures: Measures
    recording: Recording

    @property
    def figures(self) -> dict[str, Any]:
        """A summary as plain data."""
        return self.measures.figures()


def evaluate(
    policy: Policy,
    commands: Sequence[CommandPart],
    robot: Robot,
    output: Output = "joint_target",
    episodes: int = 256,
    seed: int = 0,
    on_progress: OnProgress = lambda _share: None,
) -> dict[str, Result]:
    """Every condition's result, by its name.

    Args:
        policy: inputs by name, each (N, width), to actions (N, n).
        commands: the policy's, and the ranges that it was trained for: no others are given.
        robot: which it was trained for.
        output: what its actions stand for.
        episodes: N, under each condition.
        seed: of commands, randomisation and noise.
        on_progress: called with the share done, 0 to 1.

    Raises:
        UsageError: no task has such commands, or the robot is none for it.
    """
    trial = trial_for(commands, output)
    plan = conditions(robot, trial.nominal, trial.pushes, trial.training)
    results = {}
    for index, (name, variations) in enumerate(plan.items()):

        def report(share: float, done: int = index) -> None:
            on_progress((done + share) / len(plan))

        env = trial.make(episodes, robot, variations)
        recording = record(policy, env, trial, commands, seed, report)
        results[name] = Result(variations, trial.measures(env)(recording), recording)
    return results


def record(
    policy: Policy,
    env: MeasuredEnv,
    trial: Trial,
    commands: Sequence[CommandPart],
    seed: int,
    on_progress: OnProgress = lambda _share: None,
) -> Recording:
    """One episode of each environment under `policy`, by the protocol above."""
    # A generator of its own: the commands are the same whatever the policy does.
    rng = np.random.default_rng([seed, 1])
    lower, upper = (np.array([getattr(c, end) for c in commands]) for end in ("lower", "upper"))
    ticks = env.episode_ticks - 1  # the last one would already reset
    period = trial.command_period or env.period * env.episode_ticks
    redraw, settling = round(period / env.period), round(SETTLING / env.period)
    env.reset(seed=seed)
    torque_limit = env.robots.field("actuator_forcerange")[:, :, 1].copy()
    mass = env.robots.field("body_mass").sum(1)
    alive = np.ones((ticks, env.num_envs), bool)
    rows: dict[str, np.ndarray] = {}
    for tick in range(ticks):
        if tick % redraw == 0:
            command = rng.uniform(lower, upper, (env.num_envs, len(commands)))
            env.set_commands(command)
        action = policy(env.inputs)
        _, _, terminated, _, _ = env.step(action)
        found = {
            "command": command,
            "achieved": trial.achieved(env),
            "action": action,
            "torque": env.robots.joint_torque,
            "joint_vel": env.robots.joint_vel,
            "qpos": env.robots.qpos,
        }
        for name, value in found.items():
            if not tick:
                rows[name] = np.empty((ticks, *value.shape), np.float32)
            rows[name][tick] = value
        alive[tick] = alive[max(tick - 1, 0)] & ~terminated
        on_progress((tick + 1) / ticks)
    return Recording(
        period=env.period,
        settled=np.arange(ticks) % redraw >= settling,
        alive=alive,
        torque_limit=torque_limit,
        mass=mass,
        **rows,
    )
