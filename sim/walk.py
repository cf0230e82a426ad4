"""The walking task: follow velocity commands with what the robot's own sensors give.

N robots in one vector environment. The actor's observation is measurable on board; the critic's
privileged one is not. The limiter that guards the robot acts here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import mujoco
import numpy as np

from ..models.errors import UsageError
from ..models.limits import Reason
from ..models.observation import Deviation, Phase, Term
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..models.task import CommandPart
from .randomisation import TRAINING, Variation
from .robot_batch import RobotBatch
from .robot_env import RobotEnv
from .symmetry import left_right_mirror
from .world import FOOT, height_on_floor

# Commands
COMMAND_TIME = (3.0, 7.0)  # from one command to the next [s]
ZERO_AXIS = 0.2  # probability that an axis of the command is 0
ZERO_ALL = 0.1  # probability that the whole command is 0
STILL = 0.05  # a command shorter than this asks to stand

# Episode
EPISODE_TIME = 20.0  # [s]
TILT_LIMIT = 1.0  # angle between the base's z axis and up at which it has fallen [rad]

# What only the simulator knows, behind the observation in the critic's, in this order.
PRIVILEGED = (
    "linear_velocity",  # of the base, in the base frame [m/s]
    "angular_velocity",  # of the base, in the base frame [rad/s]
    "gravity",  # unit vector pointing down, in the base frame
    "foot_heights",  # of the soles above the floor [m]
    "foot_friction",  # sliding friction of the feet
)


# A foot: its radius is how far its site is above the floor that it touches.
ROUND = (int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE))


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
    action_scale=0.5,
    action_limit=8.0,
    weights=RewardWeights(
        gait=2.0, orientation=-5.0, height=-15.0, slip=-0.2, torque=-2e-4, action_rate=-0.01
    ),
)
BIPED = Gait(
    feet=("left_heel", "left_toe", "right_heel", "right_toe"),
    phase=(0.0, 0.0, 0.5, 0.5),  # one foot, then the other
    period=0.6,
    swing_height=0.03,
    swing_tolerance=0.015,
    command_range=(0.3, 0.15, 0.6),
    track_sigma2=0.03,
    turn_sigma2=0.25,
    min_height=0.16,
    action_scale=0.3,
    action_limit=6.0,
)
GAITS = {"go1": GO1, "biped": BIPED}  # by robot; another walks as the quadruped does


def walking_terms(robot: Robot, gait: Gait) -> tuple[Term, ...]:
    """The observation of a walking robot: all of it measurable on board."""
    return (
        Deviation("gyro"),
        Deviation("gravity"),
        Deviation("joint_pos", tuple(robot.default_pose.tolist())),
        Deviation("joint_vel"),
        Deviation("previous_action"),
        Deviation("command"),
        Phase("clock", gait.period),
    )


class WalkEnv(RobotEnv):
    """N walking robots: a `RobotEnv` with commands (vx [m/s], vy [m/s], yaw rate [rad/s])."""

    usual_robot = "quadruped"
    episode_time = EPISODE_TIME

    def __init__(
        self,
        num_envs: int = 1,
        robot: str | Robot = "quadruped",
        randomisation: Sequence[Variation] = TRAINING,
        gait: Gait | None = None,
        nthread: int = 0,
    ) -> None:
        """The environments; call `reset` before the first `step`.

        Args:
            num_envs: N.
            robot: one with legs, or its name or path as `load_robot` takes it.
            randomisation: what varies from episode to episode, and during one; () for none.
            gait: how it is to walk; None: as `GAITS` says, or as the quadruped does.
            nthread: threads that step the physics; 0: as many as there are processors.

        Raises:
            RobotFileError: robot.toml or the MJCF describes no possible robot.
            UsageError: the robot has other feet than the gait, or sides that are not alike.
        """
        robot = load_robot(robot) if isinstance(robot, str) else robot
        robots = RobotBatch(robot, num_envs, nthread)
        self.gait = gait = gait or GAITS.get(robot.name, QUADRUPED)
        _require_feet(robots, gait.feet)
        self.action_scale, self.action_limit = gait.action_scale, gait.action_limit
        self.clock_period, self.commands = gait.period, gait.commands
        terms = walking_terms(robot, gait)
        names = [field.name for field in fields(RewardWeights)]
        mirror = left_right_mirror(terms, PRIVILEGED, robot, gait.feet)
        super().__init__(robots, terms, names, mirror, randomisation)
        # Of each foot, shape (feet,), and of the base in the standing pose [m].
        self.foot_radius = robots.model.geom_size[robots.foot_geoms, 0]
        upright = [0, 0, 0, 1, 0, 0, 0, *robot.default_pose]
        self.standing_height = height_on_floor(robots.model, np.array(upright))
        self.next_command = np.zeros(num_envs)  # when it is redrawn [s]
        self.feet_before = np.zeros((num_envs, len(gait.feet), 3))

    def set_commands(self, command: np.ndarray) -> None:
        """Command (vx, vy, yaw rate) to every robot until its episode ends. Shape (N, 3)."""
        self.command[:] = command
        self.next_command[:] = np.inf
        self.inputs["command"] = self.command.astype(np.float32)

    # --- the task -----------------------------------------------------------------------------

    def initial_state(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standing, nearly; a random heading."""
        rng, k, n = self.np_random, len(ids), len(self.robot.joints)
        qpos = np.zeros((k, self.robots.model.nq))
        qvel = np.zeros((k, self.robots.model.nv))
        pose = self.robot.default_pose + rng.uniform(-0.1, 0.1, (k, n))
        heading = rng.uniform(-np.pi, np.pi, k)
        qpos[:, 2] = self.standing_height + rng.uniform(0.0, 0.01, k)
        qpos[:, 3], qpos[:, 6] = np.cos(heading / 2), np.sin(heading / 2)
        qpos[:, 7:] = np.clip(pose, self.robot.lower, self.robot.upper)
        qvel[:, :6] = rng.uniform(-0.1, 0.1, (k, 6))
        return qpos, qvel

    def begin(self, ids: np.ndarray) -> None:
        """A first command."""
        self.feet_before[ids] = self.robots.feet[ids]
        self._redraw_commands(ids)

    def go_on(self) -> None:
        """A new command every few seconds."""
        self.feet_before[:] = self.robots.feet
        self._redraw_commands(np.flatnonzero(self.time >= self.next_command))

    def _redraw_commands(self, ids: np.ndarray) -> None:
        rng, k = self.np_random, len(ids)
        if not k:
            return
        fastest = np.array(self.gait.command_range)
        command = rng.uniform(-fastest, fastest, (k, 3))
        command[rng.random((k, 3)) < ZERO_AXIS] = 0.0
        command[rng.random(k) < ZERO_ALL] = 0.0
        self.command[ids] = command
        self.next_command[ids] = self.time[ids] + rng.uniform(*COMMAND_TIME, k)

    def ends(self) -> dict[str, np.ndarray]:
        """A fall: tilted or low, or a simulation that broke down."""
        tilted = -self.robots.gravity[:, 2] < np.cos(TILT_LIMIT)
        low = self.robots.qpos[:, 2] < self.gait.min_height
        return {"fall": tilted | low | self.diverged}

    def privileged_parts(self) -> Sequence[np.ndarray]:
        """As `PRIVILEGED` names them."""
        robots = self.robots
        parts = {
            "linear_velocity": robots.linear_velocity,
            "angular_velocity": robots.angular_velocity,
            "gravity": robots.gravity,
            "foot_heights": self.foot_heights,
            "foot_friction": robots.field("geom_friction")[:, robots.foot_geoms, 0],
        }
        return [parts[name] for name in PRIVILEGED]

    @property
    def foot_heights(self) -> np.ndarray:
        """Above the floor [m]. Shape (N, feet)."""
        return self.robots.feet[:, :, 2] - self.foot_radius

    def reward_terms(self, actions: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """What walking well is."""
        robots, gait, w = self.robots, self.gait, self.gait.weights
        velocity, spin, gravity = robots.linear_velocity, robots.angular_velocity, robots.gravity
        command = self.command
        moving = (np.linalg.norm(command, axis=1) > STILL)[:, None]

        phase = 2 * np.pi * (self.clock / gait.period + np.array(gait.phase))
        wanted_height = moving * gait.swing_height * np.maximum(0.0, np.sin(phase))
        height_error = self.foot_heights - wanted_height
        foot_velocity = (robots.feet - self.feet_before)[:, :, :2] / self.period
        on_floor = self.foot_heights < 0.004
        deviation = robots.joint_pos - self.robot.default_pose
        return {
            # Velocity in the horizontal plane follows the command.
            "track": w.track
            * np.exp(-_sq(velocity[:, :2] - self.command[:, :2]) / gait.track_sigma2),
            # Yaw rate follows the command.
            "turn": w.turn * np.exp(-((spin[:, 2] - command[:, 2]) ** 2) / gait.turn_sigma2),
            # Each foot's height follows the trot's clock, or stays on the floor.
            "gait": w.gait * np.exp(-((height_error / gait.swing_tolerance) ** 2)).mean(1),
            # The joints stay near the standing pose, the roll joints above all.
            "pose": w.pose * np.exp(-_sq(deviation) / (0.3 + 1.2 * moving[:, 0])),
            # The base stays level,
            "orientation": w.orientation * _sq(gravity[:, :2]),
            # at its height,
            "height": w.height * (robots.qpos[:, 2] - self.standing_height) ** 2,
            # without bouncing
            "bounce": w.bounce * velocity[:, 2] ** 2,
            # or rolling and pitching.
            "wobble": w.wobble * _sq(spin[:, :2]),
            # A foot on the floor doesn't slide.
            "slip": w.slip * (_sq(foot_velocity) * on_floor).sum(1),
            # Little torque, for the motors' sake;
            "torque": w.torque * _sq(robots.joint_torque),
            # smooth actions;
            "action_rate": w.action_rate * _sq(actions - self.action),
            # targets that the limiter leaves alone.
            "limited": w.limited * (self.reasons & (Reason.TORQUE | Reason.POSITION) > 0).sum(1),
        }

    _STATE = (*RobotEnv._STATE, "next_command", "feet_before")


def _require_feet(robots: RobotBatch, feet: tuple[str, ...]) -> None:
    """Raise UsageError for a robot that lacks these feet, or has others."""
    model, names = robots.model, [foot + FOOT for foot in feet]
    round_ones = [
        model.geom(i).name for i in robots.foot_geoms.tolist() if model.geom_type[i] in ROUND
    ]
    sites = [model.site(i).name for i in robots.foot_sites.tolist()]
    if round_ones != names or sites != names or len(robots.foot_geoms) != len(names):
        raise UsageError(
            f"walk: found the round foot geoms {', '.join(round_ones) or 'none'} and the foot "
            f"sites {', '.join(sites) or 'none'} of {robots.robot.name}, allowed are a sphere or "
            f"capsule and a site each named {', '.join(names)}"
        )


def _sq(x: np.ndarray) -> np.ndarray:
    """Sum of squares over the last axis."""
    return np.square(x).sum(-1)
