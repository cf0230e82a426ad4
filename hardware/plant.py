"""The physics behind emulated devices, as the devices see it.

`sim/plant.py` implements it with MuJoCo; another engine may. All arrays are float64 in the order
of robot.toml's joints, n of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class PlantState:
    """The robot's true state. The devices quantise, filter and delay what they report of it."""

    time: float  # since the plant was made [s]
    joint_pos: np.ndarray  # [rad]. Shape (n,)
    joint_vel: np.ndarray  # [rad/s]. Shape (n,)
    base_position: np.ndarray  # in the world [m]. Shape (3,)
    base_quaternion: np.ndarray  # base to world, w x y z. Shape (4,)
    linear_velocity: np.ndarray  # of the base, in the base frame [m/s]. Shape (3,)
    angular_velocity: np.ndarray  # of the base, in the base frame [rad/s]. Shape (3,)
    specific_force: np.ndarray  # at the IMU, in the base frame [m/s²]. Shape (3,)
    # On each contact sensor [N]. Shape (s,)
    contact_force: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Plant(Protocol):
    """A body that takes joint torques."""

    timestep: float  # [s]

    @property
    def state(self) -> PlantState:
        """The state now."""
        ...

    def step(self, joint_torque: np.ndarray) -> None:
        """Advance by `timestep` under `joint_torque` [N·m]. Shape (n,)."""
        ...
