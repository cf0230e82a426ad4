"""The robot in its world, as a MuJoCo specification: the MJCF's body joined with robot.toml.

Both the training environments and the plant behind the emulated robot start from it; each adds its
own actuators and differences, then compiles.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from ..models.errors import RobotFileError
from ..models.robot import Robot
from .terrain import BORDER, Terrain

# Of two touching geoms MuJoCo takes the larger friction: a slippery floor lets the feet decide.
FLOOR_FRICTION = (0.05, 0.005, 0.0001)
FOOT = "_foot"  # how the names of a foot's geom and site end
SITE_SHAPES = (
    mujoco.mjtGeom.mjGEOM_SPHERE,
    mujoco.mjtGeom.mjGEOM_CAPSULE,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    mujoco.mjtGeom.mjGEOM_CYLINDER,
    mujoco.mjtGeom.mjGEOM_BOX,
)
PLANE = {"type": mujoco.mjtGeom.mjGEOM_PLANE, "size": [0, 0, 0.05]}


def build_spec(robot: Robot, terrain: Terrain | None = None) -> mujoco.MjSpec:
    """The body on a floor, under a light; ranges, armature and dry friction from robot.toml.

    Without actuators or sensors, and not yet compiled. The floor `floor`, a plane or the first
    period of the terrain with a border of its repetition, has conaffinity 1: it meets the geoms
    with contype 1, such as feet and belly. The soft limits become the joints' ranges. The viscous
    damping is 0: a servo's damping belongs to its actuator.

    Raises:
        RobotFileError: robot.toml names a joint that the MJCF lacks.
    """
    spec = mujoco.MjSpec.from_file(str(robot.mjcf))
    world = spec.worldbody
    shape = _height_field(spec, terrain) if terrain else PLANE
    world.add_geom(
        name="floor",
        **shape,
        contype=0,
        conaffinity=1,
        condim=3,
        friction=list(FLOOR_FRICTION),
        rgba=[0.92, 0.92, 0.9, 1],
    )
    world.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0, 0, 3],
        dir=[0.2, 0.3, -1],
    )
    names = [joint.name for joint in spec.joints]
    for joint in robot.joints:
        if joint.name not in names:
            raise RobotFileError(
                f"joint '{joint.name}': not in {robot.mjcf.name}, which has {', '.join(names)}"
            )
        hinge = spec.joint(joint.name)
        hinge.limited = mujoco.mjtLimited.mjLIMITED_TRUE
        hinge.range = [joint.lower, joint.upper]
        hinge.armature = joint.armature
        hinge.frictionloss = joint.friction
    return spec


def add_contact_sensors(spec: mujoco.MjSpec, robot: Robot) -> None:
    """Behind the sensors that are there, one for each of the robot's contact sensors, in order.

    MuJoCo's touch sensor sums the normal forces of the contacts within a site: one of the foot's
    own shape, which has no part in the physics (mujoco/doc/XMLreference.rst, sensor/touch).

    Raises:
        RobotFileError: the MJCF lacks a geom that the robot feels with, or has none of a shape
            that a site can have.
    """
    for sensor in robot.contact_sensors:
        foot = spec.geom(sensor.name + FOOT)
        if foot is None:
            raise RobotFileError(
                f"contact_sensor '{sensor.name}': found no geom {sensor.name}{FOOT} in "
                f"{robot.mjcf.name}, allowed is the name of one without its {FOOT}"
            )
        if foot.type not in SITE_SHAPES:
            raise RobotFileError(
                f"contact_sensor '{sensor.name}': found {foot.name} of the type "
                f"{_shape_name(foot.type)} in {robot.mjcf.name}, allowed are "
                f"{', '.join(map(_shape_name, SITE_SHAPES))}"
            )
        name = f"{sensor.name}_contact"
        shape = {key: getattr(foot, key) for key in ("type", "size", "pos", "quat", "fromto")}
        site = foot.parent.add_site(name=name, rgba=[0, 0, 0, 0], **shape)
        for key in ("type", "axisangle", "xyaxes", "zaxis", "euler"):  # the MJCF's other rotations
            setattr(site.alt, key, getattr(foot.alt, key))
        spec.add_sensor(
            name=name,
            type=mujoco.mjtSensor.mjSENS_TOUCH,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=name,
        )


def _shape_name(kind: mujoco.mjtGeom) -> str:
    return mujoco.mjtGeom(kind).name.removeprefix("mjGEOM_").lower()


def _height_field(spec: mujoco.MjSpec, terrain: Terrain) -> dict[str, Any]:
    """The terrain as an asset; what a geom of it is made of."""
    heights = np.pad(terrain.heights, BORDER, mode="wrap")
    lowest, span = float(heights.min()), max(float(np.ptp(heights)), 1e-3)  # MuJoCo's is > 0
    nrow, ncol = heights.T.shape  # MuJoCo's rows run along y
    half = 0.5 * terrain.spacing * np.array([ncol - 1, nrow - 1])
    spec.add_hfield(
        name="terrain",
        nrow=nrow,
        ncol=ncol,
        size=[*half, span, 0.1],
        userdata=((heights - lowest) / span).T.ravel(),
    )
    centre = half - BORDER * terrain.spacing
    return {
        "type": mujoco.mjtGeom.mjGEOM_HFIELD,
        "hfieldname": "terrain",
        "pos": [*centre, lowest],
    }


def pose_on_floor(model: mujoco.MjModel, joint_pos: np.ndarray) -> np.ndarray:
    """MuJoCo's qpos (nq,) of a robot with its joints at `joint_pos` [rad], shape (n,).

    A free base is upright, where the robot just touches the floor; a bolted one is where it is.

    Raises:
        RobotFileError: a free robot of which no geom meets the floor.
    """
    if model.nq == len(joint_pos):
        return np.array(joint_pos, dtype=np.float64)
    qpos = np.concatenate(([0, 0, 0, 1, 0, 0, 0], joint_pos))
    qpos[2] = height_on_floor(model, qpos)
    return qpos


def height_on_floor(model: mujoco.MjModel, qpos: np.ndarray) -> float:
    """Height of the base at which the robot, in pose `qpos` (nq,), just touches the floor [m].

    The base's own height in `qpos` doesn't count; its orientation does.

    Raises:
        RobotFileError: no geom of the model meets the floor.
    """
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    data.qpos[2] = 0.0
    mujoco.mj_kinematics(model, data)
    floor = model.geom("floor").id
    touching = np.flatnonzero(model.geom_contype & model.geom_conaffinity[floor])
    if not len(touching):
        raise RobotFileError(
            "geoms: found none with contype 1, allowed is one that meets the floor"
        )
    farthest = 10.0  # [m]
    return -min(
        mujoco.mj_geomDistance(model, data, floor, geom, farthest, None)
        for geom in touching.tolist()
    )
