"""Gaits: what walking means for robots of one build and size. Data, read by `walk.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models.robot import Robot
from ..models.task import CommandPart
from .randomisation import BIPED_TRAINING, GO1_TRAINING, TRAINING, Variation


@dataclass(frozen=True)
class RewardWeights:
    """Weights of the reward's terms; each term is described where it is computed."""

    track: float = 1.0
    turn: float = 0.6
    gait: float = 1.0
    pose: float = 0.3
    orientation: float = -3.0
    height: float = -40.0
    bounce: float = -0.5
    wobble: float = -0.05
    slip: float = -1.0
    torque: float = -0.025
    action_rate: float = -0.03
    limited: float = -0.05


@dataclass(frozen=True)
class Gait:
    """What walking means for a robot of one build and size."""

    feet: tuple[str, ...]
    """Its feet, sorted by name: a geom and a site of each, named so with `_foot` behind."""
    phase: tuple[float, ...]
    """Of each foot in the gait, as a fraction of the period."""
    period: float
    """Of the gait [s]."""
    swing_height: float
    """Of a foot [m]."""
    swing_tolerance: float
    """Error of a foot's height that the reward forgives [m]."""
    command_range: tuple[float, float, float]
    """± vx [m/s], vy [m/s], yaw rate [rad/s]."""
    track_sigma2: float
    """Squared error of the velocity at which the reward for it is 1/e [m²/s²]."""
    turn_sigma2: float
    """The same of the yaw rate [rad²/s²]."""
    min_height: float
    """Of the base: lower, and it has fallen [m]."""
    action_scale: float
    """Joint target = default pose + action_scale · action [rad]."""
    action_limit: float
    """Of each action: every joint reaches its limits within it."""
    weights: RewardWeights = field(default_factory=RewardWeights)
    """Of the reward's terms."""
    randomisation: tuple[Variation, ...] = TRAINING
    """What training varies."""
    evaluation_push: float = 0.5
    """± along each axis [m/s]."""

    @property
    def commands(self) -> tuple[CommandPart, ...]:
        """The parts of a command."""
        parts = zip(("vx", "vy", "yaw_rate"), ("m/s", "m/s", "rad/s"), strict=True)
        ranges = zip(parts, self.command_range, strict=True)
        return tuple(CommandPart(name, unit, -most, most) for (name, unit), most in ranges)


FOUR_FEET = ("front_left", "front_right", "rear_left", "rear_right")
TROT = (0.0, 0.5, 0.5, 0.0)  # diagonal feet together
QUADRUPED = Gait(
    feet=FOUR_FEET,
    phase=TROT,
    period=0.5,
    swing_height=0.035,
    swing_tolerance=0.015,
    command_range=(0.5, 0.3, 1.0),
    track_sigma2=0.05,
    turn_sigma2=0.25,
    min_height=0.09,
    action_scale=0.35,
    action_limit=4.0,
)
GO1 = Gait(
    feet=FOUR_FEET,
    phase=TROT,
    period=0.5,
    swing_height=0.07,
    swing_tolerance=0.03,
    command_range=(1.5, 0.8, 1.2),
    track_sigma2=0.25,
    turn_sigma2=0.25,
    min_height=0.15,
    action_scale=0.25,
    action_limit=16.0,
    weights=RewardWeights(
        gait=2.0, orientation=-12.0, height=-15.0, slip=-0.03, torque=-5e-5, action_rate=-0.01
    ),
    randomisation=GO1_TRAINING,
    evaluation_push=0.7,
)
BIPED = Gait(
    feet=("left_heel", "left_toe", "right_heel", "right_toe"),
    phase=(0.0, 0.0, 0.5, 0.5),  # one foot, then the other
    period=0.48,  # some three times the root of its height over gravity's acceleration
    swing_height=0.025,
    swing_tolerance=0.02,
    command_range=(0.3, 0.15, 0.6),
    track_sigma2=0.03,
    turn_sigma2=0.06,
    min_height=0.16,
    action_scale=0.3,
    action_limit=6.0,
    weights=RewardWeights(
        turn=1.0,
        gait=2.0,
        orientation=-5.0,
        height=-10.0,
        slip=-0.1,
        torque=-0.002,
        action_rate=-0.02,
        limited=-0.03,
    ),
    randomisation=BIPED_TRAINING,
    evaluation_push=0.4,
)
GAITS = {"go1": GO1, "biped": BIPED}  # by robot


def gait_of(robot: Robot) -> Gait:
    """How a robot walks; one that nobody has said anything about, as the quadruped does."""
    return GAITS.get(robot.name, QUADRUPED)
