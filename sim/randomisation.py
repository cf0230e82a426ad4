"""Domain randomisation as data: what varies, how it is distributed, for what part of the robot.

At every reset of an episode the robots are made nominal and the variations drawn for them, so
nothing compounds; one with `every` acts again and again during the episode. Inertias follow masses,
and MuJoCo's derived constants follow both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from ..models.errors import UsageError
from .quantities import (
    PARTS,
    POSSIBLE,
    Per,
    Vary,
    armature,
    centre_of_mass,
    command_delay,
    damping,
    encoder_offset,
    foot_friction,
    gyro_bias,
    held_mass,
    imu_delay,
    imu_mounting,
    joint_friction,
    mass_scale,
    motor_strength,
    payload,
    push,
    sensor_noise,
    stiffness,
    supply_voltage,
)
from .robot_batch import RobotBatch


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Variation:
    """One randomised quantity: `vary` writes values (k, m) into robots `ids` (k,).

    Raises:
        UsageError: values or a part of the robot that are not `POSSIBLE` for it.
    """

    vary: Vary
    distribution: Uniform
    per: Per = Per.ROBOT
    every: Uniform | None = None  # time from one draw to the next [s]; None: at each reset

    def __post_init__(self) -> None:
        if (possible := POSSIBLE.get(self.vary)) is None:  # somebody's own
            return
        low, high = self.distribution.low, self.distribution.high
        if not possible.low <= low <= high <= possible.high:
            raise UsageError(
                f"{self.name}: found values from {low:g} to {high:g}, "
                f"allowed is from {possible.low:g} to {possible.high:g}"
            )
        if self.per not in possible.per:
            raise UsageError(
                f"{self.name}: found one value per {self.per.value}, "
                f"allowed is one per {' or '.join(per.value for per in possible.per)}"
            )

    @property
    def name(self) -> str:
        return self.vary.__name__


def require_fit(variations: Sequence[Variation], robots: RobotBatch) -> None:
    """Raise UsageError for a variation that these robots have nothing for."""
    for variation in variations:
        possible = POSSIBLE.get(variation.vary)
        if possible and possible.needs and not PARTS[possible.needs](robots):
            fit = [v.__name__ for v, p in POSSIBLE.items() if not p.needs or PARTS[p.needs](robots)]
            raise UsageError(
                f"randomisation: found {variation.name} for {robots.robot.name}, a robot without "
                f"{possible.needs}, allowed are {', '.join(fit)}"
            )


# --- what training varies -----------------------------------------------------------------------


# Of the quadruped's training.
TRAINING: tuple[Variation, ...] = (
    Variation(foot_friction, Uniform(0.4, 1.1)),
    Variation(mass_scale, Uniform(0.93, 1.07), Per.BODY),
    Variation(payload, Uniform(-0.05, 0.2)),
    Variation(centre_of_mass, Uniform(-0.012, 0.012), Per.AXIS),
    Variation(motor_strength, Uniform(0.85, 1.05)),
    Variation(supply_voltage, Uniform(0.88, 1.05)),
    Variation(stiffness, Uniform(0.85, 1.15), Per.JOINT),
    Variation(damping, Uniform(0.7, 1.3), Per.JOINT),
    Variation(joint_friction, Uniform(0.4, 2.5), Per.JOINT),
    Variation(armature, Uniform(0.8, 1.25)),
    Variation(command_delay, Uniform(0.005, 0.015)),
    Variation(imu_delay, Uniform(0.0, 0.018)),
    Variation(encoder_offset, Uniform(-0.02, 0.02), Per.JOINT),
    Variation(gyro_bias, Uniform(-0.02, 0.02), Per.AXIS),
    Variation(imu_mounting, Uniform(-0.03, 0.03), Per.AXIS),
    Variation(sensor_noise, Uniform(0.0, 1.5)),
    Variation(push, Uniform(-0.3, 0.3), Per.AXIS, every=Uniform(2.0, 6.0)),
)

# Of a walk under joint torques: its motors have no stiffness to vary.
TORQUE_TRAINING = tuple(v for v in TRAINING if v.vary not in (stiffness, damping))

# Of the arm's training, whose position servos have a stiffness.
ARM_TRAINING: tuple[Variation, ...] = (
    Variation(mass_scale, Uniform(0.93, 1.07), Per.BODY),
    Variation(held_mass, Uniform(0.0, 0.05)),
    Variation(motor_strength, Uniform(0.85, 1.05)),
    Variation(supply_voltage, Uniform(0.88, 1.05)),
    Variation(stiffness, Uniform(0.85, 1.15), Per.JOINT),
    Variation(damping, Uniform(0.7, 1.3), Per.JOINT),
    Variation(joint_friction, Uniform(0.4, 2.0), Per.JOINT),
    Variation(armature, Uniform(0.8, 1.25)),
    Variation(command_delay, Uniform(0.005, 0.015)),
    Variation(encoder_offset, Uniform(-0.01, 0.01), Per.JOINT),
    Variation(sensor_noise, Uniform(0.0, 1.5)),
)

# Of the same under joint torques.
ARM_TORQUE_TRAINING = tuple(v for v in ARM_TRAINING if v.vary not in (stiffness, damping))


def randomise(
    variations: Sequence[Variation],
    robots: RobotBatch,
    ids: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw robots `ids` (k,) anew. Returns what was drawn, each (k, m)."""
    robots.make_nominal(ids)
    drawn = {each.name: disturb(each, robots, ids, rng) for each in variations}
    if drawn:
        robots.batch.set_const(ids)
    return drawn


def disturb(
    variation: Variation, robots: RobotBatch, ids: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one variation for robots `ids` (k,), as they are. Returns what was drawn, (k, m)."""
    value = variation.distribution.sample(rng, (len(ids), _columns(robots.model, variation.per)))
    variation.vary(robots, ids, value)
    return value


def read(rows: Sequence[Mapping[str, Any]]) -> tuple[Variation, ...]:
    """The variations behind what `describe` gave.

    Raises:
        UsageError: a term that there is not, or values that are not possible for it.
    """
    terms = {vary.__name__: vary for vary in POSSIBLE}
    for row in rows:
        if row["what"] not in terms:
            raise UsageError(f"randomisation: found {row['what']}, allowed are {', '.join(terms)}")
    return tuple(
        Variation(
            terms[row["what"]],
            Uniform(row["low"], row["high"]),
            Per(row["per"]),
            Uniform(*row["every"]) if row["every"] else None,
        )
        for row in rows
    )


def describe(variations: Sequence[Variation]) -> list[dict[str, Any]]:
    """The variations as plain data, for a run's config."""
    return [
        {
            "what": variation.name,
            "low": variation.distribution.low,
            "high": variation.distribution.high,
            "per": variation.per.value,
            "every": [variation.every.low, variation.every.high] if variation.every else None,
        }
        for variation in variations
    ]


def _columns(model: mujoco.MjModel, per: Per) -> int:
    return {Per.ROBOT: 1, Per.BODY: model.nbody, Per.JOINT: model.nu, Per.AXIS: 3}[per]
