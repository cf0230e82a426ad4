"""The control table of an emulated X-series motor: bytes, and the rules of reading and writing.

Source: ROBOTIS e-Manual, XM430-W210, "Control Table" (initial values, ranges and access), and
Protocol 2.0, "Error" (which refusal has which number). No physics here.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dynamixel import xseries as x
from ..dynamixel.protocol import StatusError
from ..dynamixel.xseries import (
    EEPROM_END,
    INDIRECT_ADDRESS,
    INDIRECT_COUNT,
    INDIRECT_DATA,
    MAX_GAIN,
    MAX_GOAL_POSITION,
    OperatingMode,
    Register,
)

SIZE = INDIRECT_DATA + INDIRECT_COUNT  # indirect addresses 29 to 56 are not emulated
FIRMWARE_VERSION = 47
FULL_PWM = 885  # units of 0.113 %: all of the supply voltage
EMULATED_MODES = (
    OperatingMode.CURRENT,
    OperatingMode.POSITION,
    OperatingMode.CURRENT_BASED_POSITION,
)


@dataclass(frozen=True)
class Rule:
    """What a register holds at power-on and what may be written to it."""

    register: Register
    initial: int
    lower: int | None = None  # None: read only
    upper: int = 0


# A register that would change what is not emulated accepts its initial value alone.
RULES = (
    Rule(x.MODEL_NUMBER, 0),
    Rule(x.FIRMWARE, FIRMWARE_VERSION),
    Rule(x.ID, 1, 0, 252),
    Rule(x.BAUD_RATE, 1, 0, 7),
    Rule(x.RETURN_DELAY, 250, 0, 254),
    Rule(x.DRIVE_MODE, 0, 0, 0),
    Rule(x.OPERATING_MODE, OperatingMode.POSITION, 0, 16),
    Rule(x.SHADOW_ID, x.NO_SHADOW_ID, x.NO_SHADOW_ID, x.NO_SHADOW_ID),
    Rule(x.HOMING_OFFSET, 0, -1_044_479, 1_044_479),
    Rule(x.MOVING_THRESHOLD, 10, 0, 1023),
    Rule(x.TEMPERATURE_LIMIT, 80, 0, 100),
    Rule(x.MAX_VOLTAGE_LIMIT, 160, 95, 160),
    Rule(x.MIN_VOLTAGE_LIMIT, 95, 95, 160),
    Rule(x.PWM_LIMIT, FULL_PWM, 0, FULL_PWM),
    Rule(x.CURRENT_LIMIT, 1193, 0, 1193),
    Rule(x.VELOCITY_LIMIT, 330, 0, 1023),
    Rule(x.MAX_POSITION_LIMIT, 4095, 0, 4095),
    Rule(x.MIN_POSITION_LIMIT, 0, 0, 4095),
    Rule(x.SHUTDOWN, 0x34, 0, 0x3D),
    Rule(x.TORQUE_ENABLE, 0, 0, 1),
    Rule(x.LED, 0, 0, 1),
    Rule(x.STATUS_RETURN_LEVEL, 2, 0, 2),
    Rule(x.REGISTERED_INSTRUCTION, 0),
    Rule(x.HARDWARE_ERROR, 0),
    Rule(x.VELOCITY_I_GAIN, 1920, 0, MAX_GAIN),
    Rule(x.VELOCITY_P_GAIN, 100, 0, MAX_GAIN),
    Rule(x.POSITION_D_GAIN, 0, 0, MAX_GAIN),
    Rule(x.POSITION_I_GAIN, 0, 0, 0),
    Rule(x.POSITION_P_GAIN, 800, 0, MAX_GAIN),
    Rule(x.FEEDFORWARD_2ND_GAIN, 0, 0, 0),
    Rule(x.FEEDFORWARD_1ST_GAIN, 0, 0, 0),
    Rule(x.BUS_WATCHDOG, 0, 0, x.WATCHDOG_MAX),
    Rule(x.GOAL_PWM, FULL_PWM, -FULL_PWM, FULL_PWM),
    Rule(x.GOAL_CURRENT, 1193, -1193, 1193),
    Rule(x.GOAL_VELOCITY, 0, -1023, 1023),
    Rule(x.PROFILE_ACCELERATION, 0, 0, 0),
    Rule(x.PROFILE_VELOCITY, 0, 0, 0),
    Rule(x.GOAL_POSITION, 0, -MAX_GOAL_POSITION, MAX_GOAL_POSITION),
    Rule(x.REALTIME_TICK, 0),
    Rule(x.MOVING, 0),
    Rule(x.MOVING_STATUS, 0),
    Rule(x.PRESENT_PWM, 0),
    Rule(x.PRESENT_CURRENT, 0),
    Rule(x.PRESENT_VELOCITY, 0),
    Rule(x.PRESENT_POSITION, 0),
    Rule(x.VELOCITY_TRAJECTORY, 0),
    Rule(x.POSITION_TRAJECTORY, 0),
    Rule(x.PRESENT_VOLTAGE, 0),
    Rule(x.PRESENT_TEMPERATURE, 0),
    *(
        Rule(
            Register(f"indirect address {k + 1}", INDIRECT_ADDRESS + 2 * k, 2),
            initial=INDIRECT_DATA + k,
            lower=EEPROM_END,
            upper=SIZE - 1,
        )
        for k in range(INDIRECT_COUNT)
    ),
)
GOALS = (x.GOAL_PWM, x.GOAL_CURRENT, x.GOAL_VELOCITY, x.GOAL_POSITION)
# Changing the operating mode puts these back to their initial values.
RESET_BY_MODE = (
    x.POSITION_D_GAIN,
    x.POSITION_I_GAIN,
    x.POSITION_P_GAIN,
    x.FEEDFORWARD_2ND_GAIN,
    x.FEEDFORWARD_1ST_GAIN,
    x.GOAL_PWM,
    x.GOAL_CURRENT,
    x.PROFILE_ACCELERATION,
    x.PROFILE_VELOCITY,
)
_RULE_AT = {
    address: rule
    for rule in RULES
    for address in range(rule.register.address, rule.register.address + rule.register.size)
}
_INITIAL = {rule.register: rule.initial for rule in RULES}


class Refusal(Exception):
    """The device refuses, with the error number of its status packet: an answer on the wire."""

    def __init__(self, error: StatusError):
        super().__init__(error.name)
        self.error = error


class ControlTable:
    """The bytes 0 to 251 of an X-series motor."""

    def __init__(self) -> None:
        self.bytes = bytearray(SIZE)
        for rule in RULES:
            self.set(rule.register, rule.initial)

    def get(self, register: Register) -> int:
        """The value that a register holds."""
        start = register.address
        return x.unpack(register, bytes(self.bytes[start : start + register.size]))

    def set(self, register: Register, value: int) -> None:
        """Put a value into a register, as the device itself does: without rules."""
        start = register.address
        self.bytes[start : start + register.size] = x.pack(register, value)

    def reset(self, register: Register) -> None:
        """Put a register back to its initial value."""
        self.set(register, _INITIAL[register])

    def reset_ram(self) -> None:
        """Put everything beyond the EEPROM back to its initial values, as power-on does."""
        for rule in RULES:
            if rule.register.address >= EEPROM_END:
                self.reset(rule.register)
        self.bytes[INDIRECT_DATA:] = bytes(INDIRECT_COUNT)

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address`, indirect data resolved; reserved bytes read 0.

        Raises:
            Refusal: ACCESS beyond the table.
        """
        if length < 1 or address + length > SIZE:
            raise Refusal(StatusError.ACCESS)
        return bytes(self.bytes[self._resolve(k)] for k in range(address, address + length))

    def check_write(self, address: int, data: bytes) -> dict[Register, int]:
        """The registers that a write would change and their new values; nothing is written yet.

        A write is taken as a whole or refused as a whole (assumed: the manual does not say).

        Raises:
            Refusal: ACCESS for an address that is read only, not defined, or EEPROM under torque;
                DATA_LENGTH for a part of a register; DATA_RANGE and DATA_LIMIT for the value.
        """
        if not data or address + len(data) > SIZE:
            raise Refusal(StatusError.ACCESS if data else StatusError.DATA_LENGTH)
        torque = self.get(x.TORQUE_ENABLE)
        written: dict[Register, dict[int, int]] = {}
        for k, byte in enumerate(data):
            target = self._resolve(address + k)
            rule = _RULE_AT.get(target)
            if rule is None or rule.lower is None or (torque and target < EEPROM_END):
                raise Refusal(StatusError.ACCESS)
            written.setdefault(rule.register, {})[target] = byte
        values: dict[Register, int] = {}
        for register, parts in written.items():
            if len(parts) != register.size:
                raise Refusal(StatusError.DATA_LENGTH)
            values[register] = x.unpack(register, bytes(parts[k] for k in sorted(parts)))
        for register, value in values.items():
            self._check_value(register, value)
        return values

    def _resolve(self, address: int) -> int:
        """Where a byte really lies: indirect data stands for the byte its address points at."""
        if not INDIRECT_DATA <= address < INDIRECT_DATA + INDIRECT_COUNT:
            return address
        pointer = INDIRECT_ADDRESS + 2 * (address - INDIRECT_DATA)
        return int.from_bytes(self.bytes[pointer : pointer + 2], "little")

    def _check_value(self, register: Register, value: int) -> None:
        rule = _RULE_AT[register.address]
        assert rule.lower is not None  # check_write has refused what is read only
        if not rule.lower <= value <= rule.upper:
            raise Refusal(StatusError.DATA_RANGE)
        if register == x.OPERATING_MODE and value not in EMULATED_MODES:
            raise Refusal(StatusError.DATA_RANGE)
        if register in GOALS and self.get(x.BUS_WATCHDOG) == x.WATCHDOG_TRIPPED:
            raise Refusal(StatusError.DATA_RANGE)
        lower, upper = self._limits(register, rule)
        if not lower <= value <= upper:
            raise Refusal(StatusError.DATA_LIMIT)

    def _limits(self, register: Register, rule: Rule) -> tuple[int, int]:
        """The range that other registers leave to this one."""
        caps = {
            x.GOAL_PWM: x.PWM_LIMIT,
            x.GOAL_CURRENT: x.CURRENT_LIMIT,
            x.GOAL_VELOCITY: x.VELOCITY_LIMIT,
        }
        if register in caps:
            cap = self.get(caps[register])
            return -cap, cap
        if register == x.GOAL_POSITION and self.get(x.OPERATING_MODE) == OperatingMode.POSITION:
            return self.get(x.MIN_POSITION_LIMIT), self.get(x.MAX_POSITION_LIMIT)
        assert rule.lower is not None
        return rule.lower, rule.upper
