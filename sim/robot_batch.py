"""N simulated robots with their servos and sensors, stepped together.

The servos are bus servos in current-based position mode: PD torque from the target, capped by the
goal current and by the torque-speed line of the supply voltage — MuJoCo's `dcmotor` with a
position input compensates back-EMF up to Vmax, which is this law. The sensors are what the robot
carries: encoders and an IMU, with delay, noise, bias and mounting error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from ..models.errors import RobotFileError
from ..models.robot import Robot
from ..models.rotation import rotate_inverse
from .world import FOOT, build_spec

SUBSTEPS = 4
MAX_DELAY = 0.02  # of a command on its way to the servo [s]
CONTROLLER_KP, CONTROLLER_KD, VMAX = 4, 6, 7  # columns of a dcmotor's gainprm
POSITION_INPUT = 1  # dcmotor signature "pos"


def training_model(robot: Robot) -> mujoco.MjModel:
    """The model that policies are trained on: the robot in its world, with position servos."""
    spec = build_spec(robot)
    timestep = robot.control_period / SUBSTEPS
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.solver = mujoco.mjtSolver.mjSOL_PGS
    spec.option.iterations = 8
    for joint in robot.joints:
        motor = robot.motor_models[joint.motor.model]
        gear = joint.motor.gear
        servo = spec.add_actuator(
            name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        servo.set_to_dcmotor(
            motorconst=[0, 0],
            resistance=0,
            nominal=[motor.nominal_voltage, motor.stall_torque * gear, motor.no_load_speed / gear],
            saturation=[joint.torque_limit, 0, 0],
            controller=[joint.kp, 0, joint.kd, 0, 0, motor.nominal_voltage],
            ctrlspec=POSITION_INPUT,
        )
        servo.nsample = round(MAX_DELAY / timestep)
        servo.delay = timestep
    return spec.compile()


@dataclass
class Imperfections:
    """What is wrong with each robot's sensors. Randomisation writes it. Leading shape (N,)."""

    encoder_offset: np.ndarray  # [rad]. Shape (N, n)
    gyro_bias: np.ndarray  # [rad/s]. Shape (N, 3)
    mounting: np.ndarray  # rotation vector of the IMU against its nominal pose [rad]. Shape (N, 3)
    imu_delay: np.ndarray  # as a fraction of a control period, 0 to 1. Shape (N, 1)
    noise: np.ndarray  # scale of all sensor noise. Shape (N, 1)

    @classmethod
    def none(cls, num_envs: int, joints: int) -> Imperfections:
        """Perfect sensors."""
        wide, three, one = (np.zeros((num_envs, k)) for k in (joints, 3, 1))
        return cls(wide, three, three.copy(), one, one.copy())


# Standard deviations at noise scale 1.
GYRO_NOISE = 0.05  # [rad/s]
GRAVITY_NOISE = 0.01
JOINT_POS_NOISE = 0.002  # [rad]
JOINT_VEL_NOISE = 0.1  # [rad/s]


