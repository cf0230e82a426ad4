"""The walking task's left-right symmetry: what each column becomes in a mirror."""

from __future__ import annotations

import numpy as np

from ..models.robot import Robot
from ..models.task import Mirror, Reflection


def left_right_mirror(robot: Robot) -> Mirror:
    """Left and right exchanged, in the columns of `WalkEnv`'s observation, privileged and action.

    Joints pair up by name (`left`, `right`); those of `roll` change sign.
    """
    names = robot.joint_names
    swapped = [
        name.replace("left", "?").replace("right", "left").replace("?", "right") for name in names
    ]
    joint = np.array([names.index(name) for name in swapped])
    joint_sign = np.array([-1.0 if "roll" in name else 1.0 for name in names])
    three = np.arange(3)
    spin, vector, command = np.array([-1.0, 1, -1]), np.array([1.0, -1, 1]), np.array([1.0, -1, -1])
    feet = np.array([1, 0, 3, 2])
    observation = _stack(
        (three, spin),  # gyro
        (three, vector),  # gravity
        (joint, joint_sign),  # joint_pos
        (joint, joint_sign),  # joint_vel
        (joint, joint_sign),  # previous_action
        (three, command),
        (np.arange(2), -np.ones(2)),  # the trot's clock, half a period on
    )
    privileged = _stack(
        (observation.index, observation.sign),
        (three, vector),  # linear velocity
        (three, spin),  # angular velocity
        (three, vector),  # gravity
        (feet, np.ones(4)),  # foot heights
        (feet, np.ones(4)),  # foot friction
    )
    return Mirror(observation, privileged, _stack((joint, joint_sign)))


def _stack(*parts: tuple[np.ndarray, np.ndarray]) -> Reflection:
    """Reflections of consecutive columns as one."""
    starts = np.cumsum([0] + [len(index) for index, _ in parts[:-1]])
    index = np.concatenate([part[0] + start for part, start in zip(parts, starts, strict=True)])
    return Reflection(index, np.concatenate([part[1] for part in parts]).astype(np.float32))
