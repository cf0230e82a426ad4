"""A robot's serial ports, from what was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..hardware.serial_robot import SerialRobot, open_robot
from ..models.errors import DeviceError, UsageError
from ..models.limits import Output
from ..models.robot import Robot


def parse_ports(words: tuple[str, ...], robot: Robot) -> dict[str, str]:
    """Device of each bus that was given one. Raises UsageError where a word is no BUS=DEVICE."""
    ports: dict[str, str] = {}
    buses = ", ".join(robot.buses)
    for word in words:
        bus, separator, port = word.partition("=")
        if not (bus and separator and port):
            raise UsageError(f"--port: found '{word}', allowed is BUS=/dev/…, BUS one of {buses}")
        if bus not in robot.buses:
            raise UsageError(f"--port: found bus '{bus}', allowed is one of {buses}")
        if bus in ports:
            raise UsageError(f"--port: found bus '{bus}' twice, allowed is one port for each")
        ports[bus] = port
    return ports


def open_ports(
    robot: Robot,
    ports: Mapping[str, str],
    otherwise: str = "",
    output: Output = "joint_target",
) -> SerialRobot:
    """Open the robot; what fails is told with what could be asked for instead.

    Args:
        robot: its description.
        ports: device of each bus that is not on robot.toml's.
        otherwise: another way to have a robot, for the message.
        output: of the policy that will drive it.

    Raises:
        DeviceError: a port, motor or IMU is missing, busy or not as robot.toml says.
    """
    try:
        return open_robot(robot, ports, output=output)
    except DeviceError as error:
        raise DeviceError(str(error) + _hint(robot, ports, otherwise, str(error))) from None


def give_ports(robot: Robot, buses: Sequence[str]) -> str:
    """The end of an error: which ports to give where these are robot.toml's own."""
    if not buses:
        return ""
    own = ", ".join(f"bus '{name}' on {robot.buses[name].port}" for name in buses)
    give = " ".join(f"--port {name}=DEVICE" for name in buses)
    return f"; {own}, robot.toml's own port: give {give}"


def _hint(robot: Robot, ports: Mapping[str, str], otherwise: str, error: str) -> str:
    missing = [name for name in robot.buses if name not in ports]
    if missing:
        return give_ports(robot, missing) + otherwise
    if len(ports) > 1 and not error.startswith("port "):  # the ports are there
        given = ", ".join(f"{name} on {port}" for name, port in ports.items())
        return f"; are the ports swapped? {given}"
    return ""
