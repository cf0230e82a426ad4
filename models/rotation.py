"""Unit quaternions w x y z, frame to world, and what is read off them.

Leading dimensions are free: a quaternion has shape (..., 4), a vector (..., 3). Hamilton's
convention, which is MuJoCo's.
Source: Solà, "Quaternion kinematics for the error-state Kalman filter", arXiv:1711.02508.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def rotation_matrix(quaternion: ArrayLike) -> np.ndarray:
    """The matrix that takes a vector of the frame to the world. Shape (..., 3, 3)."""
    w, x, y, z = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def rotate_inverse(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors of the world, seen from the frame. Shape (..., 3)."""
    w, axis = quaternion[..., :1], quaternion[..., 1:]
    twice = 2 * cross(axis, vector)
    return vector - w * twice + cross(axis, twice)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The vector product; `numpy.cross` takes several times as long for few. Shape (..., 3)."""
    a_x, a_y, a_z = a[..., 0], a[..., 1], a[..., 2]
    b_x, b_y, b_z = b[..., 0], b[..., 1], b[..., 2]
    return np.stack((a_y * b_z - a_z * b_y, a_z * b_x - a_x * b_z, a_x * b_y - a_y * b_x), -1)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quaternion that turns by `b` first, then by `a`: Hamilton's product. Shape (..., 4)."""
    a_w, a_axis, b_w, b_axis = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    scalar = a_w * b_w - (a_axis * b_axis).sum(-1, keepdims=True)
    axis = a_w * b_axis + b_w * a_axis + np.cross(a_axis, b_axis)
    return np.concatenate([scalar, axis], -1)


def tilt(quaternion: np.ndarray) -> np.ndarray:
    """Angle between the frame's z axis and up [rad]. Shape (...)."""
    x, y = quaternion[..., 1], quaternion[..., 2]
    return np.arccos(np.clip(1 - 2 * (x**2 + y**2), -1, 1))


def heading(quaternion: np.ndarray) -> np.ndarray:
    """Angle about up by which the frame's x axis is turned from the world's [rad]. Shape (...)."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
