"""An emulated robot's buses inside this process, on a clock that moves only when somebody waits.

The whole stack runs on it without a port, without waiting and bit for bit the same every time:

    lines = EmulatedLines(EmulatedRobot(description, plant))
    driver = SerialRobot(description, lines.transports, lines.clock)
    lines.wait_until(lines.clock() + description.control_period)
"""

from __future__ import annotations

from .robot import EmulatedRobot


class EmulatedLines:
    """The clock of an emulated robot and a transport for each of its buses."""

    def __init__(self, robot: EmulatedRobot):
        self.robot = robot
        self.transports = {name: EmulatedLine(self, name) for name in robot.description.buses}
        self._now = robot.time

    def clock(self) -> float:
        """[s]; 0 at power-on."""
        return self._now

    def wait_until(self, time: float) -> None:
        """Let time pass up to `time` [s]; not at all if that is past."""
        self._now = max(self._now, time)
        self.robot.advance(self._now)


class EmulatedLine:
    """`Transport` of one bus."""

    def __init__(self, lines: EmulatedLines, name: str):
        self.name = name
        self.baud_rate = lines.robot.description.buses[name].baud_rate
        self._lines = lines

    def write(self, data: bytes) -> None:
        """See `Transport.write`. Takes no time: the line is busy, not the host."""
        self._lines.robot.feed(self.name, data, self._lines.clock(), self.baud_rate)

    def read(self, deadline: float) -> bytes:
        """See `Transport.read`."""
        lines = self._lines
        while not (data := lines.robot.take(self.name, lines.clock(), self.baud_rate)):
            if lines.clock() >= deadline:
                return b""
            lines.wait_until(min(lines.robot.next_due(self.name), deadline))
        return data

    def close(self) -> None:
        """See `Transport.close`. The robot stays as it is."""
