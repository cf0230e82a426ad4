"""The walking task: follow velocity commands with what the robot's own sensors give.

N robots in one vector environment. The actor's observation is measurable on board; the critic's
privileged one is not. The limiter that guards the robot acts here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.vector.utils import batch_space

from ..models.errors import UsageError
from ..models.limits import Limits, Reason, limit_target
from ..models.observation import Deviation, Phase, Term, observe, width
from ..models.robot import Robot
from ..models.robot_file import load_robot
from .randomisation import TRAINING, Variation, disturb, randomise
from .robot_batch import RobotBatch
from .symmetry import left_right_mirror
from .world import FOOT, height_on_floor

# Lengths and speeds suit a robot of the quadruped's size: legs of two 0.1 m links, standing 0.16 m
# high. Its standing height and its foot radius are the model's.

# Commands
COMMAND_RANGE = np.array([0.5, 0.3, 1.0])  # ± vx [m/s], vy [m/s], yaw rate [rad/s]
COMMAND_TIME = (3.0, 7.0)  # from one command to the next [s]
ZERO_AXIS = 0.2  # probability that an axis of the command is 0
ZERO_ALL = 0.1  # probability that the whole command is 0

# Episode
EPISODE_TIME = 20.0  # [s]
TILT_LIMIT = 1.0  # angle between the base's z axis and up at which it has fallen [rad]
MIN_HEIGHT = 0.09  # of the base [m]

# Action
ACTION_SCALE = 0.35  # joint target = default pose + ACTION_SCALE · action [rad]
ACTION_LIMIT = 4.0  # of each action: every joint reaches its limits within it

# Gait: a trot, diagonal feet together
GAIT_PERIOD = 0.5  # [s]
SWING_HEIGHT = 0.035  # of a foot [m]
FEET = ("front_left", "front_right", "rear_left", "rear_right")
FOOT_PHASE = np.array([0.0, 0.5, 0.5, 0.0])  # of FEET
STILL = 0.05  # a command shorter than this asks to stand

# What only the simulator knows, behind the observation in the critic's, in this order.
PRIVILEGED = (
    "linear_velocity",  # of the base, in the base frame [m/s]
    "angular_velocity",  # of the base, in the base frame [rad/s]
    "gravity",  # unit vector pointing down, in the base frame
    "foot_heights",  # of the soles of FEET above the floor [m]
    "foot_friction",  # sliding friction of FEET
)


def walking_terms(robot: Robot) -> tuple[Term, ...]:
    """The observation of a walking robot: all of it measurable on board."""
    return (
        Deviation("gyro"),
        Deviation("gravity"),
        Deviation("joint_pos", tuple(robot.default_pose.tolist())),
        Deviation("joint_vel"),
        Deviation("previous_action"),
        Deviation("command"),
        Phase("clock", GAIT_PERIOD),
    )


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


TRACK_SIGMA2 = 0.05  # [m²/s²]
TURN_SIGMA2 = 0.25  # [rad²/s²]


class WalkEnv(gym.vector.VectorEnv):
    """N walking robots; SAME_STEP autoreset, the true last observation in `infos["final_obs"]`.

    Observation (N, D) and action (N, n), for a robot of n joints, are float32. The bits depend on
    the seed alone, not on the number of threads. Beyond Gymnasium it offers what `TaskEnv` and
    `DeployableTask` in `models/task.py` describe.
    """

    def __init__(
        self,
        num_envs: int = 1,
        robot: str | Robot = "quadruped",
        randomisation: Sequence[Variation] = TRAINING,
        weights: RewardWeights | None = None,
        nthread: int = 0,
    ) -> None:
        """The environments; call `reset` before the first `step`.

        Args:
            num_envs: N.
            robot: a quadruped, or its name or path as `load_robot` takes it.
            randomisation: what varies from episode to episode, and during one; () for none.
            weights: of the reward's terms.
            nthread: threads that step the physics; 0: as many as there are processors.

        Raises:
            RobotFileError: robot.toml or the MJCF describes no possible robot.
            UsageError: the robot is no quadruped with the feet `FEET` and two alike sides.
        """
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
        self.robot = load_robot(robot) if isinstance(robot, str) else robot
        self.robots = RobotBatch(self.robot, num_envs, nthread)
        self.period = self.robot.control_period
        self.weights = weights or RewardWeights()
        _require_feet(self.robots)
        # Of each foot, shape (4,), and of the base in the standing pose [m].
        self.foot_radius = self.robots.model.geom_size[self.robots.foot_geoms, 0]
        upright = [0, 0, 0, 1, 0, 0, 0, *self.robot.default_pose]
        self.standing_height = height_on_floor(self.robots.model, np.array(upright))
        self.terms = walking_terms(self.robot)
        self.action_scale = ACTION_SCALE
        self.clock_period = GAIT_PERIOD
        self.command_range = tuple(COMMAND_RANGE.tolist())
        self.limits = Limits.of(self.robot)
        self.at_reset = tuple(v for v in randomisation if v.every is None)
        self.during = tuple((v, v.every) for v in randomisation if v.every is not None)
        self.mirror = left_right_mirror(self.terms, PRIVILEGED, self.robot)

        n = len(self.robot.joints)
        observation = gym.spaces.Box(-np.inf, np.inf, (width(self.terms, n),), np.float32)
        action = gym.spaces.Box(-ACTION_LIMIT, ACTION_LIMIT, (n,), np.float32)
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, num_envs)
        self.action_space = batch_space(action, num_envs)

        self.command = np.zeros((num_envs, 3))
        self.next_command = np.zeros(num_envs)  # when it is redrawn [s]
        self.next_draw = np.zeros((len(self.during), num_envs))  # when `during` acts again [s]
        self.ticks = np.zeros(num_envs, np.int64)
        self.action = np.zeros((num_envs, n))  # the previous one, raw
        self.target = np.zeros((num_envs, n))  # the previous one, as limited [rad]
        self.feet_before = np.zeros((num_envs, len(FEET), 3))
        self.reasons = np.zeros((num_envs, n), np.uint8)
        self.reward_sums = np.zeros((len(fields(RewardWeights)), num_envs))  # of the episode
        self.inputs: dict[str, np.ndarray] = {}  # of the controller, by name
        self.privileged = np.zeros((num_envs, 0), np.float32)
        self.final_privileged = self.privileged

    # --- Gymnasium ----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every episode anew. Returns observations (N, D) and an empty dict."""
        if seed is not None:
            self.np_random, self._np_random_seed = gym.utils.seeding.np_random(seed)
        self._reset(np.arange(self.num_envs))
        return self._observe(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period under `actions` (N, n). Episodes that end start anew in the same step.

        Returns observations (N, D), rewards (N,), terminated and truncated (N,) and infos; where an
        episode ended these hold the true last observations `final_obs` (N, D), with `_final_obs`
        (N,) saying in which rows, and `statistics` (N,) by name.

        Raises:
            NonFiniteError: some action is NaN or infinite; the physics stands still then.
        """
        observation, reward, terminated, truncated, infos = self.advance(actions)
        done = terminated | truncated
        if done.any():
            infos["final_obs"], infos["_final_obs"] = observation, done
            self.final_privileged = self.privileged
            ids = np.flatnonzero(done)
            self._reset(ids)
            observation = self._observe(ids, observation)
        return observation, reward, terminated, truncated, infos

    def advance(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """`step` without the autoreset: episodes that ended stay where they ended."""
        self._disturb()
        wanted = self.robot.default_pose + ACTION_SCALE * np.asarray(actions, np.float64)
        target, self.reasons = limit_target(
            self.limits, wanted, self.target, self.inputs["joint_pos"], self.inputs["joint_vel"]
        )
        self.robots.step(target)
        self.ticks += 1

        terms = self._reward_terms(actions, target)
        # Floored, so that falling early never pays; a diverged simulation earns nothing.
        reward = np.nan_to_num(np.maximum(0.0, sum(terms.values()))).astype(np.float32)
        self.reward_sums += np.nan_to_num(np.stack(list(terms.values())))
        self.action[:], self.target[:] = actions, target
        self.feet_before[:] = self.robots.feet
        terminated = self._fallen()
        truncated = (self.ticks >= round(EPISODE_TIME / self.period)) & ~terminated
        self._redraw_commands(np.flatnonzero(self._time >= self.next_command))
        observation = self._observe()
        infos: dict[str, Any] = {}
        if (terminated | truncated).any():
            infos["statistics"] = self._statistics(terms, terminated)
        return observation, reward, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...]:
        """The first robot, as an RGB image in a tuple of one."""
        from .video import snapshot

        return (snapshot(self.robots),)

    # --- the task -----------------------------------------------------------------------------

    @property
    def _time(self) -> np.ndarray:
        return self.ticks * self.period

    @property
    def _clock(self) -> np.ndarray:
        """Time since the episode began, wrapped to the gait's period [s]. Shape (N, 1)."""
        return (self.ticks % round(GAIT_PERIOD / self.period) * self.period)[:, None]

    def _statistics(self, terms: Iterable[str], terminated: np.ndarray) -> dict[str, np.ndarray]:
        """Statistics of the episodes so far. Arrays of shape (N,)."""
        means = self.reward_sums / np.maximum(self.ticks, 1)
        return {
            **{f"reward/{name}": mean for name, mean in zip(terms, means, strict=True)},
            "end/fall": terminated.astype(float),
        }

    def _reset(self, ids: np.ndarray) -> None:
        rng, k, n = self.np_random, len(ids), len(self.robot.joints)
        randomise(self.at_reset, self.robots, ids, rng)
        qpos = np.zeros((k, self.robots.model.nq))
        qvel = np.zeros((k, self.robots.model.nv))
        pose = self.robot.default_pose + rng.uniform(-0.1, 0.1, (k, n))
        heading = rng.uniform(-np.pi, np.pi, k)
        qpos[:, 2] = self.standing_height + rng.uniform(0.0, 0.01, k)
        qpos[:, 3], qpos[:, 6] = np.cos(heading / 2), np.sin(heading / 2)
        qpos[:, 7:] = np.clip(pose, self.robot.lower, self.robot.upper)
        qvel[:, :6] = rng.uniform(-0.1, 0.1, (k, 6))
        self.robots.reset(ids, qpos, qvel)
        self.ticks[ids] = 0
        self.action[ids] = 0.0
        self.target[ids] = qpos[:, 7:] + self.robots.imperfections.encoder_offset[ids]
        self.feet_before[ids] = self.robots.feet[ids]
        self.reward_sums[:, ids] = 0.0
        self._redraw_commands(ids)
        for (_, every), due in zip(self.during, self.next_draw, strict=True):
            due[ids] = every.sample(rng, (k,))

    def set_commands(self, command: np.ndarray) -> None:
        """Command (vx, vy, yaw rate) to every robot until its episode ends. Shape (N, 3)."""
        self.command[:] = command
        self.next_command[:] = np.inf
        self.inputs["command"] = self.command.astype(np.float32)

    def _disturb(self) -> None:
        for (variation, every), due in zip(self.during, self.next_draw, strict=True):
            ids = np.flatnonzero(self._time >= due)
            if len(ids):
                disturb(variation, self.robots, ids, self.np_random)
                due[ids] += every.sample(self.np_random, (len(ids),))

    def _redraw_commands(self, ids: np.ndarray) -> None:
        rng, k = self.np_random, len(ids)
        if not k:
            return
        command = rng.uniform(-COMMAND_RANGE, COMMAND_RANGE, (k, 3))
        command[rng.random((k, 3)) < ZERO_AXIS] = 0.0
        command[rng.random(k) < ZERO_ALL] = 0.0
        self.command[ids] = command
        self.next_command[ids] = self._time[ids] + rng.uniform(*COMMAND_TIME, k)

    def _observe(
        self, ids: np.ndarray | None = None, previous: np.ndarray | None = None
    ) -> np.ndarray:
        """Measure all robots; with `ids`, the other rows stay as in `previous`."""
        inputs = {
            **self.robots.measure(self.np_random),
            "command": self.command,
            "previous_action": self.action,
            "clock": self._clock,
        }
        inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
        observation = observe(self.terms, inputs, np)
        privileged = self._privileged(observation)
        if ids is None or previous is None:
            self.inputs, self.privileged = inputs, privileged
            return observation
        # Copies: whoever got the arrays before still reads the old episode in them.
        keep = np.ones(self.num_envs, bool)
        keep[ids] = False
        for name, value in inputs.items():
            value[keep] = self.inputs[name][keep]
        observation[keep], privileged[keep] = previous[keep], self.privileged[keep]
        self.inputs, self.privileged = inputs, privileged
        return observation

    def _privileged(self, observation: np.ndarray) -> np.ndarray:
        """The observation, then the parts that `PRIVILEGED` names. Shape (N, P), float32."""
        robots = self.robots
        parts = {
            "linear_velocity": robots.linear_velocity,
            "angular_velocity": robots.angular_velocity,
            "gravity": robots.gravity,
            "foot_heights": self._foot_heights,
            "foot_friction": robots.field("geom_friction")[:, robots.foot_geoms, 0],
        }
        truth = [parts[name] for name in PRIVILEGED]
        return np.concatenate((observation, *truth), -1, dtype=np.float32)

    @property
    def _foot_heights(self) -> np.ndarray:
        """Above the floor [m]. Shape (N, 4)."""
        return self.robots.feet[:, :, 2] - self.foot_radius

    def _fallen(self) -> np.ndarray:
        upright = -self.robots.gravity[:, 2]
        low = self.robots.qpos[:, 2] < MIN_HEIGHT
        # MuJoCo starts a diverged simulation anew by itself, at time 0.
        diverged = self.robots.time < self._time - 0.5 * self.period
        return (upright < np.cos(TILT_LIMIT)) | low | diverged

    def _reward_terms(self, actions: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """Every term of the reward, weighted. Each (N,)."""
        robots, w = self.robots, self.weights
        velocity, spin, gravity = robots.linear_velocity, robots.angular_velocity, robots.gravity
        moving = (np.linalg.norm(self.command, axis=1) > STILL)[:, None]

        phase = 2 * np.pi * (self._clock / GAIT_PERIOD + FOOT_PHASE)
        wanted_height = moving * SWING_HEIGHT * np.maximum(0.0, np.sin(phase))
        height_error = self._foot_heights - wanted_height
        foot_velocity = (robots.feet - self.feet_before)[:, :, :2] / self.period
        on_floor = self._foot_heights < 0.004
        deviation = robots.joint_pos - self.robot.default_pose
        return {
            # Velocity in the horizontal plane follows the command.
            "track": w.track * np.exp(-_sq(velocity[:, :2] - self.command[:, :2]) / TRACK_SIGMA2),
            # Yaw rate follows the command.
            "turn": w.turn * np.exp(-((spin[:, 2] - self.command[:, 2]) ** 2) / TURN_SIGMA2),
            # Each foot's height follows the trot's clock, or stays on the floor.
            "gait": w.gait * np.exp(-((height_error / 0.015) ** 2)).mean(1),
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

    # --- resuming -----------------------------------------------------------------------------

    _STATE = (
        "command",
        "next_command",
        "next_draw",
        "ticks",
        "action",
        "target",
        "feet_before",
        "reward_sums",
        "privileged",
        "reasons",
    )

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on: arrays and the random generator's state."""
        return {
            "robots": self.robots.get_state(),
            "arrays": {name: getattr(self, name).copy() for name in self._STATE},
            "inputs": {name: value.copy() for name, value in self.inputs.items()},
            "random": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave, bit for bit."""
        self.robots.set_state(state["robots"])
        for name, value in state["arrays"].items():
            setattr(self, name, value.copy())
        self.inputs = {name: value.copy() for name, value in state["inputs"].items()}
        self.np_random.bit_generator.state = state["random"]


def _require_feet(robots: RobotBatch) -> None:
    """Raise UsageError for a robot that lacks the feet of this walk, or has others."""
    model, names = robots.model, [foot + FOOT for foot in FEET]
    spheres = [
        model.geom(i).name
        for i in robots.foot_geoms.tolist()
        if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_SPHERE
    ]
    sites = [model.site(i).name for i in robots.foot_sites.tolist()]
    if spheres != names or sites != names or len(robots.foot_geoms) != len(names):
        raise UsageError(
            f"walk: found the foot spheres {', '.join(spheres) or 'none'} and the foot sites "
            f"{', '.join(sites) or 'none'} of {robots.robot.name}, "
            f"allowed are a sphere and a site each named {', '.join(names)}"
        )


def _sq(x: np.ndarray) -> np.ndarray:
    """Sum of squares over the last axis."""
    return np.square(x).sum(-1)