class RobotBatch:
    """N robots. Arrays of state have shape (N, …) and are current after `reset` and `step`.

    `foot_geoms` and `foot_sites` are MuJoCo's ids, in the order of the feet's names.
    """

    def __init__(self, robot: Robot, num_envs: int, nthread: int = 0) -> None:
        """Nominal robots with perfect sensors, all at the model's `qpos0`.

        Args:
            robot: their description.
            num_envs: N.
            nthread: threads that step them; 0: as many as there are processors. The bits don't
                depend on it.

        Raises:
            RobotFileError: the MJCF has other joints than robot.toml, another order of them, or no
                free joint before them.
        """
        self.robot = robot
        self.num_envs = num_envs
        self.model = training_model(robot)
        _require_joint_order(self.model, robot)
        self.batch = Batch(self.model, num_envs, nthread)
        self.qpos = self.batch.bind("qpos")
        self.qvel = self.batch.bind("qvel")
        self.ctrl = self.batch.bind("ctrl")
        self.history = self.batch.bind("history")
        self.time = self.batch.bind("time")  # since the reset [s]. Shape (N,)
        self.site_xpos = self.batch.bind("site_xpos")
        self.joint_torque = self.batch.bind("actuator_force")
        self.foot_geoms = _feet(self.model, mujoco.mjtObj.mjOBJ_GEOM)
        self.foot_sites = _feet(self.model, mujoco.mjtObj.mjOBJ_SITE)
        self.imperfections = Imperfections.none(num_envs, len(robot.joints))
        self._fields: dict[str, np.ndarray] = {}
        self._gyro_before = np.zeros((num_envs, 3))
        self._gravity_before = np.zeros((num_envs, 3))
        self._reset_history, self._history_ctrl = _fresh_history(self.model)

    @property
    def joint_pos(self) -> np.ndarray:
        """True joint angles [rad]. Shape (N, n)."""
        return self.qpos[:, 7:]

    @property
    def joint_vel(self) -> np.ndarray:
        """True joint velocities [rad/s]. Shape (N, n)."""
        return self.qvel[:, 6:]

    @property
    def gravity(self) -> np.ndarray:
        """Unit vector pointing down, in the base frame. Shape (N, 3)."""
        return -rotate_inverse(self.qpos[:, 3:7], np.array([0.0, 0.0, 1.0]))

    @property
    def linear_velocity(self) -> np.ndarray:
        """Velocity of the base, in the base frame [m/s]. Shape (N, 3)."""
        return rotate_inverse(self.qpos[:, 3:7], self.qvel[:, :3])

    @property
    def angular_velocity(self) -> np.ndarray:
        """Angular velocity of the base, in the base frame [rad/s]. Shape (N, 3)."""
        return self.qvel[:, 3:6]

    @property
    def feet(self) -> np.ndarray:
        """Positions of the feet's centres in the world, one substep old [m]. Shape (N, feet, 3)."""
        return self.site_xpos[:, self.foot_sites]

    def field(self, name: str) -> np.ndarray:
        """MuJoCo's model field `name`, one value a robot, writable. Shape (N, …)."""
        if name not in self._fields:
            self._fields[name] = self.batch.expand(name)
        return self._fields[name]

    def make_nominal(self, ids: np.ndarray) -> None:
        """Give robots `ids` (k,) the model's own fields and perfect sensors again.

        MuJoCo's derived constants are as old as the last `set_const`.
        """
        for name, values in self._fields.items():
            values[ids] = getattr(self.model, name)
        for values in vars(self.imperfections).values():
            values[ids] = 0.0

    def reset(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put robots `ids` (k,) into states `qpos` (k, nq), `qvel` (k, nv), holding their pose."""
        self.batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.qpos[ids], self.qvel[ids] = qpos, qvel
        self.ctrl[ids] = qpos[:, 7:]
        history = np.tile(self._reset_history, (len(ids), 1))
        history[:, self._history_ctrl] = qpos[:, 7:, None]
        self.history[ids] = history
        self.batch.forward(ids, stage=mujoco.mjtStage.mjSTAGE_POS)
        self._gyro_before[ids] = self.angular_velocity[ids]
        self._gravity_before[ids] = self.gravity[ids]

    def step(self, joint_target: np.ndarray) -> None:
        """Follow `joint_target`, in encoder angles [rad], for one control period. Shape (N, n)."""
        self._gyro_before[:] = self.angular_velocity
        self._gravity_before[:] = self.gravity
        self.ctrl[:] = joint_target - self.imperfections.encoder_offset
        self.batch.step(nstep=SUBSTEPS)

    def measure(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What the sensors say: joint_pos, joint_vel, gyro, gravity. Shapes (N, …), float64."""
        wrong = self.imperfections
        age = wrong.imu_delay
        gyro = (1 - age) * self.angular_velocity + age * self._gyro_before
        gravity = (1 - age) * self.gravity + age * self._gravity_before
        gravity = rotate_small(wrong.mounting, gravity) + _noise(rng, wrong, GRAVITY_NOISE, 3)
        n = len(self.robot.joints)
        return {
            "joint_pos": self.joint_pos
            + wrong.encoder_offset
            + _noise(rng, wrong, JOINT_POS_NOISE, n),
            "joint_vel": self.joint_vel + _noise(rng, wrong, JOINT_VEL_NOISE, n),
            "gyro": rotate_small(wrong.mounting, gyro)
            + wrong.gyro_bias
            + _noise(rng, wrong, GYRO_NOISE, 3),
            "gravity": gravity / np.linalg.norm(gravity, axis=1, keepdims=True),
        }

    def get_state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as arrays."""
        return {
            "state": self.batch.state.copy(),
            "fields": {name: values.copy() for name, values in self._fields.items()},
            "imperfections": {k: v.copy() for k, v in vars(self.imperfections).items()},
            "gyro_before": self._gyro_before.copy(),
            "gravity_before": self._gravity_before.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        for name, values in state["fields"].items():
            self.field(name)[:] = values
        if state["fields"]:
            self.batch.set_const()
        for name, values in state["imperfections"].items():
            getattr(self.imperfections, name)[:] = values
        self._gyro_before[:] = state["gyro_before"]
        self._gravity_before[:] = state["gravity_before"]
        self.batch.state[:] = state["state"]


def rotate_small(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """`vector` turned by a small rotation vector [rad], to first order. Shapes (N, 3)."""
    return vector + np.cross(rotation, vector)


def _noise(rng: np.random.Generator, wrong: Imperfections, deviation: float, k: int) -> np.ndarray:
    return deviation * wrong.noise * rng.standard_normal((len(wrong.noise), k), dtype=np.float32)


def _feet(model: mujoco.MjModel, kind: mujoco.mjtObj) -> np.ndarray:
    """Ids of the geoms or sites whose names end in `FOOT`, sorted by name. Shape (feet,)."""
    count = {mujoco.mjtObj.mjOBJ_GEOM: model.ngeom, mujoco.mjtObj.mjOBJ_SITE: model.nsite}[kind]
    names = {mujoco.mj_id2name(model, kind, i) or "": i for i in range(count)}
    return np.array([names[name] for name in sorted(names) if name.endswith(FOOT)], dtype=int)


def _require_joint_order(model: mujoco.MjModel, robot: Robot) -> None:
    """Raise RobotFileError unless qpos is the base's pose, then robot.toml's joints in order."""
    first, *others = (model.joint(i) for i in range(model.njnt))
    names = tuple(joint.name for joint in others)
    if first.type[0] != mujoco.mjtJoint.mjJNT_FREE:
        raise RobotFileError(
            f"{robot.mjcf.name}: found '{first.name}' as its first joint, "
            "allowed is the base's freejoint"
        )
    if names != robot.joint_names:
        raise RobotFileError(
            f"{robot.mjcf.name}: found the joints {', '.join(names)}, "
            f"allowed are robot.toml's, in its order: {', '.join(robot.joint_names)}"
        )


def _fresh_history(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """The delay buffers after a reset (nhistory,), and where each servo's samples are (n, k)."""
    data = mujoco.MjData(model)
    mujoco.mj_resetData(model, data)
    samples = int(model.actuator_history[0, 0])
    # A buffer is: user, cursor, timestamps (k), samples (k).
    first = model.actuator_historyadr + 2 + samples
    return data.history.copy(), first[:, None] + np.arange(samples)
