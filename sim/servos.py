"""Bus servos as MuJoCo's `dcmotor`: what a target or a torque becomes at the joint.

Joint targets: current-based position mode, PD torque from the target. Joint torques: current mode,
the torque itself. Either is capped by the goal current and by the torque-speed line of the supply
voltage: a dcmotor with the input "pos" or "ff" compensates back-EMF up to Vmax, which is this law
(mujoco/doc/XMLreference.rst, actuator/dcmotor/controller).
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math

import mujoco

from ..models.limits import Output
from ..models.robot import Robot
from .terrain import Terrain
from .world import add_contact_sensors, build_spec

SUBSTEPS = 2  # of the physics, a control period, in training; docs/training.md says what it costs
DELAY = 0.01  # of a command on its way to the servo [s]
MAX_DELAY = 0.02  # of one that varies [s]
CONTROLLER_KP, CONTROLLER_KD, VMAX = 4, 6, 7  # columns of a dcmotor's gainprm
INPUT = {
    "joint_target": mujoco.mjtCtrlInput.mjINPUT_POS,
    "joint_torque": mujoco.mjtCtrlInput.mjINPUT_FF,
}


def training_model(
    robot: Robot,
    output: Output = "joint_target",
    terrain: Terrain | None = None,
    substeps: int = SUBSTEPS,
) -> mujoco.MjModel:
    """The model that policies are trained on: the robot in its world, with servos for `output`.

    Its physics takes `substeps` in a control period. Its last sensors are the robot's contact
    sensors, in their order.
    """
    spec = build_spec(robot, terrain)
    timestep = robot.control_period / substeps
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.solver = mujoco.mjtSolver.mjSOL_PGS
    spec.option.iterations = 8
    spec.nuserdata = 1  # `RobotBatch` tells by it who has diverged
    for joint in robot.joints:
        motor = robot.motor_models[joint.motor.model]
        gear = joint.motor.gear
        kp, kd = (joint.kp, joint.kd) if output == "joint_target" else (0.0, 0.0)
        servo = spec.add_actuator(
            name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        servo.set_to_dcmotor(
            motorconst=[0, 0],
            resistance=0,
            nominal=[motor.nominal_voltage, motor.stall_torque * gear, motor.no_load_speed / gear],
            saturation=[joint.torque_limit, 0, 0],
            controller=[kp, 0, kd, 0, 0, motor.nominal_voltage],
            ctrlspec=INPUT[output],
        )
        servo.nsample = math.ceil(MAX_DELAY / timestep)
        servo.delay = DELAY
        servo.interp = 1  # linear: between two substeps a command has arrived in part
    add_contact_sensors(spec, robot)
    return spec.compile()
