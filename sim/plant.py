"""The physics behind an emulated robot: MuJoCo under plain joint torques.

It differs from the training model on purpose, by a `Difference`: a controller that only works on
the model it was trained on should be found out here, not on the robot.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np

from ..hardware.plant import PlantState
from ..models.robot import Robot
from .world import FOOT, add_contact_sensors, build_spec, pose_on_floor

TIMESTEP = 0.001  # [s]
SETTLE_TIME = 1.5  # limp on the floor before time starts [s]
DROP_HEIGHT = 0.001  # of the lowest geom above the floor when settling begins [m]


@dataclass(frozen=True)
class Difference:
    """How the plant's body differs from robot.toml and the MJCF. The motors differ by their own."""

    joint_friction: float = 1.6  # factor on dry friction
    joint_damping: float = 0.01  # viscous friction of the gears [N·m·s/rad]
    armature: float = 1.2  # factor on rotor inertia
    mass: float = 1.07  # factor on every mass; inertias follow
    foot_friction: float = 0.7  # sliding friction of the feet on the floor
    torque_delay: float = 0.002  # from the motor's law to the joint [s]
    spread: float = 0.02  # standard deviation of per-joint and per-body factors, from the seed


class MujocoPlant:
    """The robot's body on a floor; implements `hardware.plant.Plant`. Deterministic given the seed.

    Starts lying near the rest pose, settled under no torque. A robot without IMU is bolted to the
    floor: its base is at rest in the world's origin.
    """

    timestep = TIMESTEP

    def __init__(self, robot: Robot, seed: int = 0, difference: Difference | None = None):
        difference = Difference() if difference is None else difference
        self.model = build_model(robot, difference, np.random.default_rng(seed))
        self.data = mujoco.MjData(self.model)
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        # None: bolted to the floor, without an IMU.
        self._imu_quaternion = self.model.site("imu").quat.copy() if robot.imu else None
        self._contacts = slice(self.model.nsensordata - len(robot.contact_sensors), None)
        delay = round(difference.torque_delay / TIMESTEP)
        self._torques = deque([np.zeros(len(joints))] * delay)
        self._settle(robot.rest_pose)

    @property
    def state(self) -> PlantState:
        """The state now; arrays of its own."""
        data = self.data
        joint_pos, joint_vel = data.qpos[self._qpos], data.qvel[self._dof]
        contact_force = data.sensordata[self._contacts].copy()
        if self._imu_quaternion is None:
            return PlantState(
                time=data.time,
                joint_pos=joint_pos,
                joint_vel=joint_vel,
                base_position=np.zeros(3),
                base_quaternion=np.array([1.0, 0.0, 0.0, 0.0]),
                linear_velocity=np.zeros(3),
                angular_velocity=np.zeros(3),
                specific_force=-self.model.opt.gravity,
                contact_force=contact_force,
            )
        quaternion = data.qpos[3:7].copy()
        return PlantState(
            time=data.time,
            joint_pos=joint_pos,
            joint_vel=joint_vel,
            base_position=data.qpos[:3].copy(),
            base_quaternion=quaternion,
            linear_velocity=_rotate_back(data.qvel[:3], quaternion),
            angular_velocity=data.qvel[3:6].copy(),
            specific_force=_rotate(data.sensordata[:3], self._imu_quaternion),
            contact_force=contact_force,
        )

    def step(self, joint_torque: np.ndarray) -> None:
        """Advance by `timestep` under `joint_torque` [N·m], felt after the delay. Shape (n,)."""
        self._torques.append(np.array(joint_torque, dtype=np.float64))
        self.data.ctrl[:] = self._torques.popleft()
        mujoco.mj_step(self.model, self.data)

    def _settle(self, rest_pose: np.ndarray) -> None:
        data = self.data
        data.qpos[:] = pose_on_floor(self.model, rest_pose)
        if self._imu_quaternion is not None:
            data.qpos[2] += DROP_HEIGHT
        for _ in range(round(SETTLE_TIME / TIMESTEP)):
            mujoco.mj_step(self.model, data)
        data.time = 0.0


def build_model(robot: Robot, difference: Difference, rng: np.random.Generator) -> mujoco.MjModel:
    """The compiled world: torque motors in the joints' order, then the sensors.

    These are the accelerometer, for an IMU, and the contact sensors.
    """
    spec = build_spec(robot)
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.noslip_iterations = 5  # else a limp robot creeps out of its pose within a minute

    def around(factor: float) -> float:
        return factor * (1.0 + difference.spread * float(np.clip(rng.standard_normal(), -2, 2)))

    for joint in robot.joints:
        hinge = spec.joint(joint.name)
        hinge.frictionloss = joint.friction * around(difference.joint_friction)
        hinge.armature = joint.armature * around(difference.armature)
        hinge.damping[0] = difference.joint_damping
        motor = spec.add_actuator(name=joint.name, target=joint.name)
        motor.trntype = mujoco.mjtTrn.mjTRN_JOINT
        motor.set_to_motor()
    if robot.imu is not None:
        spec.add_sensor(
            name="specific_force",
            type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname="imu",
        )
    add_contact_sensors(spec, robot)
    for geom in spec.geoms:
        if geom.name.endswith(FOOT):
            geom.friction[0] = difference.foot_friction
    model = spec.compile()
    for body in range(1, model.nbody):
        factor = around(difference.mass)
        model.body_mass[body] *= factor
        model.body_inertia[body] *= factor
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _rotate(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    # MuJoCo's own: numpy's cross products take too long for every millisecond of an emulator.
    result = np.empty(3)
    mujoco.mju_rotVecQuat(result, vector, quaternion)
    return result


def _rotate_back(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    return _rotate(vector, quaternion * np.array([1.0, -1.0, -1.0, -1.0]))
