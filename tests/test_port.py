"""Serial ports: opening them, and emptying them of what is old."""

import os
import pty
import time

import pytest
from surefoot.hardware import port as port_module
from surefoot.hardware.dynamixel.protocol import (
    BROADCAST,
    Instruction,
    encode_instruction,
)
from surefoot.hardware.port import SerialPort, drain, drop_input
from surefoot.hardware.serial_robot import open_robot
from surefoot.models.errors import (
    DeviceError,
    UsageError,
)
from wire_bench import DESCRIPTION, Clock, Motors


def test_a_missing_port_is_one_line_that_lists_those_present() -> None:
    with pytest.raises(
        DeviceError, match=r"^port /dev/none: there is no such device; ports present: .+$"
    ):
        SerialPort("/dev/none", 115200)
    with pytest.raises(UsageError, match="found bus 'legs', allowed is one of motors, imu"):
        open_robot(DESCRIPTION, {"legs": "/dev/none"})


def test_serial_port_on_a_pseudo_terminal() -> None:
    device, host = pty.openpty()
    path = os.ttyname(host)
    os.close(host)
    port = SerialPort(path, 4_000_000)

    def soon() -> float:
        return time.monotonic() + 5

    try:
        with pytest.raises(DeviceError, match="in use by another process"):
            SerialPort(path, 4_000_000)
        packet = encode_instruction(BROADCAST, Instruction.PING)
        port.write(packet)
        assert os.read(device, 100) == packet
        os.write(device, b"\xff\xfd\x00\x0a\x0d\x11\x13")
        assert port.read(soon()) == b"\xff\xfd\x00\x0a\x0d\x11\x13"
        assert port.read(0.0) == b""
        os.write(device, bytes(300))
        assert drop_input(port) == 300
        os.close(device)
        with pytest.raises(DeviceError, match=r"the device is gone \(unplugged\?\)"):
            port.read(soon())
        with pytest.raises(DeviceError, match=r"the device is gone \(unplugged\?\)"):
            port.write(packet)
    finally:
        port.close()
        port.close()


def test_bytes_that_another_process_has_taken_are_no_unplugged_cable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the port's being ready and its being read, a second reader was faster."""
    device, host = pty.openpty()
    port = SerialPort(os.ttyname(host), 115200)
    try:
        select, thief = port_module.select.select, os.dup(host)

        def ready(*arguments) -> tuple:
            found = select(*arguments)
            os.read(thief, 100)
            return found

        os.write(device, b"reply")
        with monkeypatch.context() as context:
            context.setattr(port_module.select, "select", ready)
            assert port.read(time.monotonic() + 5) == b""
        os.write(device, b"next")
        assert port.read(time.monotonic() + 5) == b"next"
    finally:
        port.close()
        for descriptor in (device, host, thief):
            os.close(descriptor)


def test_drain_ends_with_silence_or_at_its_limit() -> None:
    clock = Clock()
    motors = Motors(clock)
    motors.pending = bytes(50)
    assert drain(motors, clock, silence=0.002, limit=1.0) == 50
    assert clock.now == pytest.approx(50.002)

    class Babbler(Motors):
        def read(self, deadline: float) -> bytes:
            self.clock.now += 0.001
            return b"\x00"

    clock = Clock()
    assert drain(Babbler(clock), clock, silence=0.002, limit=0.01) == pytest.approx(10, abs=1)
