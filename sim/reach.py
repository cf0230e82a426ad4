"""The reaching task: bring the tip of an arm to a goal, and keep it there.

N arms in one vector environment. The actor sees its joints and, by forward kinematics inside the
graph, where its tip is: it then need not learn the arm's geometry beside its control, and a policy
of goals (`reach_goals.py`) has in it what was achieved. The critic's privileged view is the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import mujoco
import numpy as np

from ..models.errors import UsageError
from ..models.limits import Output, Reason
from ..models.observation import Deviation, Term, TipPosition
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..models.task import CommandPart
from .randomisation import ARM_TRAINING, Variation, fitted
from .robot_batch import RobotBatch
from .robot_env import RobotEnv
from .servos import SUBSTEPS

# Lengths suit an arm of the shipped one's size, which reaches 0.37 m from its shoulder.

# Commands: where goals lie, in the base frame [m]. The arm can get to all of it.
WORKSPACE = {"x": (0.1, 0.28), "y": (-0.16, 0.16), "z": (0.04, 0.25)}

# Episode
EPISODE_TIME = 4.0  # with one goal [s]
LOWEST = 0.02  # of the tip above the table when an episode begins [m]
SUCCESS = 0.02  # of the tip from its goal, at most, when the episode ends [m]

# Action
TARGET_SCALE = 0.5  # joint target = default pose + TARGET_SCALE · action [rad]
TARGET_LIMIT = 4.4  # of each such action: every joint reaches its limits within it

TIP = "tip"  # the site between the fingers

# What only the simulator knows, behind the observation in the critic's, in this order.
PRIVILEGED = ("tip", "tip_velocity", "distance")  # [m], [m/s], [m]


def reaching_terms(robot: Robot, tip: TipPosition) -> tuple[Term, ...]:
    """The observation of a reaching arm, measurable on board; it ends with the tip and its goal."""
    return (
        Deviation("joint_pos", tuple(robot.default_pose.tolist())),
        Deviation("joint_vel"),
        Deviation("previous_action"),
        tip,
        Deviation("command"),
    )


@dataclass(frozen=True)
class RewardWeights:
    """Weights of the reward's terms; each term is described where it is computed."""

    near: float = 1.0
    there: float = 1.0
    action_rate: float = -0.1
    speed: float = -0.005
    torque: float = -0.025
    limited: float = -0.005


NEAR = 0.1  # [m]
THERE = 0.02  # [m]


