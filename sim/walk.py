"""The walking task: follow velocity commands with what the robot's own sensors give.

N robots in one vector environment. `walker.py` has the actor's observation, which can be measured
on board; the critic's privileged one cannot. The limiter that guards the robot acts here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ..models.limits import Output, Reason
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..models.rotation import heading
from .curriculum import TerrainCurriculum
from .gaits import Gait, RewardWeights, gait_of
from .randomisation import Variation, fitted
from .robot_batch import RobotBatch
from .robot_env import RobotEnv
from .servos import SUBSTEPS
from .symmetry import left_right_mirror
from .terrain import make_terrain
from .walker import require_feet, walking_terms
from .world import pose_on_floor

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
GROUND = ("ground",)  # where there is terrain: heights around it against those under its feet [m]


class WalkEnv(RobotEnv):
    """N walking robots: a `RobotEnv` with commands (vx [m/s], vy [m/s], yaw rate [rad/s])."""

    usual_robot = "quadruped"
    outputs = ("joint_target", "joint_torque")
    has_terrain = True
    episode_time = EPISODE_TIME
    command_time = COMMAND_TIME

    def __init__(
        self,
        num_envs: int = 1,
        robot: str | Robot = "quadruped",
        randomisation: Sequence[Variation] | None = None,
        gait: Gait | None = None,
        nthread: int = 0,
        terrain: bool = False,
        terrain_seed: int = 0,
        history: int = 1,
        output: Output = "joint_target",
        substeps: int = SUBSTEPS,
    ) -> None:
        """The environments; call `reset` before the first `step`.

        Args:
            num_envs: N.
            robot: one with legs, or its name or path as `load_robot` takes it.
            randomisation: what varies from episode to episode, and during one; () for none; None:
                what suits the gait.
            gait: how it is to walk; None: as `gait_of` says.
            nthread: threads that step the physics; 0: as many as there are processors.
            terrain: walk on rough ground, blocks, steps and slopes, from easy to hard as it is
                earned; without it, on level ground.
            terrain_seed: of what is random on it.
            history: observations that the actor sees.
            output: what actions stand for.
            substeps: of the physics, a control period.

        Raises:
            RobotFileError: robot.toml or the MJCF describes no possible robot.
            UsageError: the robot has other feet than the gait, or sides that are not alike; or
                torques are asked of one without contact sensors; or no such history.
        """
        robot = load_robot(robot) if isinstance(robot, str) else robot
        robots = RobotBatch(robot, num_envs, nthread, output, substeps=substeps)
        # Of the base in the standing pose [m].
        self.standing_height = height = float(pose_on_floor(robots.model, robot.default_pose)[2])
        if terrain:  # its heights are multiples of the robot's
            ground = make_terrain(height, terrain_seed)
            self.curriculum = TerrainCurriculum(ground, num_envs, height)
            robots = RobotBatch(robot, num_envs, nthread, output, ground, substeps)
        self.gait = gait = gait or gait_of(robot)
        require_feet(robots, gait.feet)
        self.clock_period, self.commands = gait.period, gait.commands
        terms = walking_terms(robots, gait, output)
        names = [field.name for field in fields(RewardWeights)]
        self.seen = PRIVILEGED + (GROUND if terrain else ())  # by the critic
        mirror = left_right_mirror(terms, self.seen, robot, gait.feet)
        varied = (
            fitted(gait.randomisation, output, robot) if randomisation is None else randomisation
        )
        super().__init__(
            robots, terms, gait.action_scale, gait.action_limit, names, mirror, varied, history
        )
        self.foot_radius = robots.model.geom_size[robots.foot_geoms, 0]  # [m]. Shape (feet,)
        self.feet_before = np.zeros((num_envs, len(gait.feet), 3))

    # --- the task -----------------------------------------------------------------------------

    def initial_state(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standing, nearly, on the tile that is earned; a random heading."""
        rng, k, n = self.np_random, len(ids), len(self.robot.joints)
        qpos = np.zeros((k, self.robots.model.nq))
        qvel = np.zeros((k, self.robots.model.nv))
        pose = self.robot.default_pose + rng.uniform(-0.1, 0.1, (k, n))
        turned = rng.uniform(-np.pi, np.pi, k)
        qpos[:, 2] = self.standing_height + rng.uniform(0.0, 0.01, k)
        if self.curriculum:
            survived = self.ticks[ids] >= self.episode_ticks
            qpos[:, :2] = self.curriculum.begin(ids, survived)
            qpos[:, 2] += self.curriculum.terrain.height(qpos[:, :2])
        qpos[:, 3], qpos[:, 6] = np.cos(turned / 2), np.sin(turned / 2)
        qpos[:, 7:] = np.clip(pose, self.robot.lower, self.robot.upper)
        qvel[:, :6] = rng.uniform(-0.1, 0.1, (k, 6))
        return qpos, qvel

    def begin(self, ids: np.ndarray) -> None:
        """Where its feet are."""
        self.feet_before[ids] = self.robots.feet[ids]

    def go_on(self) -> None:
        """Where the feet are; on terrain, how far each robot came."""
        self.feet_before[:] = self.robots.feet
        if self.curriculum:
            self._follow_curriculum(self.curriculum)

    def _follow_curriculum(self, curriculum: TerrainCurriculum) -> None:
        velocity = self.robots.linear_velocity[:, :2]
        curriculum.follow(velocity, self.command[:, :2], self.period)
        # Who left the first period of the ground goes on in it.
        xy = self.robots.qpos[:, :2]
        moved = curriculum.terrain.wrapped(xy) - xy
        xy += moved
        self.feet_before[:, :, :2] += moved[:, None]

    def draw_commands(self, ids: np.ndarray) -> np.ndarray:
        """Uniform over the gait's range, and 0 along an axis, or all, more often than by chance."""
        rng, k = self.np_random, len(ids)
        fastest = np.array(self.gait.command_range)
        command = rng.uniform(-fastest, fastest, (k, 3))
        command[rng.random((k, 3)) < ZERO_AXIS] = 0.0
        command[rng.random(k) < ZERO_ALL] = 0.0
        return command

    def ends(self) -> dict[str, np.ndarray]:
        """A fall: tilted or low, or a simulation that broke down."""
        tilted = -self.robots.gravity[:, 2] < np.cos(TILT_LIMIT)
        low = self.height < self.gait.min_height
        return {"fall": tilted | low | self.diverged}

    def privileged_parts(self) -> Sequence[np.ndarray]:
        """As `PRIVILEGED` and `GROUND` name them."""
        robots = self.robots
        parts = {
            "linear_velocity": robots.linear_velocity,
            "angular_velocity": robots.angular_velocity,
            "gravity": robots.gravity,
            "foot_heights": self.foot_heights,
            "foot_friction": robots.field("geom_friction")[:, robots.foot_geoms, 0],
        }
        if self.curriculum:
            xy, turned = robots.qpos[:, :2], heading(robots.qpos[:, 3:7])
            parts["ground"] = self.curriculum.scan(xy, turned) - self._ground[:, None]
        return [parts[name] for name in self.seen]

    @property
    def foot_heights(self) -> np.ndarray:
        """Above the ground [m]. Shape (N, feet)."""
        feet = self.robots.feet
        heights = feet[:, :, 2] - self.foot_radius
        if self.curriculum is None:
            return heights
        return heights - self.curriculum.terrain.height(feet[:, :, :2])

    @property
    def height(self) -> np.ndarray:
        """Of the base above the ground under the feet [m]. Shape (N,)."""
        return self.robots.qpos[:, 2] - self._ground

    @property
    def _ground(self) -> np.ndarray:
        """Mean height of the ground under the feet [m]. Shape (N,)."""
        if self.curriculum is None:
            return np.zeros(self.num_envs)
        return self.curriculum.terrain.height(self.robots.feet[:, :, :2]).mean(1)

    def reward_terms(self, actions: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """What walking well is."""
        robots, gait, w = self.robots, self.gait, self.gait.weights
        velocity, spin, gravity = robots.linear_velocity, robots.angular_velocity, robots.gravity
        command = self.command
        moving = (np.linalg.norm(command, axis=1) > STILL)[:, None]

        phase = 2 * np.pi * (self.clock / gait.period + np.array(gait.phase))
        wanted_height = moving * gait.swing_height * np.maximum(0.0, np.sin(phase))
        foot_heights = self.foot_heights
        height_error = foot_heights - wanted_height
        foot_velocity = (robots.feet - self.feet_before)[:, :, :2] / self.period
        on_floor = foot_heights < 0.004
        deviation = robots.joint_pos - self.robot.default_pose
        return {
            # Velocity in the horizontal plane follows the command.
            "track": w.track * np.exp(-_sq(velocity[:, :2] - command[:, :2]) / gait.track_sigma2),
            # Yaw rate follows the command.
            "turn": w.turn * np.exp(-((spin[:, 2] - command[:, 2]) ** 2) / gait.turn_sigma2),
            # Each foot's height follows the gait's clock, or stays on the floor.
            "gait": w.gait * np.exp(-((height_error / gait.swing_tolerance) ** 2)).mean(1),
            # The joints stay near the standing pose, closer where the robot is to stand.
            "pose": w.pose * np.exp(-_sq(deviation) / (0.3 + 1.2 * moving[:, 0])),
            # The base stays level,
            "orientation": w.orientation * _sq(gravity[:, :2]),
            # at its height,
            "height": w.height * (self.height - self.standing_height) ** 2,
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

    def statistics(self, ends: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Beside those of all tasks: on a terrain, the `terrain/level` that was walked on."""
        found = super().statistics(ends)
        if self.curriculum is None:
            return found
        return found | {"terrain/level": self.curriculum.level.astype(float)}

    _STATE = (*RobotEnv._STATE, "feet_before")

    def get_state(self) -> dict[str, Any]:
        """See `RobotEnv.get_state`; the curriculum is part of it."""
        earned = self.curriculum.arrays() if self.curriculum else {}
        return {**super().get_state(), "curriculum": {k: v.copy() for k, v in earned.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `RobotEnv.set_state`."""
        super().set_state(state)
        if self.curriculum:
            for name, value in state["curriculum"].items():
                self.curriculum.arrays()[name][:] = value


def _sq(x: np.ndarray) -> np.ndarray:
    """Sum of squares over the last axis."""
    return np.square(x).sum(-1)
