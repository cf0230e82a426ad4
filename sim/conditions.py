"""Under which conditions a policy is evaluated: what varies, as data.

nominal: the robot of robot.toml. pushes: the same one, shoved. randomised: within the ranges of
training. beyond: in ranges `BEYOND` times as wide, as far as they are physically possible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..models.errors import UsageError
from ..models.robot import Robot
from .quantities import Per, foot_friction, push
from .randomisation import Uniform, Variation
from .servos import MAX_DELAY, SUBSTEPS

BEYOND = 1.75

FRICTION_ONLY: tuple[Variation, ...] = (Variation(foot_friction, Uniform(0.4, 1.0)),)
SHOVES: tuple[Variation, ...] = (
    Variation(push, Uniform(-0.5, 0.5), Per.AXIS, every=Uniform(2.0, 4.0)),
)


@dataclass(frozen=True)
class Factor:
    """A quantity that is scaled: its logarithm is widened, so it stays positive."""

    nominal: float = 1.0

    def widen(self, value: float, by: float) -> float:
        if value <= 0:
            return 0.0  # as small as such a quantity can be, already
        return self.nominal * (value / self.nominal) ** by


@dataclass(frozen=True)
class Offset:
    """A quantity that is added to, between what is possible."""

    nominal: float = 0.0
    lowest: float = -math.inf
    highest: float = math.inf

    def widen(self, value: float, by: float) -> float:
        wide = self.nominal + by * (value - self.nominal)
        return min(max(wide, self.lowest), self.highest)


def conditions(
    robot: Robot,
    nominal: Sequence[Variation],
    pushes: Sequence[Variation],
    training: Sequence[Variation],
) -> dict[str, Sequence[Variation]]:
    """The conditions by name, in their order; without `pushes` where nothing can push the robot."""
    return {
        "nominal": nominal,
        **({"pushes": (*nominal, *pushes)} if pushes else {}),
        "randomised": training,
        "beyond": widened(training, robot),
    }


def widened(
    variations: Sequence[Variation], robot: Robot, by: float = BEYOND
) -> tuple[Variation, ...]:
    """The variations with ranges `by` times as wide about the nominal value.

    Raises:
        UsageError: nothing is known of how a variation's quantity may be widened.
    """
    kinds = _kinds(robot)
    wide = []
    for variation in variations:
        kind = kinds.get(variation.name)
        if kind is None:
            raise UsageError(
                f"evaluation: found the variation {variation.name}, "
                f"allowed to be widened are {', '.join(kinds)}"
            )
        low, high = variation.distribution.low, variation.distribution.high
        span = Uniform(kind.widen(low, by), kind.widen(high, by))
        wide.append(replace(variation, distribution=span))
    return tuple(wide)


def _kinds(robot: Robot) -> dict[str, Factor | Offset]:
    """How each quantity that training may vary is measured: by the name of its variation."""
    return {
        "foot_friction": Factor(nominal=0.8),
        **dict.fromkeys(
            ("mass_scale", "motor_strength", "supply_voltage", "stiffness", "damping"), Factor()
        ),
        **dict.fromkeys(("joint_friction", "armature"), Factor()),
        "sensor_noise": Offset(lowest=0.0),
        "command_delay": Offset(robot.control_period / SUBSTEPS, 0.0, MAX_DELAY),
        "imu_delay": Offset(lowest=0.0, highest=robot.control_period),
        **dict.fromkeys(
            ("payload", "centre_of_mass", "encoder_offset", "gyro_bias", "imu_mounting", "push"),
            Offset(),
        ),
        "held_mass": Offset(lowest=0.0),
    }
