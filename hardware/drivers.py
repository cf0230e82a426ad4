"""Which driver speaks on a bus: one for each protocol that robot.toml may name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..models.errors import RobotFileError
from ..models.robot import Robot
from .dynamixel.bus import MotorBus
from .port import Clock, Transport
from .witmotion.stream import ImuStream


def why_not_given(inputs: Collection[str]) -> str:
    """Why serial lines cannot give a policy such inputs, one line; '' if they can."""
    if "contact_force" in inputs:
        return (
            "the policy asks for input 'contact_force', and no driver here reads contact sensors; "
            "allowed on serial lines is a policy without it, simulation has them"
        )
    return ""


def motor_bus(description: Robot, bus: str, transport: Transport, clock: Clock) -> MotorBus:
    """The driver of a bus of motors. Raises RobotFileError where it speaks what none here does."""
    protocol = description.buses[bus].protocol
    if protocol == "dynamixel":
        return MotorBus(bus, transport, clock)
    raise RobotFileError(f"bus.{bus}.protocol: found {protocol}, allowed for motors is dynamixel")


def imu_stream(
    description: Robot, transports: Mapping[str, Transport], clock: Clock
) -> ImuStream | None:
    """The driver of the IMU, None where there is none. Raises RobotFileError as `motor_bus`."""
    imu = description.imu
    if imu is None:
        return None
    protocol = description.buses[imu.bus].protocol
    if protocol == "witmotion":
        return ImuStream(imu, transports[imu.bus], clock)
    where = f"bus.{imu.bus}.protocol"
    raise RobotFileError(f"{where}: found {protocol}, allowed for an IMU is witmotion")
