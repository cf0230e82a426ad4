"""How policies are evaluated at each task: its environment, what varies, what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..models.errors import UsageError
from ..models.limits import Output
from ..models.robot import Robot
from ..models.task import CommandPart
from .conditions import FRICTION_ONLY, recurring_pushes
from .gaits import gait_of
from .measures import Measures, Recording
from .randomisation import ARM_TRAINING, Variation, fitted
from .reach import ReachEnv
from .reach_measures import ReachMeasures
from .walk import WalkEnv
from .walk_measures import WalkMeasures

COMMAND_PERIOD = 5.0  # [s]
SUBSTEPS = 10  # of the physics, a control period: training's few add to what torque costs
TERRAIN_SEED = 1  # other rough ground and other blocks than in training, whose seed is 0

Make = Callable[[int, Robot, Sequence[Variation]], Any]  # N, robot, variations → environment


@dataclass(frozen=True)
class Trial:
    """How policies are evaluated at one task."""

    make: Make
    nominal: Sequence[Variation]
    pushes: Sequence[Variation]
    training: Sequence[Variation]
    achieved: Callable[[Any], np.ndarray]  # environment → what became of the command, (N, c)
    measures: Callable[[Any], Callable[[Recording], Measures]]  # environment → what measures
    command_period: float | None  # None: one command for each episode [s]
    on_terrain: Make | None = None  # None: the task knows level ground only


def walking(robot: Robot, output: Output) -> Trial:
    """Velocities to follow."""
    gait = gait_of(robot)
    return Trial(
        make=partial(WalkEnv, output=output, substeps=SUBSTEPS),
        nominal=FRICTION_ONLY,
        pushes=recurring_pushes(gait.evaluation_push),
        training=fitted(gait.randomisation, output, robot),
        achieved=walk_velocity,
        measures=lambda env: partial(
            WalkMeasures.of, sigma2=env.gait.track_sigma2, turn_sigma2=env.gait.turn_sigma2
        ),
        command_period=COMMAND_PERIOD,
        on_terrain=partial(walking_on_terrain, output=output),
    )


def walking_on_terrain(
    count: int, robot: Robot, variations: Sequence[Variation], output: Output = "joint_target"
) -> WalkEnv:
    """Robots that begin on every kind of ground at every level, dealt out in turn."""
    env = WalkEnv(
        count,
        robot,
        variations,
        terrain=True,
        terrain_seed=TERRAIN_SEED,
        output=output,
        substeps=SUBSTEPS,
    )
    assert env.curriculum
    env.curriculum.deal()
    return env


def reaching(robot: Robot, output: Output) -> Trial:
    """Goals for the tip of an arm."""
    return Trial(
        make=partial(ReachEnv, output=output, substeps=SUBSTEPS),
        nominal=(),
        pushes=(),
        training=fitted(ARM_TRAINING, output, robot),
        achieved=lambda env: env.tip,
        measures=lambda env: ReachMeasures.of,
        command_period=None,
    )


def walk_velocity(env: Any) -> np.ndarray:
    """vx, vy [m/s] and yaw rate [rad/s] of the base, in its own frame. Shape (N, 3)."""
    robots = env.robots
    return np.column_stack((robots.linear_velocity[:, :2], robots.angular_velocity[:, 2]))


# By the names of the command's parts.
TRIALS: Mapping[tuple[str, ...], Callable[[Robot, Output], Trial]] = {
    ("vx", "vy", "yaw_rate"): walking,
    ("x", "y", "z"): reaching,
}


def is_goal(names: Sequence[str]) -> bool:
    """Whether a command of these parts is where an arm's tip is to be."""
    return TRIALS.get(tuple(names)) is reaching


def trial_for(commands: Sequence[CommandPart], robot: Robot, output: Output) -> Trial:
    """The trial for policies of these on a robot. Raises UsageError where there is none."""
    names = tuple(part.name for part in commands)
    if names not in TRIALS:
        known = ", or ".join(" ".join(each) for each in TRIALS)
        raise UsageError(
            f"evaluation: found a policy commanded by {' '.join(names)}, allowed: {known}"
        )
    return TRIALS[names](robot, output)
