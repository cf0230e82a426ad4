"""The serial protocol of WitMotion IMUs (WT901 and HWT families) as pure functions on bytes.

Source: WIT Standard Communication Protocol
(wit-motion.gitbook.io/witmotion-sdk/wit-standard-protocol/wit-standard-communication-protocol).

    55 | type | d0 ... d7 | sum        sum = low byte of the sum of the ten bytes before it

The IMU sends these by itself at the rate it is set to, each type in a packet of its own and
without a time. The sum passes one random payload in 256, so `take_packet` refuses implausible
values too. How it is set up is its maker's tool's affair: nothing is ever written to it.
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
GRAVITY = 9.80665  # the device's unit of acceleration; a world's gravity is its own [m/s²]
ACCELERATION_RANGE = 16 * GRAVITY  # [m/s²]
ANGULAR_VELOCITY_RANGE = math.radians(2000)  # [rad/s]

# What the base of a robot that stays in one piece may feel; beyond it a payload is taken for noise.
MAX_ACCELERATION = 12 * GRAVITY  # on an axis [m/s²]
MAX_ANGULAR_VELOCITY = math.radians(1700)  # about an axis [rad/s]
NORM_TOLERANCE = 0.02  # of a quaternion


class PacketType(IntEnum):
    """The type byte. `Packet.values` holds SI values of the three that this project reads."""

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
    values: tuple[float, ...]  # [m/s²], [rad/s] or unit w x y z; empty of other types


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
}
