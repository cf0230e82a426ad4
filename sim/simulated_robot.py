"""One simulated robot behind the interface of the real ones, with a clock of its own.

The loop that drives a robot over serial drives this one unchanged: its `sleep_until` advances the
physics instead of waiting, so that a run is deterministic and as fast as the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from ..hardware.interface import Command, Health, Mode, Sample
from ..models.errors import UsageError
from ..models.limits import require_finite
from ..models.robot import Robot
from .randomisation import Term, randomise
from .robots import CONTROLLER_KD, CONTROLLER_KP, RobotBatch

GRAVITY = 9.81  # [m/s²]
ACCELERATION_NOISE = 0.05  # [m/s²]
SETTLING_TIME = 0.5  # limp on the floor before the first sample [s]


class SimulatedRobot:
    """Implements `RobotInterface` and the loop's `Clock`. It begins lying in its rest pose."""

    def __init__(
        self,
        robot: Robot,
        randomisation: Sequence[Term] = (),
        seed: int = 0,
        joint_pos: np.ndarray | None = None,
    ) -> None:
        """`joint_pos` replaces the rest pose [rad]. Shape (n,)."""
        self.robot = robot
        self.robots = RobotBatch(robot, 1, nthread=1)
        self._rng = np.random.default_rng(seed)
        self._time = 0.0
        self._mode = Mode.OFF
        self._target = np.array(robot.rest_pose if joint_pos is None else joint_pos)
        one = np.array([0])
        at_reset = [term for term in randomisation if term.every is None]
        if randomise(at_reset, self.robots, one, self._rng):
            self.robots.batch.set_const(one)
        self._force_range = self.robots.field("actuator_forcerange")[0].copy()
        self._gains = self.robots.field("actuator_gainprm")[0].copy()

        qpos = np.zeros((1, self.robots.model.nq))
        qpos[0, 2] = self._lying_height(self._target)
        qpos[0, 3] = 1.0
        qpos[0, 7:] = self._target
        self.robots.reset(one, qpos, np.zeros((1, self.robots.model.nv)))
        self.write(Command(Mode.OFF))
        for _ in range(round(SETTLING_TIME / robot.control_period)):
            self.robots.step(self._target[None])

    # --- Clock --------------------------------------------------------------------------------

    def now(self) -> float:
        """Simulated time [s]."""
        return self._time

    def sleep_until(self, time: float) -> None:
        """Advance the physics, in whole control periods, until `time` [s]."""
        while self._time < time - 1e-9:
            self.robots.step(self._target[None])
            self._time += self.robot.control_period

    # --- RobotInterface -----------------------------------------------------------------------

    def read(self) -> Sample:
        n = len(self.robot.joints)
        measured = {name: value[0] for name, value in self.robots.measure(self._rng).items()}
        voltage = next(iter(self.robot.motor_models.values())).nominal_voltage
        noise = self._rng.normal(0.0, ACCELERATION_NOISE, 3)
        return Sample(
            time=self._time,
            **measured,
            joint_torque=self.robots.joint_torque[0].copy(),
            age=np.zeros(n),
            alert=np.zeros(n, bool),
            acceleration=-GRAVITY * self.robots.gravity[0] + noise,  # at rest; no motion in it
            imu_age=0.0,
            health=Health(
                np.full(n, voltage), np.full(n, 25.0), np.zeros(n, np.uint8), np.zeros(n, bool)
            ),
        )

    def write(self, command: Command) -> None:
        """See `RobotInterface.write`. HOLD after DAMP or OFF holds where the joints are.

        Raises:
            NonFiniteError: some target or cap is NaN or infinite; nothing changes then.
        """
        cap = self._force_range[:, 1]
        if command.torque_cap is not None:
            require_finite(torque_cap=command.torque_cap)
            cap = np.minimum(command.torque_cap, cap)
        if command.mode is Mode.TRACK:
            if command.target is None:
                raise UsageError("target: found none, allowed is one for TRACK")
            require_finite(target=command.target)
            self._target = np.array(command.target)
        elif command.mode is Mode.HOLD and self._mode in (Mode.OFF, Mode.DAMP):
            self._target = self.robots.joint_pos[0] + self.robots.imperfections.encoder_offset[0]
        self._mode = command.mode
        if command.mode is Mode.OFF:
            cap = np.zeros_like(cap)
        self.robots.field("actuator_forcerange")[0] = np.column_stack((-cap, cap))
        gains = self.robots.field("actuator_gainprm")[0]
        damped = command.mode is Mode.DAMP
        gains[:, CONTROLLER_KP] = 0.0 if damped else self._gains[:, CONTROLLER_KP]
        gains[:, CONTROLLER_KD] = (
            self.robot.safety.damping if damped else self._gains[:, CONTROLLER_KD]
        )

    def close(self) -> None:
        """Nothing to release."""

    def _lying_height(self, pose: np.ndarray) -> float:
        """Of the base, so that what collides just touches the floor in `pose` [m]."""
        model = self.robots.model
        data = mujoco.MjData(model)
        data.qpos[2], data.qpos[3], data.qpos[7:] = 0.0, 1.0, pose
        mujoco.mj_kinematics(model, data)
        touching = model.geom_contype == 1
        lowest = data.geom_xpos[touching, 2] - model.geom_size[touching, 0]
        return -float(lowest.min())
