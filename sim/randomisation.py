"""Domain randomisation as data: what varies, how it is distributed, for what part of the robot.

At every reset of an episode the robots are made nominal and the variations drawn for them in their
order, each quantity once, so nothing compounds; one with `every` acts again and again during the
episode. Inertias follow masses, and MuJoCo's derived constants follow both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import mujoco
import numpy as np

from ..models.errors import UsageError
from ..models.limits import Output
from ..models.robot import Robot
from .quantities import (
    BASE,
    PARTS,
    QUANTITIES,
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

LEFT = 0.05  # of the base's mass, however much is taken from it


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent values. Shape `shape`."""
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Variation:
    """One randomised quantity: `vary` writes values (k, m) into robots `ids` (k,).

    Raises:
        UsageError: what is no function, no `Uniform` of two numbers in their order or no `Per`;
            values or a part of the robot that are not `QUANTITIES` for it.
    """

    vary: Vary
    distribution: Uniform
    per: Per = Per.ROBOT
    every: Uniform | None = None  # time from one draw to the next [s]; None: at each reset

    def __post_init__(self) -> None:
        _require_kinds(self)
        if self.every and not 0 < self.every.low <= self.every.high:
            raise UsageError(
                f"{self.name}: found it every {self.every.low:g} to {self.every.high:g} s, "
                "allowed is more than 0, the shorter first"
            )
        if (possible := QUANTITIES.get(self.vary)) is None:  # somebody's own
            return
        low, high = self.distribution.low, self.distribution.high
        if low > high:
            raise UsageError(
                f"{self.name}: found values from {low:g} to {high:g}, allowed is the smaller first"
            )
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
        if self.every and not possible.recurs:
            able = ", ".join(vary.__name__ for vary, p in QUANTITIES.items() if p.recurs)
            raise UsageError(f"{self.name}: found it during an episode, allowed there are {able}")

    @property
    def name(self) -> str:
        """Of its quantity: by it the variation is listed, drawn and described."""
        return self.vary.__name__


def _require_kinds(variation: Variation) -> None:
    """Raise UsageError where a field is of another kind than it must be: Python would not tell."""
    vary, per = variation.vary, variation.per
    if not callable(vary) or not hasattr(vary, "__name__"):
        named = ", ".join(each.__name__ for each in QUANTITIES)
        raise UsageError(
            f"randomisation: found {vary!r}, allowed is one of the functions {named} of "
            "surefoot.sim.quantities, or one of your own"
        )
    for span in (variation.distribution, *([variation.every] if variation.every else [])):
        ends = (span.low, span.high) if isinstance(span, Uniform) else ()
        if not ends or not all(isinstance(end, Real) for end in ends):
            raise UsageError(
                f"{variation.name}: found {span!r}, allowed is Uniform(low, high) with two numbers"
            )
    if not isinstance(per, Per):
        named = ", ".join(map(str, Per))
        raise UsageError(f"{variation.name}: found one value per {per!r}, allowed are {named}")


def require_fit(variations: Sequence[Variation], robots: RobotBatch) -> None:
    """Raise UsageError for a variation that these robots have nothing for, or not so much; and for
    a quantity that varies twice.
    """
    for variation in variations:
        if not isinstance(variation, Variation):
            raise UsageError(f"randomisation: found {variation!r}, allowed are Variations")
    robot, names = robots.robot, [variation.name for variation in variations]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"randomisation: found {name} {names.count(name)} times, allowed is once: "
                "`replaced` puts one in the other's place"
            )
    for variation in variations:
        possible = QUANTITIES.get(variation.vary)
        if possible is None:
            continue
        if possible.needs and not PARTS[possible.needs](robots):
            able = [v for v, p in QUANTITIES.items() if not p.needs or PARTS[p.needs](robots)]
            fit = [vary.__name__ for vary in able]
            raise UsageError(
                f"randomisation: found {variation.name} for {robot.name}, a robot without "
                f"{possible.needs}, allowed are {', '.join(fit)}"
            )
        least, most = bounds(variation, variations, robot, robots.model)
        low, high = variation.distribution.low, variation.distribution.high
        if not least <= low <= high <= most:
            raise UsageError(
                f"{variation.name}: found values from {low:g} to {high:g}, "
                f"allowed for {robot.name} is from {least:g} to {most:g}"
            )


