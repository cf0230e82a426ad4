"""An emulated robot: its devices on their buses, and a plant behind them.

Pure and deterministic: time is an argument, bytes go in and come out with the time they are due.
`process.py` puts it behind pseudo-terminals; a test may drive it with any clock.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ...models.errors import RobotFileError
from ...models.limits import Output
from ...models.robot import Robot
from ..dynamixel import xseries
from ..dynamixel.xseries import OperatingMode
from ..plant import Plant, PlantState
from .imu import EmulatedImu
from .motor import EmulatedMotor, MotorDifference
from .motor_bus import EmulatedMotorBus, Reply

MODES: dict[Output, OperatingMode] = {
    "joint_target": OperatingMode.CURRENT_BASED_POSITION,
    "joint_torque": OperatingMode.CURRENT,
}


class EmulatedRobot:
    """All devices of a robot. Nothing but bytes reaches the host."""

    def __init__(
        self,
        description: Robot,
        plant: Plant,
        seed: int = 0,
        difference: MotorDifference | None = None,
        output: Output = "joint_target",
    ):
        """Power on: torque off, the plant as it lies. `seed` is of the sensors' noise.

        `output` is of the policies that its motors were set up for: mode 5, or mode 0 for torques.

        Raises:
            RobotFileError: a bus that no emulated device can serve.
        """
        self.description, self.plant = description, plant
        self.difference = MotorDifference() if difference is None else difference
        self._mode = MODES[output]
        self.joint_torque = np.zeros(len(description.joints))  # [N·m]. Shape (n,)
        self._rng = np.random.default_rng(seed)
        self._sign = np.array([joint.motor.sign for joint in description.joints])
        self._ratio = self._sign * np.array([joint.motor.gear for joint in description.joints])
        self._zero = np.array([joint.motor.zero for joint in description.joints])
        self.state: PlantState = plant.state
        self._start = self.state.time
        shafts = self._zero + self._ratio * self.state.joint_pos
        self.motors = tuple(
            self._motor(index, float(shaft)) for index, shaft in enumerate(shafts)
        )  # in the joints' order
        self._motor_buses = {
            name: EmulatedMotorBus(
                [
                    m
                    for m, j in zip(self.motors, description.joints, strict=True)
                    if j.motor.bus == name
                ]
            )
            for name, bus in description.buses.items()
            if bus.protocol == "dynamixel"
        }
        self._imu = self._make_imu()
        self._out: dict[str, deque[Reply]] = {name: deque() for name in description.buses}
        self._steps = 0

    @property
    def time(self) -> float:
        """Up to which the plant has been advanced [s]; 0 at power-on."""
        return self._steps * self.plant.timestep

    def feed(self, bus: str, data: bytes, now: float, baud_rate: int) -> None:
        """Bytes that the host wrote to a bus at `now` [s], its port set to `baud_rate`."""
        if bus in self._motor_buses:
            self._out[bus].extend(self._motor_buses[bus].feed(data, now, baud_rate))

    def advance(self, until: float) -> None:
        """Step motors, plant and IMU up to `until` [s], but not beyond."""
        while (self._steps + 1) * self.plant.timestep <= until + 1e-9:
            self._step()

    def take(self, bus: str, now: float, baud_rate: int) -> bytes:
        """What came since the last take to the host's port, set to `baud_rate`, by `now` [s].

        An IMU that is set to another baud rate than the port is not understood: its bytes are lost.
        """
        queue, due = self._out[bus], []
        while queue and queue[0][0] <= now:
            due.append(queue.popleft()[1])
        heard = bus in self._motor_buses or baud_rate == self.description.buses[bus].baud_rate
        return b"".join(due) if heard else b""

    def next_due(self, bus: str | None = None) -> float:
        """When the next byte of one bus, or of any, is due, or the next step if sooner [s]."""
        queues = self._out.values() if bus is None else [self._out[bus]]
        waiting = [queue[0][0] for queue in queues if queue]
        return min([*waiting, self.time + self.plant.timestep])

    def _step(self) -> None:
        timestep, state = self.plant.timestep, self.state
        shafts = (self._zero + self._ratio * state.joint_pos).tolist()
        velocities = (self._ratio * state.joint_vel).tolist()
        noise = self._rng.standard_normal(len(self.motors)).tolist()
        drawn = sum(motor.supply_current for motor in self.motors)
        voltage = self.difference.supply_voltage - self.difference.supply_resistance * drawn
        torques = [
            motor.step(timestep, shaft, velocity, voltage, one)
            for motor, shaft, velocity, one in zip(
                self.motors, shafts, velocities, noise, strict=True
            )
        ]
        self.joint_torque = self._ratio * torques
        self.plant.step(self.joint_torque)
        self._steps += 1
        self.state = self.plant.state
        if self.description.imu and self._imu:
            self._out[self.description.imu.bus].extend(self._imu.step(timestep, self.state))

    def _motor(self, index: int, shaft: float) -> EmulatedMotor:
        joint = self.description.joints[index]
        bus = self.description.buses[joint.motor.bus]
        where = f"joint '{joint.name}': motor.bus '{bus.name}'"
        if bus.protocol != "dynamixel":
            raise RobotFileError(f"{where}: found {bus.protocol}, allowed is dynamixel")
        if bus.baud_rate not in xseries.BAUD_CODES:
            allowed = ", ".join(map(str, xseries.BAUD_CODES))
            raise RobotFileError(f"{where}: found baud rate {bus.baud_rate}, allowed is {allowed}")
        model, id = self.description.motor_models[joint.motor.model], joint.motor.id
        return EmulatedMotor(model, id, bus.baud_rate, shaft, self.difference, self._mode)

    def _make_imu(self) -> EmulatedImu | None:
        imu = self.description.imu
        if imu is None:
            return None
        bus = self.description.buses[imu.bus]
        if bus.protocol != "witmotion":
            raise RobotFileError(f"imu.bus: found {bus.protocol}, allowed is witmotion")
        return EmulatedImu(imu.rotation, imu.rate, bus.baud_rate, self._rng)
