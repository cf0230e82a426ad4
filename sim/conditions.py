"""Under which conditions a policy is evaluated: what varies, as data.

nominal: the robot of robot.toml with perfect sensors; a walker's feet differ in friction, as floors
do. pushes: the same one, pushed. randomised: within the ranges of training. beyond: in ranges
`BEYOND` times as wide, as far as they are physically possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..models.errors import UsageError
from ..models.robot import Robot
from .quantities import QUANTITIES, Per, foot_friction, push
from .randomisation import Uniform, Variation, bounds
from .servos import training_model

BEYOND = 1.75

FRICTION_ONLY: tuple[Variation, ...] = (Variation(foot_friction, Uniform(0.4, 1.0)),)


def recurring_pushes(most: float) -> tuple[Variation, ...]:
    """A push every few seconds, by up to `most` along each axis [m/s]."""
    return (Variation(push, Uniform(-most, most), Per.AXIS, every=Uniform(2.0, 4.0)),)


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
    wide = [replace(each, distribution=_wide(each, by)) for each in variations]
    model = training_model(robot)  # what may be taken from the base depends on what it weighs then
    ranges = [_within(each.distribution, bounds(each, wide, robot, model)) for each in wide]
    return tuple(replace(v, distribution=span) for v, span in zip(wide, ranges, strict=True))


def _wide(variation: Variation, by: float) -> Uniform:
    possible = QUANTITIES.get(variation.vary)
    if possible is None:
        raise UsageError(
            f"evaluation: found the variation {variation.name}, "
            f"allowed to be widened are {', '.join(vary.__name__ for vary in QUANTITIES)}"
        )

    def widened(value: float) -> float:
        if possible.factor:  # by its logarithm
            return possible.nominal * (value / possible.nominal) ** by
        return possible.nominal + by * (value - possible.nominal)

    span = Uniform(widened(variation.distribution.low), widened(variation.distribution.high))
    return _within(span, (possible.low, possible.high))


def _within(span: Uniform, ends: tuple[float, float]) -> Uniform:
    least, most = ends
    return Uniform(min(max(span.low, least), most), min(max(span.high, least), most))
