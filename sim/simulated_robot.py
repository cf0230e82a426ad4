"""One simulated robot behind the interface of the real ones, with a clock of its own.

The loop that drives a robot over serial drives this one unchanged: its `sleep_until` advances the
physics instead of waiting, so that a run is deterministic and as fast as the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..hardware.interface import (
    NO_IMU,
    Command,
    Health,
    Mode,
    Sample,
    require_mode,
    require_shape,
)
from ..models.limits import Output
from ..models.robot import Robot
from .randomisation import Variation, randomise, require_fit
from .robot_batch import RobotBatch
from .servos import CONTROLLER_KD, CONTROLLER_KP
from .world import pose_on_floor

ACCELERATION_NOISE = 0.05  # [m/s²]
SETTLING_TIME = 0.5  # limp on the floor before the first sample [s]


class SimulatedRobot:
    """Implements `RobotInterface` and the loop's `Clock`.

    It begins limp in its rest pose, settled on the floor, at time 0. Deterministic given the seed.
    """

    def __init__(
        self,
        robot: Robot,
        randomisation: Sequence[Variation] = (),
        seed: int = 0,
        joint_pos: np.ndarray | None = None,
        output: Output = "joint_target",
    ) -> None:
        """The physics of the training model.

        Args:
            robot: its description.
            randomisation: what varies, drawn once; variations that recur, as pushes do, are left
                out.
            seed: of the draw and of the sensors' noise.
            joint_pos: replaces the rest pose [rad]. Shape (n,).
            output: of the policies that drive it.
        """
        self.robot = robot
        self.robots = RobotBatch(robot, 1, nthread=1, output=output)
        self._rng = np.random.default_rng(seed)
        self._time = 0.0
        self._mode = Mode.OFF
        pose = np.array(robot.rest_pose if joint_pos is None else joint_pos)
        # What the servos were last given: joint targets [rad] or joint torques [N·m].
        self._given = pose if output == "joint_target" else np.zeros_like(pose)
        one = np.array([0])
        at_reset = [v for v in randomisation if v.every is None]
        require_fit(at_reset, self.robots)
        randomise(at_reset, self.robots, one, self._rng)
        self._force_range = self.robots.field("actuator_forcerange")[0].copy()
        self._gains = self.robots.field("actuator_gainprm")[0].copy()

        qpos = pose_on_floor(self.robots.model, pose)
        self.robots.reset(one, qpos[None], np.zeros((1, self.robots.model.nv)))
        self.write(Command(Mode.OFF))
        for _ in range(round(SETTLING_TIME / robot.control_period)):
            self.robots.step(self._given[None])

    # --- Clock --------------------------------------------------------------------------------

    def now(self) -> float:
        """Simulated time [s]."""
        return self._time

    def sleep_until(self, time: float) -> None:
        """Advance the physics, in whole control periods, until `time` [s]."""
        while self._time < time - 1e-9:
            self.robots.step(self._given[None])
            self._time += self.robot.control_period

    # --- RobotInterface -----------------------------------------------------------------------

    @property
    def found_torque_on(self) -> bool:
        """Never: it begins limp."""
        return False

    @property
    def torque_left_on(self) -> tuple[str, ...]:
        """None: OFF is obeyed."""
        return ()

    def read(self) -> Sample:
        """See `RobotInterface.read`. All motors answer at once; their health is perfect."""
        n = len(self.robot.joints)
        measured = {name: value[0] for name, value in self.robots.measure(self._rng).items()}
        voltage = next(iter(self.robot.motor_models.values())).nominal_voltage
        return Sample(
            time=self._time,
            **measured,
            joint_torque=self.robots.joint_torque[0].copy(),
            age=np.zeros(n),
            alert=np.zeros(n, bool),
            encoder_jump=np.zeros(n, bool),
            **self._rest_of_imu(),
            health=Health(
                voltage=np.full(n, voltage),
                temperature=np.full(n, 25.0),
                error_bits=np.zeros(n, np.uint8),
                watchdog_tripped=np.zeros(n, bool),
                age=np.zeros(n),
                torque_on=np.full(n, self._mode is not Mode.OFF),
            ),
        )

    def _rest_of_imu(self) -> dict[str, Any]:
        """What an IMU adds to a sample beside gyro and gravity; all of it where there is none."""
        if self.robot.imu is None:
            return NO_IMU
        noise = self._rng.normal(0.0, ACCELERATION_NOISE, 3)
        gravity = -self.robots.model.opt.gravity[2]  # the world's [m/s²]
        at_rest = -gravity * self.robots.gravity[0]  # no motion in it
        rate = self.robot.imu.rate
        return {"acceleration": at_rest + noise, "imu_age": 0.0, "imu_rate": rate}

    def write(self, command: Command) -> None:
        """See `RobotInterface.write`. HOLD after DAMP or OFF holds where the joints are.

        Raises:
            UsageError: an array has another shape than (n,), or the mode is not for this output;
                nothing changes then.
        """
        require_mode(command, self.robots.output)
        require_shape(command, len(self.robot.joints))
        cap = self._force_range[:, 1]
        if command.torque_cap is not None:
            cap = np.minimum(command.torque_cap, cap)
        if command.mode is Mode.TRACK and command.target is not None:
            self._given = command.target.copy()
        elif self.robots.output == "joint_torque":
            torque = np.zeros(len(cap)) if command.torque is None else command.torque
            self._given = torque.copy()
        elif command.mode is Mode.HOLD and self._mode in (Mode.OFF, Mode.DAMP):
            self._given = self.robots.joint_pos[0] + self.robots.sensor_errors.encoder_offset[0]
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

    def refresh(self) -> None:
        """Nothing to do: each sample is new."""

    def close(self) -> None:
        """Nothing to release."""
