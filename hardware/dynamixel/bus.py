"""Requests and replies on one DYNAMIXEL bus: who answered in time, and who did not."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from ..port import Clock, Transport, drain, drop_input
from .protocol import (
    BITS_PER_BYTE,
    BROADCAST,
    TURNAROUND,
    Block,
    Instruction,
    encode_instruction,
    fast_status_size,
    read_params,
    sync_read_params,
    sync_write_params,
    take_fast_status,
    take_packet,
)

STATUS_SIZE = 11  # of a status packet without data [bytes]
MAX_NOTES = 32  # kept until they are taken


class MotorBus:
    """One request at a time, and its replies by a deadline.

    Bytes present before a request are dropped, so an old reply is not taken for a new one; after
    a missing reply the bus is drained until it is silent. Nothing here raises for a silent motor:
    what did not answer is not in the result, is counted in `errors` and told in `take_notes`.
    """

    def __init__(self, name: str, transport: Transport, clock: Clock) -> None:
        """Ask nothing yet.

        Args:
            name: of the bus in robot.toml.
            transport: of the bus, to which this object alone may write.
            clock: [s], monotonic, the one of the transport's deadlines.
        """
        self.name = name
        self.transport = transport
        self.clock = clock
        self.patience = 0.05  # waited beyond the time that the bytes need [s]
        self.return_delay = 0.0  # the longest of the motors' [s]
        self.heard = False  # some bytes came in the last transaction
        self.errors = 0  # refused packets and missing replies so far
        self.busy = 0.0  # spent on the bus so far [s]
        self._notes: list[str] = []

    def ping(self, id: int) -> tuple[int, int] | None:
        """Model number and firmware version of a motor, or None."""
        replies = self._transact(encode_instruction(id, Instruction.PING), [id], 3)
        if id not in replies or len(replies[id].data) != 3:
            return None
        return struct.unpack("<HB", replies[id].data)

    def read(self, id: int, address: int, length: int) -> Block | None:
        """`length` bytes of one motor, or None."""
        request = encode_instruction(id, Instruction.READ, read_params(address, length))
        return self._transact(request, [id], length).get(id)

    def sync_read(self, ids: Sequence[int], address: int, length: int) -> dict[int, Block]:
        """The same bytes of several motors, each in a packet of its own."""
        params = sync_read_params(address, length, ids)
        request = encode_instruction(BROADCAST, Instruction.SYNC_READ, params)
        return self._transact(request, ids, length)

    def fast_sync_read(self, ids: Sequence[int], address: int, length: int) -> dict[int, Block]:
        """The same bytes of several motors in one packet; what verified of it."""
        params = sync_read_params(address, length, ids)
        request = encode_instruction(BROADCAST, Instruction.FAST_SYNC_READ, params)
        size = fast_status_size(len(ids), length)
        began = self._request(request)
        deadline = began + self.wire_time(len(request) + size, len(ids)) + self.patience
        buffer, blocks, refused = b"", (), 0
        while len(blocks) < len(ids) and len(buffer) < size + STATUS_SIZE:
            late = self.clock() >= deadline
            chunk = self.transport.read(deadline)
            buffer += chunk
            if chunk:
                deadline = self._sooner(deadline, size - len(buffer), len(ids))
            blocks, _, refused = take_fast_status(buffer, ids, length)
            # A broken reply is done once all its bytes are here.
            if late or not chunk or (refused and len(buffer) >= size):
                break
        self._refuse(refused)
        self.heard = bool(buffer)
        return self._close(began, {block.id: block for block in blocks}, ids)

    def sync_write(self, address: int, length: int, data: Mapping[int, bytes]) -> None:
        """Write `length` bytes to several motors. There is no reply."""
        params = sync_write_params(address, length, data)
        request = encode_instruction(BROADCAST, Instruction.SYNC_WRITE, params)
        self.transport.write(request)
        self.busy += self.wire_time(len(request), 0)

    def wire_time(self, size: int, replies: int) -> float:
        """Time that so many bytes and replies keep the bus [s]."""
        bits = BITS_PER_BYTE * size
        return bits / self.transport.baud_rate + replies * (self.return_delay + TURNAROUND)

    def note(self, text: str) -> None:
        """Keep a line for the log."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(f"{self.name}: {text}")

    def take_notes(self) -> tuple[str, ...]:
        """The lines kept since the last call."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def _request(self, request: bytes) -> float:
        """Send a request on a bus without stale bytes. Returns when [s]."""
        began = self.clock()
        if dropped := drop_input(self.transport):
            self.errors += 1
            self.note(f"dropped {dropped} bytes that nobody asked for")
        self.transport.write(request)
        return began

    def _transact(self, request: bytes, ids: Sequence[int], length: int) -> dict[int, Block]:
        """Send a request and gather one status packet of every motor in `ids`."""
        began = self._request(request)
        left = len(ids) * (STATUS_SIZE + length)
        deadline = began + self.wire_time(len(request) + left, len(ids)) + self.patience
        replies: dict[int, Block] = {}
        buffer = b""
        self.heard = False
        while len(replies) < len(ids):
            late = self.clock() >= deadline
            chunk = self.transport.read(deadline)
            left -= len(chunk)
            self.heard |= bool(chunk)
            if chunk:
                deadline = self._sooner(deadline, left, len(ids) - len(replies))
            buffer = self._gather(buffer + chunk, ids, length, replies)
            if late or not chunk:
                break
        self._refuse(int(len(replies) < len(ids) and bool(buffer)))
        return self._close(began, replies, ids)

    def _gather(
        self, buffer: bytes, ids: Sequence[int], length: int, replies: dict[int, Block]
    ) -> bytes:
        """Put the packets of `buffer` into `replies`; returns what is left of it."""
        while True:
            packet, buffer, refused = take_packet(buffer)
            self._refuse(refused)
            if packet is None:
                return buffer
            # A device that refuses a request says why, and sends no data.
            fits = len(packet.params) == length or (packet.error & 0x7F and not packet.params)
            wanted = packet.instruction == Instruction.STATUS and packet.id in ids
            if wanted and fits and packet.id not in replies:
                replies[packet.id] = Block(packet.id, packet.error, packet.params)
            else:
                self.errors += 1
                self.note(f"refused a packet of ID {packet.id} that answers no request")

    def _sooner(self, deadline: float, left: int, replies: int) -> float:
        """The deadline once a reply has begun: its rest follows without a pause [s]."""
        return min(
            deadline, self.clock() + self.wire_time(max(0, left), replies) + self.patience / 2
        )

    def _refuse(self, count: int) -> None:
        if count:
            self.errors += count
            self.note(f"refused {count} broken packets")

    def _close(
        self, began: float, replies: dict[int, Block], ids: Sequence[int]
    ) -> dict[int, Block]:
        """End a transaction: count who is missing and drain the bus for them."""
        missing = [id for id in ids if id not in replies]
        if missing:
            self.errors += len(missing)
            self.note(f"no answer of ID {', '.join(map(str, missing))}")
            drain(self.transport, self.clock, self.patience / 4, self.patience)
        self.busy += self.clock() - began
        return replies
