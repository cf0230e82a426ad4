"""The left-right symmetry of a walking robot: what each column becomes in a mirror."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..models.errors import UsageError
from ..models.observation import Phase, Term
from ..models.robot import Robot
from ..models.task import Mirror, Reflection
from .curriculum import SCAN_MIRRORED

_Columns = tuple[np.ndarray, np.ndarray]  # index and sign of a Reflection


def left_right_mirror(
    terms: Sequence[Term], privileged: Sequence[str], robot: Robot, feet: Sequence[str]
) -> Mirror:
    """Left and right exchanged, in the columns of a task's observation, privileged and action.

    Joints, feet and contact sensors pair up by name (`left`, `right`); joints of `roll` and `yaw`
    change sign. A `Phase` of the clock moves on by half a period: the gait's other feet.

    Args:
        terms: of the observation.
        privileged: names of what follows the observation in the critic's, of the table below.
        robot: whose joints they are about.
        feet: their names, in the order of `foot_heights`.

    Raises:
        UsageError: a joint, foot or observed sensor has no counterpart, or the standing pose is not
            its own mirror image.
    """
    three = np.arange(3)
    polar = (three, np.array([1.0, -1.0, 1.0]))  # a direction or a velocity
    axial = (three, np.array([-1.0, 1.0, -1.0]))  # a rotation
    joints = _joints(robot)
    on_feet = (_partners(feet, robot), np.ones(len(feet)))
    columns = {
        "joint_pos": joints,
        "joint_vel": joints,
        "previous_action": joints,
        "gyro": axial,
        "gravity": polar,
        "command": (three, np.array([1.0, -1.0, -1.0])),
        "linear_velocity": polar,
        "angular_velocity": axial,
        "foot_heights": on_feet,
        "foot_friction": on_feet,
        "ground": (SCAN_MIRRORED, np.ones(len(SCAN_MIRRORED))),
    }
    sensors = [sensor.name for sensor in robot.contact_sensors]
    if any(term.input == "contact_force" for term in terms):  # others need not pair up
        columns["contact_force"] = (_partners(sensors, robot), np.ones(len(sensors)))
    half_a_period = (np.arange(2), -np.ones(2))
    observation = [half_a_period if isinstance(t, Phase) else columns[t.input] for t in terms]
    return Mirror(
        observation=_stack(observation),
        privileged=_stack([*observation, *(columns[name] for name in privileged)]),
        action=_stack([joints]),
    )


def _joints(robot: Robot) -> _Columns:
    names = robot.joint_names
    columns = (
        _partners(names, robot),
        np.array([-1.0 if "roll" in name or "yaw" in name else 1.0 for name in names]),
    )
    pose = robot.default_pose.tolist()
    if (mirrored := _stack([columns])(robot.default_pose).tolist()) != pose:
        raise UsageError(
            f"walk: found the standing pose {pose} of {robot.name}, allowed is one that is its own "
            f"mirror image, which is {mirrored}"
        )
    return columns


def _partners(names: Sequence[str], robot: Robot) -> np.ndarray:
    """Index of each name's counterpart on the other side."""
    other = {"left": "right", "right": "left"}
    index = []
    for name in names:
        side = next((side for side in other if side in name), None)
        partner = name.replace(side, other[side]) if side else None
        if partner is None or partner not in names:
            raise UsageError(
                f"walk: found nothing on the other side of '{name}' of {robot.name}, allowed are "
                "joints, feet and contact sensors whose names pair up by left and right"
            )
        index.append(list(names).index(partner))
    return np.array(index, dtype=int)


def _stack(parts: Sequence[_Columns]) -> Reflection:
    """Reflections of consecutive columns as one."""
    starts = np.cumsum([0] + [len(index) for index, _ in parts[:-1]])
    index = np.concatenate([part[0] + start for part, start in zip(parts, starts, strict=True)])
    return Reflection(index, np.concatenate([part[1] for part in parts]).astype(np.float32))