class ReachEnv(RobotEnv):
    """N reaching arms: a `RobotEnv` commanded by a goal x, y, z [m] in the base frame."""

    usual_robot = "arm"
    outputs = ("joint_target", "joint_torque")
    episode_time = EPISODE_TIME
    clock_period = EPISODE_TIME  # nothing has a rhythm here
    commands = tuple(CommandPart(axis, "m", *bounds) for axis, bounds in WORKSPACE.items())

    def __init__(
        self,
        num_envs: int = 1,
        robot: str | Robot = "arm",
        randomisation: Sequence[Variation] | None = None,
        weights: RewardWeights | None = None,
        nthread: int = 0,
        output: Output = "joint_target",
        history: int = 1,
        substeps: int = SUBSTEPS,
    ) -> None:
        """The environments; call `reset` before the first `step`.

        Args:
            num_envs: N.
            robot: an arm, or its name or path as `load_robot` takes it.
            randomisation: what varies from episode to episode; () for none; what suits arms of
                this output if not given.
            weights: of the reward's terms.
            nthread: threads that step the physics; 0: as many as there are processors.
            output: what actions stand for.
            history: observations that the actor sees.
            substeps: of the physics, a control period.

        Raises:
            RobotFileError: robot.toml or the MJCF describes no possible robot.
            UsageError: the robot is no chain of joints from a bolted base to a site `tip`, or has
                nothing for one of the variations; or no such history.
        """
        robot = load_robot(robot) if isinstance(robot, str) else robot
        robots = RobotBatch(robot, num_envs, nthread, output, substeps=substeps)
        if randomisation is None:
            randomisation = fitted(ARM_TRAINING, output, robot)
        self.tip_position = tip_position(robots)
        names = [field.name for field in fields(RewardWeights)]
        terms = reaching_terms(robot, self.tip_position)
        super().__init__(
            robots, terms, TARGET_SCALE, TARGET_LIMIT, names, None, randomisation, history
        )
        self.weights = weights or RewardWeights()
        self.tip_before = np.zeros((num_envs, 3))  # a control period ago [m]
        self.tip_velocity = np.zeros((num_envs, 3))  # over the last one [m/s]
        self._data = mujoco.MjData(robots.model)  # to try a pose with

    # --- the task -----------------------------------------------------------------------------

    def initial_state(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At rest, anywhere within the limits where it touches nothing."""
        poses = np.array([self._free_pose() for _ in ids])
        return poses, np.zeros_like(poses)

    def _free_pose(self) -> np.ndarray:
        """Joint angles [rad], drawn uniformly until the arm touches nothing. Shape (n,)."""
        model, data = self.robots.model, self._data
        while True:
            data.qpos[:] = self.np_random.uniform(self.robot.lower, self.robot.upper)
            mujoco.mj_kinematics(model, data)
            mujoco.mj_collision(model, data)
            if data.ncon == 0 and data.site(TIP).xpos[2] > LOWEST:
                return data.qpos.copy()

    def draw_commands(self, ids: np.ndarray) -> np.ndarray:
        """Goals, uniform over the workspace."""
        lower, upper = ([getattr(p, end) for p in self.commands] for end in ("lower", "upper"))
        return self.np_random.uniform(lower, upper, (len(ids), 3))

    def begin(self, ids: np.ndarray) -> None:
        """Where its tip is."""
        self.tip_before[ids], self.tip_velocity[ids] = self.tip[ids], 0.0

    def go_on(self) -> None:
        """Where the tip is, and how fast it came there."""
        tip = self.tip
        self.tip_velocity[:] = (tip - self.tip_before) / self.period
        self.tip_before[:] = tip

    def ends(self) -> dict[str, np.ndarray]:
        """Nothing but a simulation that broke down: there is time to the end for a success."""
        return {"diverged": self.diverged}

    @property
    def tip(self) -> np.ndarray:
        """The tip's true position in the base frame [m]. Shape (N, 3)."""
        return self.tip_position({"joint_pos": self.robots.joint_pos}, np)

    @property
    def distance(self) -> np.ndarray:
        """From the tip to its goal [m]. Shape (N,)."""
        return np.linalg.norm(self.tip - self.command, axis=1)

    def privileged_parts(self) -> Sequence[np.ndarray]:
        """As `PRIVILEGED` names them."""
        tip = self.tip
        parts = {
            "tip": tip,
            "tip_velocity": self.tip_velocity,
            "distance": np.linalg.norm(tip - self.command, axis=1, keepdims=True),
        }
        return [parts[name] for name in PRIVILEGED]

    def reward_terms(self, actions: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        """What reaching well is."""
        w, tip = self.weights, self.tip
        distance = np.linalg.norm(tip - self.command, axis=1)
        velocity = (tip - self.tip_before) / self.period
        return {
            # The tip comes nearer, from afar,
            "near": w.near * np.exp(-distance / NEAR),
            # until it is there,
            "there": w.there * np.exp(-((distance / THERE) ** 2)),
            # by smooth actions,
            "action_rate": w.action_rate * np.square(actions - self.action).sum(-1),
            # without haste,
            "speed": w.speed * np.square(velocity).sum(-1),
            # with little torque,
            "torque": w.torque * np.square(self.robots.joint_torque).sum(-1),
            # by commands that the limiter leaves alone.
            "limited": w.limited * (self.reasons & (Reason.TORQUE | Reason.POSITION) > 0).sum(1),
        }

    def statistics(self, ends: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Beside those of all tasks: `success`, 0 or 1, and the `distance` that is left [m]."""
        distance = self.distance
        own = {"success": (distance <= SUCCESS).astype(float), "distance": distance}
        return super().statistics(ends) | own

    _STATE = (*RobotEnv._STATE, "tip_before", "tip_velocity")


def tip_position(robots: RobotBatch) -> TipPosition:
    """The forward kinematics of arms, from their model.

    Raises:
        UsageError: the robot is no chain of joints from a bolted base to the site `tip`.
    """
    model, robot = robots.model, robots.robot
    sites = [model.site(index).name for index in range(model.nsite)]
    if robots.floating or TIP not in sites:
        raise UsageError(
            f"reach: found {robot.name}, {'with a free base' if robots.floating else 'bolted'}, "
            f"and its sites {', '.join(sites) or 'none'}, "
            f"allowed is a robot without [imu], bolted, with a site {TIP}"
        )
    body, chain = int(model.site(TIP).bodyid[0]), []
    while body:
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        chain = [*range(first, first + count), *chain]
        body = int(model.body_parentid[body])
    hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    if chain != list(range(model.njnt)) or not hinges.all():
        names = [model.joint(index).name for index in chain]
        raise UsageError(
            f"reach: found the joints {', '.join(names)} between base and {TIP} of {robot.name}, "
            f"allowed are hinges, all of them: {', '.join(robot.joint_names)}"
        )
    data = mujoco.MjData(model)
    data.qpos[:] = 0.0
    mujoco.mj_kinematics(model, data)

    def rows(array: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        return tuple((x, y, z) for x, y, z in array.tolist())

    (tip,) = rows(data.site(TIP).xpos[None])
    return TipPosition("joint_pos", rows(data.xaxis), rows(data.xanchor), tip)
