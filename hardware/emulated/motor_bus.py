"""The motor bus of an emulated robot: instruction packets in, paced status packets out.

Pure: time is an argument. A half-duplex line of ten bits a byte; every reply waits for the return
delay of its motor, at least for the turnaround. Packets of motors that another baud rate was set
for are neither heard nor sent.

Sources: ROBOTIS e-Manual, Protocol 2.0. Assumed: a device takes `TURNAROUND` from the last bit of a
packet to the first of its reply; in a sync read a missing motor leaves its slot silent and the
others answer after it; reset to factory settings is refused with "result fail".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dynamixel import xseries as x
from ..dynamixel.protocol import (
    BITS_PER_BYTE,
    BROADCAST,
    TURNAROUND,
    Block,
    Instruction,
    Packet,
    StatusError,
    encode_fast_status,
    encode_status,
    fast_status_size,
    take_packet,
)
from .motor import EmulatedMotor
from .table import Refusal

CLEAR_TURNS = b"\x01\x44\x58\x4c\x22"  # params of CLEAR, and a guard against accidents
SILENT_SLOT = 500e-6  # that a missing motor's successor waits; assumed [s]
Reply = tuple[float, bytes]  # when its last bit is on the line [s], its bytes


class EmulatedMotorBus:
    """The motors of one serial line."""

    def __init__(self, motors: Sequence[EmulatedMotor]):
        self.motors = tuple(motors)
        self._buffer = b""
        self._free_at = 0.0  # when the line is silent again [s]

    def feed(self, data: bytes, now: float, baud_rate: int) -> list[Reply]:
        """Bytes that the host wrote at `now` [s] with its port at `baud_rate`, and the replies.

        An instruction acts at once; its replies are due when the line could have carried them.
        """
        replies: list[Reply] = []
        self._buffer += data
        while True:
            before = len(self._buffer)
            packet, self._buffer, _ = take_packet(self._buffer)
            sent = (before - len(self._buffer)) * BITS_PER_BYTE / baud_rate
            self._free_at = max(self._free_at, now) + sent
            if packet is None:
                return replies
            if packet.instruction != Instruction.STATUS:
                replies += self._answer(packet, now, baud_rate)

    def _answer(self, packet: Packet, now: float, baud_rate: int) -> list[Reply]:
        listening = [m for m in self.motors if m.awake and m.baud_rate == baud_rate]
        addressed = [m for m in listening if packet.id in (m.id, BROADCAST)]
        for motor in addressed:
            motor.hear(now)
        if packet.instruction in (Instruction.SYNC_READ, Instruction.FAST_SYNC_READ):
            return self._sync_read(packet, addressed, baud_rate)
        if packet.instruction == Instruction.SYNC_WRITE:
            _sync_write(packet, addressed)
            return []
        replies: list[Reply] = []
        for motor in addressed:
            id, delay = motor.id, motor.return_delay
            level = motor.table.get(x.STATUS_RETURN_LEVEL)
            error, params = _execute(motor, packet)
            answered = _ANSWERED_FROM.get(packet.instruction, 2) <= level
            if answered and (packet.id != BROADCAST or packet.instruction == Instruction.PING):
                status = encode_status(id, error | motor.alert, params)
                replies.append(self._send(status, delay, baud_rate))
        return replies

    def _sync_read(
        self, packet: Packet, motors: list[EmulatedMotor], baud_rate: int
    ) -> list[Reply]:
        if packet.id != BROADCAST or len(packet.params) < 5:
            return []
        address, length = _two_words(packet.params)
        ids = list(packet.params[4:])
        by_id = {m.id: m for m in motors if m.table.get(x.STATUS_RETURN_LEVEL) >= 1}
        if packet.instruction == Instruction.FAST_SYNC_READ:
            return self._fast_sync_read(address, length, ids, by_id, baud_rate)
        replies: list[Reply] = []
        for id in ids:
            motor = by_id.get(id)
            if motor is None:
                self._free_at += SILENT_SLOT
                continue
            error, data = _try(lambda m=motor: m.read(address, length))
            status = encode_status(id, error | motor.alert, data)
            replies.append(self._send(status, motor.return_delay, baud_rate))
        return replies

    def _fast_sync_read(
        self, address: int, length: int, ids: list[int], by_id: dict[int, EmulatedMotor], baud: int
    ) -> list[Reply]:
        """One shared packet, cut short at the place of a motor that is missing."""
        blocks: list[Block] = []
        for id in ids:
            motor = by_id.get(id)
            if motor is None:
                break
            error, data = _try(lambda m=motor: m.read(address, length))
            blocks.append(Block(id, error | motor.alert, data or bytes(length)))
        if not blocks:
            return []
        absent = [Block(id, 0, bytes(length)) for id in ids[len(blocks) :]]
        reply = encode_fast_status([*blocks, *absent])
        if absent:
            reply = reply[: fast_status_size(len(blocks), length)]
        return [self._send(reply, by_id[ids[0]].return_delay, baud)]

    def _send(self, status: bytes, delay: float, baud_rate: int) -> Reply:
        wait = max(delay, TURNAROUND)
        self._free_at += wait + len(status) * BITS_PER_BYTE / baud_rate
        return self._free_at, status


# The status return level from which an instruction is answered; all others from level 2.
_ANSWERED_FROM: dict[int, int] = {Instruction.PING: 0, Instruction.READ: 1}


def _execute(motor: EmulatedMotor, packet: Packet) -> tuple[int, bytes]:
    """What one motor does with an instruction: error number and params of its status packet."""
    params = packet.params
    match packet.instruction:
        case Instruction.PING:
            return 0, motor.read(0, 2) + motor.read(x.FIRMWARE.address, 1)
        case Instruction.READ if len(params) == 4:
            return _try(lambda: motor.read(*_two_words(params)))
        case Instruction.WRITE if len(params) > 2:
            return _try(lambda: motor.write(_word(params), params[2:]))
        case Instruction.REG_WRITE if len(params) > 2:
            return _try(lambda: motor.reg_write(_word(params), params[2:]))
        case Instruction.ACTION:
            return _try(motor.action)
        case Instruction.REBOOT:
            return _try(motor.reboot)
        case Instruction.CLEAR if params == CLEAR_TURNS:
            return _try(motor.clear)
        case Instruction.FACTORY_RESET:
            return StatusError.RESULT_FAIL, b""
        case Instruction.READ | Instruction.WRITE | Instruction.REG_WRITE:
            return StatusError.DATA_LENGTH, b""
    return StatusError.INSTRUCTION, b""


def _sync_write(packet: Packet, motors: list[EmulatedMotor]) -> None:
    """Every motor takes its own part. A refusal goes unheard: a sync write has no reply."""
    if packet.id != BROADCAST or len(packet.params) < 4:
        return
    address, length = _two_words(packet.params)
    body = packet.params[4:]
    parts = {body[k]: body[k + 1 : k + 1 + length] for k in range(0, len(body), length + 1)}
    for motor in motors:
        data = parts.get(motor.id, b"")
        if len(data) == length:
            _try(lambda m=motor, d=data: m.write(address, d))


def _try(action: Callable[[], bytes | None]) -> tuple[int, bytes]:
    try:
        return 0, action() or b""
    except Refusal as refusal:
        return refusal.error, b""


def _word(params: bytes) -> int:
    return int.from_bytes(params[:2], "little")


def _two_words(params: bytes) -> tuple[int, int]:
    return _word(params), _word(params[2:4])
