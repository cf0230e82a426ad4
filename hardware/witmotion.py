"""The serial protocol of WitMotion IMUs (WT901 and HWT families) as pure functions on bytes.

Source: WIT Standard Communication Protocol
(wit-motion.gitbook.io/witmotion-sdk/wit-standard-protocol/wit-standard-communication-protocol).

    55 | type | d0 ... d7 | sum        sum = low byte of the sum of the ten bytes before it

The IMU sends these by itself at the rate it is set to, each type in a packet of its own and
without a time. The sum passes one random payload in 256, so `take_packet` refuses implausible
values too.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

HEADER = 0x55
SIZE = 11  # [bytes]

FULL_SCALE = 32768
GRAVITY = 9.80665  # [m/s²]
ACCELERATION_RANGE = 16 * GRAVITY  # [m/s²]
ANGULAR_VELOCITY_RANGE = math.radians(2000)  # [rad/s]

# What the base of a robot that stays in one piece may feel; beyond it a payload is taken for noise.
MAX_ACCELERATION = 12 * GRAVITY  # on an axis [m/s²]
MAX_ANGULAR_VELOCITY = math.radians(1700)  # about an axis [rad/s]
NORM_TOLERANCE = 0.02  # of a quaternion


class PacketType(IntEnum):
    """The type byte. `Packet.values` holds SI values of the four that this project reads."""

    TIME = 0x50
    ACCELERATION = 0x51
    ANGULAR_VELOCITY = 0x52
    ANGLE = 0x53
    MAGNETIC_FIELD = 0x54
    PORT = 0x55
    PRESSURE = 0x56
    POSITION = 0x57
    GROUND_SPEED = 0x58
    QUATERNION = 0x59
    SATELLITES = 0x5A
    REGISTER = 0x5F


@dataclass(frozen=True)
class Packet:
    """One packet whose sum held and whose values are plausible."""

    type: PacketType
    values: tuple[float, ...]  # [m/s²], [rad/s], [rad] or unit w x y z; empty of other types


# --- packets ------------------------------------------------------------------------------------


def encode_packet(type: int, payload: bytes) -> bytes:
    """A packet with eight bytes of payload."""
    if len(payload) != 8:
        raise ValueError(f"payload: found {len(payload)} bytes, allowed is 8")
    body = bytes([HEADER, type]) + payload
    return body + bytes([sum(body) & 0xFF])


def encode_acceleration(values: Sequence[float]) -> bytes:
    """Specific force in the sensor frame [m/s²]. Shape (3,). Saturates at 16 g."""
    return encode_packet(PacketType.ACCELERATION, _raw([*values, 0.0], ACCELERATION_RANGE))


def encode_angular_velocity(values: Sequence[float]) -> bytes:
    """Angular velocity in the sensor frame [rad/s]. Shape (3,). Saturates at 2000 °/s."""
    return encode_packet(PacketType.ANGULAR_VELOCITY, _raw([*values, 0.0], ANGULAR_VELOCITY_RANGE))


def encode_angle(values: Sequence[float]) -> bytes:
    """Roll, pitch and yaw [rad]. Shape (3,)."""
    return encode_packet(PacketType.ANGLE, _raw([*values, 0.0], math.pi))


def encode_quaternion(values: Sequence[float]) -> bytes:
    """Attitude, sensor frame to world frame (z up), unit quaternion w x y z. Shape (4,)."""
    return encode_packet(PacketType.QUATERNION, _raw(values, 1.0))


def take_packet(buffer: bytes) -> tuple[Packet | None, bytes, int]:
    """The first whole, valid and plausible packet of `buffer`, whatever else the bytes are.

    Returns:
        The packet, or None if there is none yet; the bytes after it, or the half-received packet;
        the number of refused runs of bytes (a refused packet and what follows it is one run).
    """
    start = buffer.find(HEADER)
    while 0 <= start <= len(buffer) - SIZE:
        packet = _decode(buffer[start : start + SIZE])
        if packet is not None:
            return packet, buffer[start + SIZE :], int(start > 0)
        start = buffer.find(HEADER, start + 1)
    rest = buffer[start:] if start >= 0 else b""
    return None, rest, int(len(rest) < len(buffer))


def _decode(packet: bytes) -> Packet | None:
    if sum(packet[:-1]) & 0xFF != packet[-1] or packet[1] not in _TYPES:
        return None
    type = PacketType(packet[1])
    raw = struct.unpack("<4h", packet[2:-1])
    if type == PacketType.QUATERNION:
        norm = math.hypot(*raw) / FULL_SCALE
        if abs(norm - 1) > NORM_TOLERANCE:
            return None
        return Packet(type, tuple(x / FULL_SCALE / norm for x in raw))
    scale, bound = _SCALES.get(type, (0.0, 0.0))
    if not scale:
        return Packet(type, ())
    values = tuple(x / FULL_SCALE * scale for x in raw[:3])
    return Packet(type, values) if max(map(abs, values)) <= bound else None


def _raw(values: Sequence[float], scale: float) -> bytes:
    whole = [round(value / scale * FULL_SCALE) for value in values]
    return struct.pack("<4h", *(min(max(x, -FULL_SCALE), FULL_SCALE - 1) for x in whole))


_TYPES = frozenset(PacketType)
_SCALES = {
    PacketType.ACCELERATION: (ACCELERATION_RANGE, MAX_ACCELERATION),
    PacketType.ANGULAR_VELOCITY: (ANGULAR_VELOCITY_RANGE, MAX_ANGULAR_VELOCITY),
    PacketType.ANGLE: (math.pi, math.pi),
}


# --- configuration ------------------------------------------------------------------------------


class Register(IntEnum):
    """Registers that a setup writes; `unlock` comes first, `SAVE` with 0 makes it lasting."""

    SAVE = 0x00
    CONTENT = 0x02
    RATE = 0x03
    BAUD = 0x04
    BANDWIDTH = 0x1F
    KEY = 0x69


UNLOCK = b"\xff\xaa\x69\x88\xb5"  # opens the registers for ten seconds
SAVE = b"\xff\xaa\x00\x00\x00"

RATE_CODES = {0.2: 1, 0.5: 2, 1: 3, 2: 4, 5: 5, 10: 6, 20: 7, 50: 8, 100: 9, 200: 11}  # [Hz]
BAUD_CODES = {
    4800: 1,
    9600: 2,
    19200: 3,
    38400: 4,
    57600: 5,
    115200: 6,
    230400: 7,
    460800: 8,
    921600: 9,
}
BANDWIDTH_CODES = {256: 0, 188: 1, 98: 2, 42: 3, 20: 4, 10: 5, 5: 6}  # [Hz]


def encode_write(register: int, value: int) -> bytes:
    """A configuration write: FF AA register low high."""
    return struct.pack("<BBBH", 0xFF, 0xAA, register, value)


def content_bits(types: Sequence[PacketType]) -> int:
    """The value of `Register.CONTENT` that makes the IMU send these packets."""
    return sum(1 << (type - PacketType.TIME) for type in set(types))


def encode_setup(rate: int, baud_rate: int, bandwidth: int) -> tuple[bytes, ...]:
    """The writes that make a factory-fresh IMU send what this project reads, and keep it so.

    They belong to a setup command: an IMU takes its new baud rate at once.

    Args:
        rate: one of `RATE_CODES` [Hz].
        baud_rate: one of `BAUD_CODES` [baud].
        bandwidth: one of `BANDWIDTH_CODES` [Hz].
    """
    wanted = (PacketType.ACCELERATION, PacketType.ANGULAR_VELOCITY, PacketType.QUATERNION)
    return (
        UNLOCK,
        encode_write(Register.CONTENT, content_bits(wanted)),
        encode_write(Register.RATE, RATE_CODES[rate]),
        encode_write(Register.BANDWIDTH, BANDWIDTH_CODES[bandwidth]),
        encode_write(Register.BAUD, BAUD_CODES[baud_rate]),
        SAVE,
    )
