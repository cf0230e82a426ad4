"""The torque of a robot's motors: found and switched off on every bus that there still is.

For what was left under torque, in whatever state: a `SerialRobot` would refuse it for a silent IMU
or one silent motor. So nothing is checked here, the ports of motors alone are opened, and what
fails on one bus keeps nothing from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from ..models.errors import DeviceError
from ..models.robot import Robot
from .dynamixel.bus import MotorBus
from .dynamixel.registers import MotorRegisters
from .dynamixel.xseries import TORQUE_ENABLE
from .port import Clock, open_port


class Torque(Enum):
    """What a motor says of its torque."""

    OFF = "off"
    ON = "on"
    SILENT = "silent"


@dataclass(frozen=True)
class Found:
    """What was found on all motor buses."""

    torque: Mapping[str, Torque]  # by joint, in robot.toml's order
    errors: Mapping[str, str]  # why a bus could not be asked, by bus; its motors count as silent

    def joints(self, *torques: Torque) -> list[str]:
        """The joints whose motors say one of these."""
        return [name for name, torque in self.torque.items() if torque in torques]


def find_torque(
    description: Robot, ports: Mapping[str, str], clock: Clock = time.monotonic
) -> Found:
    """Ask every motor for its torque; nothing is written. The arguments are `open_robot`'s."""
    return _on_each_bus(description, ports, clock, lambda motors: motors.ask(TORQUE_ENABLE))


def torque_off(
    description: Robot, ports: Mapping[str, str], clock: Clock = time.monotonic
) -> Found:
    """Switch off the torque of every motor that hears it; what they said of it afterwards.

    A silent one may have heard it, or keep its torque. The arguments are `open_robot`'s.
    """
    return _on_each_bus(description, ports, clock, MotorRegisters.torque_off)


def _on_each_bus(
    description: Robot,
    ports: Mapping[str, str],
    clock: Clock,
    act: Callable[[MotorRegisters], dict[int, int]],
) -> Found:
    said: dict[tuple[str, int], int] = {}  # by bus and ID
    errors: dict[str, str] = {}
    for name in dict.fromkeys(joint.motor.bus for joint in description.joints):
        joints = [joint for joint in description.joints if joint.motor.bus == name]
        try:
            port = open_port(description.buses[name], ports, clock)
            try:
                answers = act(MotorRegisters(MotorBus(name, port, clock), joints))
            finally:
                port.close()
        except DeviceError as error:
            errors[name] = str(error)
        else:
            said |= {(name, id): value for id, value in answers.items()}
    torque = {
        joint.name: _torque(said.get((joint.motor.bus, joint.motor.id)))
        for joint in description.joints
    }
    return Found(torque, errors)


def _torque(value: int | None) -> Torque:
    if value is None:
        return Torque.SILENT
    return Torque.ON if value else Torque.OFF
