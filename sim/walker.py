"""What a walking robot must have, and what its controller is given of it."""

from __future__ import annotations

import mujoco

from ..models.errors import UsageError
from ..models.limits import Output
from ..models.observation import ContactForce, Deviation, Phase, Term
from .gaits import Gait
from .robot_batch import RobotBatch
from .world import FOOT

_IMU = (Deviation("gyro"), Deviation("gravity"))

# What a foot may be: its radius is the height of its site above the floor that it touches.
ROUND = (int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE))


def walking_terms(robots: RobotBatch, gait: Gait, output: Output) -> tuple[Term, ...]:
    """The observation of a walking robot, measurable on board.

    A walk by joint targets sees the IMU and the joints. One by joint torques sees the joints and
    the normal forces on the contact sensors, in weights of the robot, without the IMU.

    Raises:
        UsageError: torques are asked of a robot without contact sensors.
    """
    feels = (_contact_force(robots),) if output == "joint_torque" else _IMU
    return (
        *feels,
        Deviation("joint_pos", tuple(robots.robot.default_pose.tolist())),
        Deviation("joint_vel"),
        Deviation("previous_action"),
        Deviation("command"),
        Phase("clock", gait.period),
    )


def _contact_force(robots: RobotBatch) -> ContactForce:
    robot, model = robots.robot, robots.model
    if not robot.contact_sensors:
        raise UsageError(
            f"walk: found {robot.name}, without contact sensors, for output joint_torque, allowed "
            "is joint_target, or a robot with [[contact_sensor]], such as biped"
        )
    weight = -model.opt.gravity[2] * model.body_mass.sum()
    names = tuple(sensor.name for sensor in robot.contact_sensors)
    return ContactForce("contact_force", names, float(weight))


def require_feet(robots: RobotBatch, feet: tuple[str, ...]) -> None:
    """Raise UsageError for a robot that lacks these feet, or has others."""
    model, names = robots.model, [foot + FOOT for foot in feet]
    round_ones = [
        model.geom(i).name for i in robots.foot_geoms.tolist() if model.geom_type[i] in ROUND
    ]
    sites = [model.site(i).name for i in robots.foot_sites.tolist()]
    if not len(robots.foot_geoms) and not sites:
        raise UsageError(
            f"walk: found {robots.robot.name}, which has no feet, allowed is a robot with a sphere "
            f"or capsule and a site each named {', '.join(names)}"
        )
    if round_ones != names or sites != names or len(robots.foot_geoms) != len(names):
        raise UsageError(
            f"walk: found the round foot geoms {', '.join(round_ones) or 'none'} and the foot "
            f"sites {', '.join(sites) or 'none'} of {robots.robot.name}, allowed are a sphere or "
            f"capsule and a site each named {', '.join(names)}"
        )
