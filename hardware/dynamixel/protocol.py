"""DYNAMIXEL Protocol 2.0 as pure functions on bytes.

Source: ROBOTIS e-Manual, "DYNAMIXEL Protocol 2.0" (emanual.robotis.com/docs/en/dxl/protocol2).

    FF FF FD 00 | ID | LEN_L LEN_H | INST | params ... | CRC_L CRC_H        LEN = params + 3

A status packet has INST 0x55 and an ERR byte before its params. Nothing here waits, counts time or
knows a motor: `bus.py` does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

HEADER = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE
MAX_ID = 252
ALERT = 0x80  # bit of ERR: the device's hardware error status is not zero
BITS_PER_BYTE = 10  # start, eight, stop
TURNAROUND = 20e-6  # of a device, from a packet's last bit to its reply's first; assumed [s]
MAX_LENGTH = 4096  # a longer LEN is taken for corruption: waiting for its bytes would stall the bus

_TRIPLE = HEADER[:3]
_STUFFED = _TRIPLE + b"\xfd"
_PREAMBLE = len(HEADER) + 3  # header, ID, LEN


class Instruction(IntEnum):
    """The INST byte."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    CLEAR = 0x10
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93
    FAST_BULK_READ = 0x9A


class StatusError(IntEnum):
    """The low seven bits of a status packet's ERR byte."""

    NONE = 0
    RESULT_FAIL = 1
    INSTRUCTION = 2
    CRC = 3
    DATA_RANGE = 4
    DATA_LENGTH = 5
    DATA_LIMIT = 6
    ACCESS = 7


@dataclass(frozen=True)
class Packet:
    """One packet whose CRC held."""

    id: int
    instruction: int  # an `Instruction`, or a byte that is none
    error: int  # ERR of a status packet with its alert bit; 0 of an instruction
    params: bytes  # unstuffed


@dataclass(frozen=True)
class Block:
    """One motor's part of a fast sync read's reply."""

    id: int
    error: int
    data: bytes


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes, crc: int = 0) -> int:
    """CRC-16 with polynomial 0x8005, MSB first, initially 0; `crc` continues an earlier one."""
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _CRC[crc >> 8 ^ byte]
    return crc


def stuff(body: bytes) -> bytes:
    """INST and params with an FD after every FF FF FD, so that no header appears in them."""
    return body.replace(_TRIPLE, _STUFFED)


def unstuff(body: bytes) -> bytes:
    """The inverse of `stuff`."""
    return body.replace(_STUFFED, _TRIPLE)


def encode_instruction(id: int, instruction: int, params: bytes = b"") -> bytes:
    """An instruction packet to one device, or to all with `BROADCAST`."""
    return _encode(id, bytes([instruction]) + params)


def encode_status(id: int, error: int, params: bytes = b"") -> bytes:
    """A device's reply; `error` is a `StatusError`, plus `ALERT` where the device has one."""
    return _encode(id, bytes([Instruction.STATUS, error]) + params)


def _encode(id: int, body: bytes) -> bytes:
    stuffed = stuff(body)
    packet = HEADER + struct.pack("<BH", id, len(stuffed) + 2) + stuffed
    return packet + struct.pack("<H", crc16(packet))


def take_packet(buffer: bytes) -> tuple[Packet | None, bytes, int]:
    """The first whole and valid packet of `buffer`, whatever else the bytes are.

    A packet that announces more bytes than came is waited for, unless the next header begins
    inside it: stuffing keeps headers out of a packet, so its LEN must be wrong.

    Returns:
        The packet, or None if there is none yet; the bytes after it, or the half-received packet;
        the number of refused runs of bytes and refused packets.
    """
    head = _find_header(buffer, 0)
    refused = int(head > 0)
    while head + _PREAMBLE <= len(buffer):
        id, length = struct.unpack_from("<BH", buffer, head + len(HEADER))
        end = head + _PREAMBLE + length
        if (id <= MAX_ID or id == BROADCAST) and 3 <= length <= MAX_LENGTH:
            if end > len(buffer):
                if buffer.find(HEADER, head + 1) < 0:
                    break
            elif packet := _decode(buffer[head:end]):
                return packet, buffer[end:], refused
        refused += 1
        head = _find_header(buffer, head + 1)
    return None, buffer[head:], refused


