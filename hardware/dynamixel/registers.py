"""Registers of all motors on a bus, read and written with retries: outside of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...models.errors import DeviceError
from ...models.robot import Joint, MotorModel
from .bus import MotorBus
from .xseries import (
    DRIVE_MODE,
    EEPROM_END,
    LAST_ID,
    MODEL_NUMBER,
    OPERATING_MODE,
    SHADOW_ID,
    SHUTDOWN,
    TORQUE_ENABLE,
    HardwareError,
    OperatingMode,
    Register,
    unpack,
)

TRIES = 3  # of a request that must not fail
TORQUE_ON_BY_GOAL, REVERSE = 0x08, 0x01  # bits of the drive mode that would surprise
PROTECTION = HardwareError.OVERHEATING | HardwareError.OVERLOAD  # a motor must protect itself
CHECK = "check its power and cable"
MODE_NAMES = {
    OperatingMode.CURRENT_BASED_POSITION: "current-based position, for joint targets",
    OperatingMode.CURRENT: "current, for joint torques",
}


class MotorError(DeviceError):
    """A motor is silent, or is not as it must be; its port works."""


class MotorRegisters:
    """The motors of `joints` on one bus. What fails is an error that names the motor."""

    def __init__(self, bus: MotorBus, joints: Sequence[Joint]) -> None:
        self.ids = [joint.motor.id for joint in joints]
        self._bus = bus
        self._names = {joint.motor.id: joint.name for joint in joints}

    def model_numbers(self) -> dict[int, int]:
        """Ping all motors. Raises MotorError naming those that stay silent."""
        found: dict[int, int] = {}
        for id in self.ids * TRIES:
            if id not in found and (answer := self._bus.ping(id)) is not None:
                found[id] = answer[0]
        if silent := [id for id in self.ids if id not in found]:
            where = f"{self._bus.transport.name}, {self._bus.transport.baud_rate} baud"
            raise MotorError(
                f"bus '{self._bus.name}' ({where}): no answer of ID "
                f"{', '.join(map(str, silent))}, of {len(self.ids)} motors: "
                "check power, cable, IDs and baud rate"
            )
        return {id: found[id] for id in self.ids}

    def check_setup(self, models: Sequence[MotorModel], mode: OperatingMode) -> None:
        """Refuse motors of another model or setup than they must have.

        A motor with a secondary ID obeys what is meant for another, without a word; one whose
        shutdown mask lacks heat or load does not protect itself.

        Args:
            models: what robot.toml says of each motor, in the joints' order.
            mode: the operating mode that all must be in.

        Raises:
            MotorError: a motor is silent, or set up otherwise.
        """
        for (id, number), model in zip(self.model_numbers().items(), models, strict=True):
            if number != model.model_number:
                allowed = f"{model.model_number}, {model.name}"
                raise self.error(id, MODEL_NUMBER, number, allowed)
        for id, found in self.read(OPERATING_MODE).items():
            if found != mode:
                raise self.error(id, OPERATING_MODE, found, f"{mode:d}, {MODE_NAMES[mode]}")
        for id, bits in self.read(DRIVE_MODE).items():
            if bits & (TORQUE_ON_BY_GOAL | REVERSE):
                raise self.error(id, DRIVE_MODE, bits, "one without the bits 0x01 and 0x08")
        for id, shadow in self.read(SHADOW_ID).items():
            if shadow <= LAST_ID:
                raise self.error(id, SHADOW_ID, shadow, f"{LAST_ID + 1} to 255, none")
        for id, mask in self.read(SHUTDOWN).items():
            if mask & PROTECTION != PROTECTION:
                bits = "one with the bits 0x04 (overheating) and 0x20 (overload)"
                raise self.error(id, SHUTDOWN, mask, bits)

    def read(self, register: Register) -> dict[int, int]:
        """A register of all motors. Raises MotorError where one stays silent."""
        values = self.ask(register)
        if len(values) == len(self.ids):
            return {id: values[id] for id in self.ids}
        silent = next(id for id in self.ids if id not in values)
        raise MotorError(f"{self._who(silent)}: no answer about its {register.name}, {CHECK}")

    def ask(self, register: Register) -> dict[int, int]:
        """A register of the motors that answer."""
        values: dict[int, int] = {}
        for _ in range(TRIES):
            missing = [id for id in self.ids if id not in values]
            if missing:
                values |= self._ask_once(register, missing)
        return values

    def torque_off(self) -> dict[int, int]:
        """Send torque off until all are seen off, or often enough.

        Returns:
            What those that answer said last: 0 is off.
        """
        torque: dict[int, int] = {}
        for _ in range(TRIES):
            self._bus.sync_write(TORQUE_ENABLE.address, 1, dict.fromkeys(self.ids, b"\x00"))
            torque |= self._ask_once(TORQUE_ENABLE, self.ids)
            if all(torque.get(id) == 0 for id in self.ids):
                break
        return torque

    def set(self, address: int, data: Mapping[int, bytes], what: str) -> None:
        """Write to all motors and read back. Raises MotorError where one has another value."""
        length = len(data[self.ids[0]])
        wrong: dict[int, bytes | None] = {}
        for _ in range(TRIES):
            self._bus.sync_write(address, length, data)
            replies = self._bus.sync_read(self.ids, address, length)
            found = {id: replies[id].data if id in replies else None for id in self.ids}
            wrong = {id: value for id, value in found.items() if value != data[id]}
            if not wrong:
                return
        id, value = next(iter(wrong.items()))
        where = f"{self._who(id)}: {what} (address {address})"
        if value is None:
            raise MotorError(f"{where}: no answer after writing it, {CHECK}")
        if not value:
            raise MotorError(f"{where}: it refuses to be read after writing it")
        raise MotorError(
            f"{where}: found {value.hex(' ')} after writing it, allowed is {data[id].hex(' ')}"
        )

    def error(self, id: int, register: Register, found: object, allowed: str) -> MotorError:
        """One line that names the motor, the register, what was found and what is allowed."""
        text = f"{self._who(id)}: found {register.name} {found}, allowed is {allowed}"
        if 7 <= register.address < EEPROM_END:
            text += f"; it lies in EEPROM (address {register.address}), which only a setup changes"
        return MotorError(text)

    def _ask_once(self, register: Register, ids: Sequence[int]) -> dict[int, int]:
        replies = self._bus.sync_read(ids, register.address, register.size)
        return {
            id: unpack(register, block.data)
            for id, block in replies.items()
            if len(block.data) == register.size
        }

    def _who(self, id: int) -> str:
        return f"motor of {self._names[id]} (ID {id} on bus '{self._bus.name}')"
