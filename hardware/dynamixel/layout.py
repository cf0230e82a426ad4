"""What a tick asks of the motors and tells them: windows of the control table, and their bytes.

Source: ROBOTIS e-Manual, XM430-W210, "Indirect Address" and "Indirect Data".
"""

from __future__ import annotations

import struct

from . import xseries as x

# Two windows that end with present current, velocity and position (126 to 135). Consecutive ticks
# ask for different lengths, so a late reply cannot pass for that of the next request.
WINDOWS = ((x.PRESENT_CURRENT.address, 10), (x.PRESENT_PWM.address, 12))  # address, [bytes]
FEEDBACK = struct.Struct("<hii")  # current, velocity, position: the last bytes of a window

GAINS = struct.Struct("<HHH")  # position D, I and P gain, side by side
# Indirect data: goal current and goal position side by side, then what the slow read asks for.
GOAL = struct.Struct("<hi")
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