def _decode(packet: bytes) -> Packet | None:
    """A packet of the right size, or None if its CRC or its form is wrong."""
    if crc16(packet[:-2]) != int.from_bytes(packet[-2:], "little"):
        return None
    body = unstuff(packet[_PREAMBLE:-2])
    if body[0] != Instruction.STATUS:
        return Packet(packet[4], body[0], 0, body[1:])
    return Packet(packet[4], body[0], body[1], body[2:]) if len(body) >= 2 else None


def _find_header(buffer: bytes, start: int) -> int:
    """Where a header begins, or may begin once more bytes come, or the end of the buffer."""
    found = buffer.find(HEADER, start)
    if found >= 0:
        return found
    for size in (3, 2, 1):
        if len(buffer) - size >= start and buffer.endswith(HEADER[:size]):
            return len(buffer) - size
    return len(buffer)


# --- the fast sync read's reply -----------------------------------------------------------------


def encode_fast_status(blocks: Sequence[Block]) -> bytes:
    """The reply to a fast sync read, to which each motor adds ERR, ID, data, and CRC of all so far.

    It is not byte-stuffed. A missing motor truncates it at its place: `fast_status_size` says
    where to cut.
    """
    length = 1 + sum(len(block.data) + 4 for block in blocks)
    reply = HEADER + struct.pack("<BHB", BROADCAST, length, Instruction.STATUS)
    for block in blocks:
        reply += bytes([block.error, block.id]) + block.data
        reply += struct.pack("<H", crc16(reply))
    return reply


def fast_status_size(motors: int, length: int) -> int:
    """Bytes of the reply of so many motors to a fast sync read of `length` bytes each."""
    return _PREAMBLE + 1 + motors * (length + 4)


def take_fast_status(
    buffer: bytes, ids: Sequence[int], length: int
) -> tuple[tuple[Block, ...], bytes, int]:
    """The verified blocks of a fast sync read's reply, of which `buffer` may hold a part.

    A reply of another size, such as a late one of a request with another length, is refused.

    Args:
        buffer: what came since the request.
        ids: motors asked, in order.
        length: bytes asked of each.

    Returns:
        Blocks whose CRC holds, in order, all of them once the reply is whole; the bytes after
        the reply, or what may still become one; the number of refused runs and replies.
    """
    size = fast_status_size(len(ids), length)
    start = HEADER + struct.pack("<BHB", BROADCAST, size - _PREAMBLE, Instruction.STATUS)
    head = buffer.find(start)
    if head < 0:
        keep = next((n for n in range(len(start) - 1, 0, -1) if buffer.endswith(start[:n])), 0)
        rest = buffer[len(buffer) - keep :]
        return (), rest, int(len(rest) < len(buffer))
    refused = int(head > 0)
    blocks: list[Block] = []
    crc, at = crc16(start), head + len(start)
    for id in ids:
        end = at + length + 4
        if end > len(buffer):
            return tuple(blocks), buffer[head:], refused
        crc = crc16(buffer[at : end - 2], crc)
        sent = buffer[end - 2 : end]
        if buffer[at + 1] != id or crc != int.from_bytes(sent, "little"):
            return tuple(blocks), buffer[end:], refused + 1
        blocks.append(Block(id, buffer[at], buffer[at + 2 : end - 2]))
        crc, at = crc16(sent, crc), end
    return tuple(blocks), buffer[at:], refused


# --- parameters of the instructions ---------------------------------------------------------------


def read_params(address: int, length: int) -> bytes:
    """Params of READ."""
    return struct.pack("<HH", address, length)


def write_params(address: int, data: bytes) -> bytes:
    """Params of WRITE and REG_WRITE."""
    return struct.pack("<H", address) + data


def sync_read_params(address: int, length: int, ids: Sequence[int]) -> bytes:
    """Params of SYNC_READ and FAST_SYNC_READ."""
    return struct.pack("<HH", address, length) + bytes(ids)


def sync_write_params(address: int, length: int, data: Mapping[int, bytes]) -> bytes:
    """Params of SYNC_WRITE: `length` bytes for every motor's ID."""
    parts = [struct.pack("<HH", address, length)]
    for id, values in data.items():
        if len(values) != length:
            raise ValueError(
                f"sync write to ID {id}: found {len(values)} bytes, allowed is {length}"
            )
        parts.append(bytes([id]) + values)
    return b"".join(parts)
