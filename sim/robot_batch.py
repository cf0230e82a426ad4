"""N simulated robots with their servos and sensors, stepped together.

`servos.py` says what a command becomes at the joints, `sensors.py` what the robots know of
themselves. A robot with an IMU has a free base; one without is bolted to the ground.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from ..models.errors import RobotFileError
from ..models.limits import Output
from ..models.robot import Robot
from ..models.rotation import rotate_inverse
from .sensors import (
    SensorErrors,
    measured_contact,
    measured_gravity,
    measured_gyro,
    measured_joints,
)
from .servos import SUBSTEPS, training_model
from .terrain import Terrain
from .world import FOOT

UP = np.array([0.0, 0.0, 1.0])


class RobotBatch:
    """N robots. Arrays of state have shape (N, …) and are current after `reset` and `step`.

    `foot_geoms` and `foot_sites` are MuJoCo's ids, in the order of the feet's names. What is said
    of the base is for robots with a free one.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        nthread: int = 0,
        output: Output = "joint_target",
        terrain: Terrain | None = None,
        substeps: int = SUBSTEPS,
    ) -> None:
        """Nominal robots with perfect sensors, all at the model's `qpos0`.

        Args:
            robot: their description.
            num_envs: N.
            nthread: threads that step them; 0: as many as there are processors. The bits don't
                depend on it.
            output: what `step` takes.
            terrain: the ground; None: level.
            substeps: of the physics, a control period.

        Raises:
            RobotFileError: the MJCF has other joints than robot.toml, another order of them, or
                before them not the free joint of a robot with an IMU; or a contact sensor's foot is
                not in it.
        """
        self.robot, self.terrain = robot, terrain
        self.num_envs, self.substeps = num_envs, substeps
        self.output: Output = output
        self.floating = robot.imu is not None
        self.model = training_model(robot, output, terrain, substeps)
        _require_joint_order(self.model, robot)
        n = len(robot.joints)
        self.joint_qpos = slice(self.model.nq - n, None)  # the joints' part of qpos
        self.joint_dofs = slice(self.model.nv - n, None)  # and of qvel
        self.batch = Batch(self.model, num_envs, nthread)
        self.qpos = self.batch.bind("qpos")
        self.qvel = self.batch.bind("qvel")
        self.ctrl = self.batch.bind("ctrl")
        self.delay_buffers = self.batch.bind("history")  # of the commands to the servos
        # Not 0 until MuJoCo starts a simulation anew that it finds diverged. Shape (N, 1).
        self._intact = self.batch.bind("userdata")
        self.site_xpos = self.batch.bind("site_xpos")
        self.joint_torque = self.batch.bind("actuator_force")
        sensors = len(robot.contact_sensors)
        # The last ones: before them may lie some of the MJCF's own.
        self._touch = self.batch.bind("sensordata")[:, -sensors:] if sensors else None
        self.foot_geoms = _feet(self.model, mujoco.mjtObj.mjOBJ_GEOM)
        self.foot_sites = _feet(self.model, mujoco.mjtObj.mjOBJ_SITE)
        self.sensor_errors = SensorErrors.none(num_envs, n, sensors)
        self._fields: dict[str, np.ndarray] = {}
        # Of the base, in its own frame. Shapes (N, 3).
        self.gravity = np.tile([0.0, 0.0, -1.0], (num_envs, 1))  # unit vector pointing down
        self.linear_velocity = np.zeros((num_envs, 3))  # [m/s]
        widths = {"gravity": 3, "gyro": 3, "joint_pos": n, "joint_vel": n, "contact_force": sensors}
        self._before = {name: np.zeros((num_envs, width)) for name, width in widths.items()}
        # True normal forces on the contact sensors, one substep old [N]. Shape (N, s).
        self.contact_force = np.zeros((num_envs, sensors))
        self._fresh_buffers, self._buffered_ctrl = _new_buffers(self.model)

    @property
    def joint_pos(self) -> np.ndarray:
        """True joint angles [rad]. Shape (N, n)."""
        return self.qpos[:, self.joint_qpos]

    @property
    def joint_vel(self) -> np.ndarray:
        """True joint velocities [rad/s]. Shape (N, n)."""
        return self.qvel[:, self.joint_dofs]

    @property
    def diverged(self) -> np.ndarray:
        """Whose simulation has since the reset: MuJoCo has started it anew. bool, shape (N,)."""
        return self._intact[:, 0] == 0

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
        for values in vars(self.sensor_errors).values():
            values[ids] = 0.0

    def reset(self, ids: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Put robots `ids` (k,) into states `qpos` (k, nq), `qvel` (k, nv).

        Their servos hold the pose, or are without torque where `output` is torques.
        """
        self.batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.qpos[ids], self.qvel[ids], self._intact[ids] = qpos, qvel, 1.0
        joint_pos = qpos[:, self.joint_qpos]
        ctrl = joint_pos if self.output == "joint_target" else np.zeros_like(joint_pos)
        self.ctrl[ids] = ctrl
        buffers = np.tile(self._fresh_buffers, (len(ids), 1))
        buffers[:, self._buffered_ctrl] = ctrl[:, :, None]
        self.delay_buffers[ids] = buffers
        # What is touched is felt at once.
        stage = mujoco.mjtStage.mjSTAGE_POS if self._touch is None else mujoco.mjtStage.mjSTAGE_ACC
        self.batch.forward(ids, stage=stage)
        self._sense(ids)
        self._remember_motion(ids)

    def step(self, command: np.ndarray) -> None:
        """Follow `command` for one control period. Shape (N, n).

        It holds joint targets, in encoder angles [rad], or joint torques [N·m], as `output` says.
        """
        self._remember_motion(slice(None))
        if self.output == "joint_target":
            command = command - self.sensor_errors.encoder_offset
        self.ctrl[:] = command
        self.batch.step(nstep=self.substeps)
        self._sense(slice(None))

    def measure(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What the sensors say: joint_pos, joint_vel and, where the robot has what tells them, gyro
        and gravity, contact_force.

        Shapes (N, …), float64.
        """
        errors, said = self.sensor_errors, {}
        now, before = self._motion(), self._before
        truth = {name: (now[name], before[name]) for name in now}
        if self.floating:
            said["gravity"] = measured_gravity(errors, truth["gravity"], rng)
        joints = measured_joints(errors, truth["joint_pos"], truth["joint_vel"], rng)
        said["joint_pos"], said["joint_vel"] = joints
        if self.floating:
            said["gyro"] = measured_gyro(errors, truth["gyro"], rng)
        if sensors := self.robot.contact_sensors:
            force = truth["contact_force"]
            said["contact_force"] = measured_contact(errors, force, sensors, rng)
        return said

    def _sense(self, ids: np.ndarray | slice) -> None:
        """Take over what the sensors feel; turn into the base's frame what is often asked for."""
        if self._touch is not None:
            self.contact_force[ids] = self._touch[ids]
        if self.floating:
            rotation = self.qpos[ids, 3:7]
            self.gravity[ids] = -rotate_inverse(rotation, UP)
            self.linear_velocity[ids] = rotate_inverse(rotation, self.qvel[ids, :3])

    def _motion(self) -> dict[str, np.ndarray]:
        """The truth behind what sensors say, by name. Each (N, …)."""
        base = {"gravity": self.gravity, "gyro": self.angular_velocity} if self.floating else {}
        joints = {"joint_pos": self.joint_pos, "joint_vel": self.joint_vel}
        return base | joints | {"contact_force": self.contact_force}

    def _remember_motion(self, ids: np.ndarray | slice) -> None:
        """What the sensors' values of this tick may be late by."""
        for name, values in self._motion().items():
            # Of a simulation that breaks down now, no NaN comes back a tick later.
            self._before[name][ids] = np.nan_to_num(values[ids], posinf=0.0, neginf=0.0)

    def get_state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as arrays."""
        return {
            "state": self.batch.state.copy(),
            "fields": {name: values.copy() for name, values in self._fields.items()},
            "sensor_errors": {k: v.copy() for k, v in vars(self.sensor_errors).items()},
            "before": {k: v.copy() for k, v in self._before.items()},
            "contact_force": self.contact_force.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        for name, values in state["fields"].items():
            self.field(name)[:] = values
        if state["fields"]:
            self.batch.set_const()
        for name, values in state["sensor_errors"].items():
            getattr(self.sensor_errors, name)[:] = values
        for name, values in state["before"].items():
            self._before[name][:] = values
        self.batch.state[:] = state["state"]
        self._sense(slice(None))
        self.contact_force[:] = state["contact_force"]  # MuJoCo's state is without it


def _feet(model: mujoco.MjModel, kind: mujoco.mjtObj) -> np.ndarray:
    """Ids of the geoms or sites whose names end in `FOOT`, sorted by name. Shape (feet,)."""
    count = {mujoco.mjtObj.mjOBJ_GEOM: model.ngeom, mujoco.mjtObj.mjOBJ_SITE: model.nsite}[kind]
    names = {mujoco.mj_id2name(model, kind, i) or "": i for i in range(count)}
    return np.array([names[name] for name in sorted(names) if name.endswith(FOOT)], dtype=int)


def _require_joint_order(model: mujoco.MjModel, robot: Robot) -> None:
    """Raise RobotFileError unless qpos is a free base's pose, then robot.toml's joints in order."""
    joints = [model.joint(i) for i in range(model.njnt)]
    free = [joint.name for joint in joints if joint.type[0] == mujoco.mjtJoint.mjJNT_FREE]
    if robot.imu is not None:
        first = joints.pop(0)
        if free != [first.name]:
            raise RobotFileError(
                f"{robot.mjcf.name}: found '{first.name}' as its first joint, "
                "allowed is the base's freejoint"
            )
    elif free:
        raise RobotFileError(
            f"{robot.mjcf.name}: found the freejoint '{free[0]}', allowed is none for a robot "
            "without [imu]: it is bolted to the ground"
        )
    names = tuple(joint.name for joint in joints)
    if names != robot.joint_names:
        raise RobotFileError(
            f"{robot.mjcf.name}: found the joints {', '.join(names)}, "
            f"allowed are robot.toml's, in its order: {', '.join(robot.joint_names)}"
        )


def _new_buffers(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """The delay buffers after a reset (nhistory,), and where each servo's samples are (n, k)."""
    data = mujoco.MjData(model)
    mujoco.mj_resetData(model, data)
    samples = int(model.actuator_history[0, 0])
    # A buffer is: user, cursor, timestamps (k), samples (k).
    first = model.actuator_historyadr + 2 + samples
    return data.history.copy(), first[:, None] + np.arange(samples)
