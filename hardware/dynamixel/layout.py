"""What a tick asks of the motors and tells them: windows of the control table, and their bytes.

Source: ROBOTIS e-Manual, XM430-W210, "Indirect Address" and "Indirect Data".
"""

from __future__ import annotations

import struct

from ...models.errors import DeviceError
from . import xseries as x
from .bus import STATUS_SIZE, MotorBus

# Two windows that end with present current, velocity and position (126 to 135). Consecutive ticks
# ask for different lengths, so a late reply cannot pass for that of the next request.
WINDOWS = ((x.PRESENT_CURRENT.address, 10), (x.PRESENT_PWM.address, 12))  # address, [bytes]
FEEDBACK = struct.Struct("<hii")  # current, velocity, position: the last bytes of a window

GAINS = struct.Struct("<HHH")  # position D, I and P gain, side by side
# Indirect data: goal current and goal position side by side, then what the slow read asks for.
GOAL = struct.Struct("<hi")
TORQUE_GOAL = struct.Struct("<h")  # goal current alone, the first of these
SLOW = struct.Struct("<BB6sbHB")  # as the registers below; the gains as `GAINS` has them
GOAL_REGISTERS = (x.GOAL_CURRENT, x.GOAL_POSITION)
SLOW_REGISTERS = (
    x.TORQUE_ENABLE,
    x.HARDWARE_ERROR,
    x.POSITION_D_GAIN,
    x.POSITION_I_GAIN,
    x.POSITION_P_GAIN,
    x.BUS_WATCHDOG,
    x.PRESENT_VOLTAGE,
    x.PRESENT_TEMPERATURE,
)
SLOW_DATA = x.INDIRECT_DATA + GOAL.size  # address of what the slow read asks for
INDIRECT = b"".join(  # the indirect addresses that make it so
    struct.pack("<H", register.address + i)
    for register in GOAL_REGISTERS + SLOW_REGISTERS
    for i in range(register.size)
)


def check_bus_time(bus: MotorBus, m: int, fast: bool, control_period: float) -> None:
    """Refuse a bus of m motors that needs more than half the control period [s] for a tick.

    The gains of DAMP come on top, in as many bytes as the goals. Those are less than half of what
    is counted here, so a tick of DAMP fits into three quarters of the period; goals of torques are
    shorter. A return delay is told, too.

    Raises:
        DeviceError: it needs more.
    """
    request, write = 14 + m, 14 + m * (1 + GOAL.size)
    reply = 8 + m * (4 + 10) if fast else m * (STATUS_SIZE + 10)
    needed = bus.wire_time(request + reply + write, m)
    delay = f"a return delay of {bus.return_delay * 1e6:.0f} µs (EEPROM address 9)"
    if needed > control_period / 2:
        raise DeviceError(
            f"bus '{bus.name}': found {needed * 1e3:.1f} ms a tick at "
            f"{bus.transport.baud_rate} baud with {delay}, allowed is half the control "
            f"period, {control_period * 500:.1f} ms"
        )
    if bus.return_delay > 0:
        bus.note(f"found {delay}; 0 would be faster")
