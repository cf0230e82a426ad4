"""Registers of all motors on a bus, read and written with retries: for opening and enabling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..models.errors import DeviceError
from ..models.robot import Joint
from .motor_bus import MotorBus
from .xseries import EEPROM_END, Register, unpack

TRIES = 3  # of a request that must not fail


class MotorRegisters:
    """The motors of `joints` on one bus. What fails is an error that names the motor."""

    def __init__(self, bus: MotorBus, joints: Sequence[Joint]) -> None:
        self.ids = [joint.motor.id for joint in joints]
        self._bus = bus
        self._names = {joint.motor.id: joint.name for joint in joints}

    def model_numbers(self) -> dict[int, int]:
        """Ping all motors. Raises DeviceError naming those that stay silent."""
        found: dict[int, int] = {}
        for id in self.ids * TRIES:
            if id not in found and (answer := self._bus.ping(id)) is not None:
                found[id] = answer[0]
        if silent := [id for id in self.ids if id not in found]:
            where = f"{self._bus.transport.name}, {self._bus.transport.baud_rate} baud"
            raise DeviceError(
                f"bus '{self._bus.name}' ({where}): found no answer of ID "
                f"{', '.join(map(str, silent))}, allowed is an answer of all of "
                f"{', '.join(map(str, self.ids))}: check power, cable, IDs and baud rate"
            )
        return {id: found[id] for id in self.ids}

    def read(self, register: Register) -> dict[int, int]:
        """A register of all motors. Raises DeviceError where one stays silent."""
        values: dict[int, int] = {}
        for _ in range(TRIES):
            missing = [id for id in self.ids if id not in values]
            replies = self._bus.sync_read(missing, register.address, register.size)
            for id, block in replies.items():
                if len(block.data) == register.size:
                    values[id] = unpack(register, block.data)
            if len(values) == len(self.ids):
                return {id: values[id] for id in self.ids}
        silent = next(id for id in self.ids if id not in values)
        raise self.error(silent, register, "no answer", "an answer")

    def set(self, address: int, data: Mapping[int, bytes], what: str) -> None:
        """Write to all motors and read back. Raises DeviceError where one has another value."""
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
        seen = "no answer" if value is None else value.hex(" ") or "a refusal"
        raise DeviceError(
            f"{self._who(id)}: found {seen} in {what} (address {address}) after writing it, "
            f"allowed is {data[id].hex(' ')}"
        )

    def error(self, id: int, register: Register, found: object, allowed: str) -> DeviceError:
        """One line that names the motor, the register, what was found and what is allowed."""
        text = f"{self._who(id)}: found {register.name} {found}, allowed is {allowed}"
        if 7 <= register.address < EEPROM_END:
            text += f"; it lies in EEPROM (address {register.address}), which only a setup changes"
        return DeviceError(text)

    def _who(self, id: int) -> str:
        return f"motor of {self._names[id]} (ID {id} on bus '{self._bus.name}')"
