"""The control table of DYNAMIXEL X-series motors (XM430 and kin): registers, units, modes.

Source: ROBOTIS e-Manual, "XM430-W210", control table
(emanual.robotis.com/docs/en/dxl/x/xm430-w210). Addresses below 64 are EEPROM, writable only with
torque off; the others are RAM and start at their defaults after power-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, IntFlag


@dataclass(frozen=True)
class Register:
    """A little-endian whole number in the control table."""

    name: str
    address: int
    size: int  # [bytes]
    signed: bool = False


EEPROM_END = 64  # first address of the RAM area

MODEL_NUMBER = Register("model number", 0, 2)
MODEL_INFORMATION = Register("model information", 2, 4)
FIRMWARE = Register("firmware version", 6, 1)
ID = Register("ID", 7, 1)
BAUD_RATE = Register("baud rate", 8, 1)
RETURN_DELAY = Register("return delay time", 9, 1)
DRIVE_MODE = Register("drive mode", 10, 1)
OPERATING_MODE = Register("operating mode", 11, 1)
SHADOW_ID = Register("secondary ID", 12, 1)
PROTOCOL_TYPE = Register("protocol type", 13, 1)
HOMING_OFFSET = Register("homing offset", 20, 4, signed=True)
MOVING_THRESHOLD = Register("moving threshold", 24, 4)
TEMPERATURE_LIMIT = Register("temperature limit", 31, 1)
MAX_VOLTAGE_LIMIT = Register("maximum voltage limit", 32, 2)
MIN_VOLTAGE_LIMIT = Register("minimum voltage limit", 34, 2)
PWM_LIMIT = Register("PWM limit", 36, 2)
CURRENT_LIMIT = Register("current limit", 38, 2)
VELOCITY_LIMIT = Register("velocity limit", 44, 4)
MAX_POSITION_LIMIT = Register("maximum position limit", 48, 4)
MIN_POSITION_LIMIT = Register("minimum position limit", 52, 4)
SHUTDOWN = Register("shutdown", 63, 1)

TORQUE_ENABLE = Register("torque enable", 64, 1)
LED = Register("LED", 65, 1)
STATUS_RETURN_LEVEL = Register("status return level", 68, 1)
REGISTERED_INSTRUCTION = Register("registered instruction", 69, 1)
HARDWARE_ERROR = Register("hardware error status", 70, 1)
VELOCITY_I_GAIN = Register("velocity I gain", 76, 2)
VELOCITY_P_GAIN = Register("velocity P gain", 78, 2)
POSITION_D_GAIN = Register("position D gain", 80, 2)
POSITION_I_GAIN = Register("position I gain", 82, 2)
POSITION_P_GAIN = Register("position P gain", 84, 2)
FEEDFORWARD_2ND_GAIN = Register("feedforward 2nd gain", 88, 2)
FEEDFORWARD_1ST_GAIN = Register("feedforward 1st gain", 90, 2)
BUS_WATCHDOG = Register("bus watchdog", 98, 1, signed=True)
GOAL_PWM = Register("goal PWM", 100, 2, signed=True)
GOAL_CURRENT = Register("goal current", 102, 2, signed=True)
GOAL_VELOCITY = Register("goal velocity", 104, 4, signed=True)
PROFILE_ACCELERATION = Register("profile acceleration", 108, 4)
PROFILE_VELOCITY = Register("profile velocity", 112, 4)
GOAL_POSITION = Register("goal position", 116, 4, signed=True)
REALTIME_TICK = Register("realtime tick", 120, 2)
MOVING = Register("moving", 122, 1)
MOVING_STATUS = Register("moving status", 123, 1)
PRESENT_PWM = Register("present PWM", 124, 2, signed=True)
PRESENT_CURRENT = Register("present current", 126, 2, signed=True)
PRESENT_VELOCITY = Register("present velocity", 128, 4, signed=True)
PRESENT_POSITION = Register("present position", 132, 4, signed=True)
VELOCITY_TRAJECTORY = Register("velocity trajectory", 136, 4, signed=True)
POSITION_TRAJECTORY = Register("position trajectory", 140, 4, signed=True)
PRESENT_VOLTAGE = Register("present input voltage", 144, 2)
PRESENT_TEMPERATURE = Register("present temperature", 146, 1)

# Indirect data byte i reads and writes the byte whose address stands in indirect address i. The
# first 28 of 56 pairs are enough here; the addresses are RAM and start as 224 + i.
INDIRECT_ADDRESS = 168  # of the first one, 2 bytes each
INDIRECT_DATA = 224  # of the first one, 1 byte each
INDIRECT_COUNT = 28

COUNTS_PER_TURN = 4096
RADIANS_PER_COUNT = 2 * math.pi / COUNTS_PER_TURN  # [rad]
VELOCITY_UNIT = 0.229 * 2 * math.pi / 60  # 0.229 rpm [rad/s]
CURRENT_UNIT = 0.00269  # of XM430 [A]
VOLTAGE_UNIT = 0.1  # [V]
WATCHDOG_UNIT = 0.02  # [s]
WATCHDOG_MAX = 127
WATCHDOG_TRIPPED = -1  # then goal registers refuse writes with a range error until 0 is written
RETURN_DELAY_UNIT = 2e-6  # [s]
LAST_ID = 252  # a secondary ID beyond it is none
NO_SHADOW_ID = 255  # as the factory sets it
MAX_GAIN = 16383
MAX_GOAL_POSITION = 256 * COUNTS_PER_TURN - 1  # either way, in modes 4 and 5

# Model numbers of X-series motors that measure no current: XL430-W250, XC430-W150, XC430-W240,
# 2XL430-W250, 2XC430-W250 (e-Manual, "Operating Mode": they have neither 0 nor 5).
WITHOUT_CURRENT = frozenset({1060, 1070, 1080, 1090, 1160})

BAUD_CODES = {
    9_600: 0,
    57_600: 1,
    115_200: 2,
    1_000_000: 3,
    2_000_000: 4,
    3_000_000: 5,
    4_000_000: 6,
    4_500_000: 7,
}


class OperatingMode(IntEnum):
    """What the goal registers command; mode 5 is a position with a current cap: a torque cap."""

    CURRENT = 0
    VELOCITY = 1
    POSITION = 3
    EXTENDED_POSITION = 4
    CURRENT_BASED_POSITION = 5
    PWM = 16


class HardwareError(IntFlag):
    """Bits of `HARDWARE_ERROR`; after a shutdown only a reboot restores torque."""

    INPUT_VOLTAGE = 0x01
    OVERHEATING = 0x04
    ENCODER = 0x08
    ELECTRICAL_SHOCK = 0x10
    OVERLOAD = 0x20


def pack(register: Register, value: int) -> bytes:
    """`value` as the register's bytes. Raises OverflowError where it does not fit."""
    return int(value).to_bytes(register.size, "little", signed=register.signed)


def unpack(register: Register, data: bytes) -> int:
    """The register's value from its bytes. Raises ValueError where the size is wrong."""
    if len(data) != register.size:
        raise ValueError(f"{register.name}: found {len(data)} bytes, allowed is {register.size}")
    return int.from_bytes(data, "little", signed=register.signed)