def bounds(
    variation: Variation, variations: Sequence[Variation], robot: Robot, model: mujoco.MjModel
) -> tuple[float, float]:
    """The least and the greatest value of one of the variations of a robot: a delay has its
    buffer, and of the base `LEFT` stays when it is lightest.
    """
    least, most = QUANTITIES[variation.vary].bounds(robot)
    if variation.vary is payload:
        scales = [v.distribution.low for v in variations if v.vary is mass_scale]
        least = -(1 - LEFT) * min([1.0, *scales]) * float(model.body_mass[BASE])
    return least, most


# --- what training varies -----------------------------------------------------------------------


# Of the quadruped's training: lengths, masses and speeds are for one of 2.3 kg and 16 cm.
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


def resized(
    variations: Sequence[Variation], mass: float = 1.0, length: float = 1.0, speed: float = 1.0
) -> tuple[Variation, ...]:
    """The same for a robot of `mass` and `length` times as much, pushed by `speed` times as much.

    Factors, angles and delays do not depend on a robot's size.
    """
    scales: Mapping[Vary, float] = {payload: mass, centre_of_mass: length, push: speed}

    def scaled(variation: Variation) -> Variation:
        scale, span = scales.get(variation.vary, 1.0), variation.distribution
        return replace(variation, distribution=Uniform(scale * span.low, scale * span.high))

    return tuple(map(scaled, variations))


def replaced(variations: Sequence[Variation], *others: Variation) -> tuple[Variation, ...]:
    """The same with `others`: each in the place of that of its quantity, or behind all."""
    found = {variation.name: variation for variation in variations}
    return tuple((found | {other.name: other for other in others}).values())


# Of Go1's: 13 kg, 29 cm. A push grows as the walking speed does: by Froude's number, with the
# root of the height.
GO1_TRAINING = resized(TRAINING, mass=5.65, length=1.8, speed=1.8**0.5)

# Of the biped's: 3 kg. It is taller than the quadruped, and on narrower feet.
BIPED_TRAINING = resized(TRAINING, mass=1.3)

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


def fitted(variations: Sequence[Variation], output: Output, robot: Robot) -> tuple[Variation, ...]:
    """Those that there are for a robot so driven: under torques, motors have no stiffness. Delays
    are at most a control period.
    """

    def cut(variation: Variation) -> Variation:
        if (possible := QUANTITIES.get(variation.vary)) is None:  # somebody's own
            return variation
        span, (_, most) = variation.distribution, possible.bounds(robot)
        return replace(variation, distribution=Uniform(min(span.low, most), min(span.high, most)))

    gone = (stiffness, damping) if output == "joint_torque" else ()
    return tuple(cut(v) for v in variations if v.vary not in gone)


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
    value = variation.distribution.sample(rng, (len(ids), values_per(robots, variation.per)))
    variation.vary(robots, ids, value)
    return value


UNUSED = ("mass_scale.world", "push.z")  # drawn, but part of no robot


def by_part(
    drawn: Mapping[str, np.ndarray], variations: Sequence[Variation], robots: RobotBatch
) -> dict[str, np.ndarray]:
    """What was drawn, each (N, m), as one column (N,) for each value, as `stiffness.left_knee`."""
    model = robots.model
    parts = {
        Per.ROBOT: [""],
        Per.BODY: [f".{model.body(i).name}" for i in range(model.nbody)],
        Per.JOINT: [f".{name}" for name in robots.robot.joint_names],
        Per.AXIS: [".x", ".y", ".z"],
        Per.SENSOR: [f".{sensor.name}" for sensor in robots.robot.contact_sensors],
    }
    return {
        name: drawn[variation.name][:, i]
        for variation in variations
        for i, part in enumerate(parts[variation.per])
        if (name := variation.name + part) not in UNUSED
    }


def read(rows: Sequence[Mapping[str, Any]]) -> tuple[Variation, ...]:
    """The variations behind what `describe` gave.

    Raises:
        UsageError: a term or a part that there is not, or values that are not possible for it.
    """
    terms, parts = {vary.__name__: vary for vary in QUANTITIES}, {per.value: per for per in Per}
    for row in rows:
        for found, allowed in ((row["what"], terms), (row["per"], parts)):
            if found not in allowed:
                raise UsageError(f"randomisation: found {found}, allowed are {', '.join(allowed)}")
    return tuple(
        Variation(
            terms[row["what"]],
            Uniform(row["low"], row["high"]),
            parts[row["per"]],
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


def values_per(robots: RobotBatch, per: Per) -> int:
    """How many values are drawn for one robot."""
    counts = {
        Per.ROBOT: 1,
        Per.BODY: robots.model.nbody,
        Per.JOINT: robots.model.nu,
        Per.AXIS: 3,
        Per.SENSOR: len(robots.robot.contact_sensors),
    }
    return counts[per]
