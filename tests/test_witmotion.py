"""The WitMotion codec: figures by hand, flipped bits, garbage, implausible values, the stream."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.hardware.witmotion.protocol import (
    MAX_ACCELERATION,
    MAX_ANGULAR_VELOCITY,
    PacketType,
    encode_acceleration,
    encode_angular_velocity,
    encode_packet,
    encode_quaternion,
    take_packet,
)
from surefoot.hardware.witmotion.stream import ImuStream
from surefoot.models.errors import DeviceError
from surefoot.models.robot import Imu

GRAVITY = 9.80665


def vectors(bound: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(-bound, bound), min_size=3, max_size=3)


QUATERNIONS = (
    st.lists(st.floats(-1, 1), min_size=4, max_size=4)
    .filter(lambda q: math.hypot(*q) > 0.1)
    .map(lambda q: [x / math.hypot(*q) for x in q])
)


def test_packets_by_hand() -> None:
    # 1 g is 32768/16 = 2048 = 0x0800; 55 + 51 + 08 = AE.
    packet = encode_acceleration([0, 0, GRAVITY])
    assert packet == bytes.fromhex("55 51 00 00 00 00 00 08 00 00 AE")
    # 1000 °/s is 16384 = 0x4000; 55 + 52 + 40 = E7.
    packet = encode_angular_velocity([math.radians(1000), 0, 0])
    assert packet == bytes.fromhex("55 52 00 40 00 00 00 00 00 00 E7")
    # w = 1 saturates at 32767 = 0x7FFF; 55 + 59 + FF + 7F = 22C.
    assert encode_quaternion([1, 0, 0, 0]) == bytes.fromhex("55 59 FF 7F 00 00 00 00 00 00 2C")


@given(vectors(MAX_ACCELERATION - 0.01))
def test_acceleration_round_trip(values: list[float]) -> None:
    packet, rest, refused = take_packet(encode_acceleration(values))
    assert packet is not None and packet.type == PacketType.ACCELERATION
    assert packet.values == pytest.approx(values, abs=16 * GRAVITY / 32768 / 2 + 1e-12)
    assert (rest, refused) == (b"", 0)


@given(vectors(MAX_ANGULAR_VELOCITY - 0.01))
def test_angular_velocity_round_trip(values: list[float]) -> None:
    packet, _, _ = take_packet(encode_angular_velocity(values))
    assert packet is not None and packet.type == PacketType.ANGULAR_VELOCITY
    assert packet.values == pytest.approx(values, abs=math.radians(2000) / 32768 / 2 + 1e-12)


@given(QUATERNIONS)
def test_quaternion_round_trip_is_unit(values: list[float]) -> None:
    packet, _, _ = take_packet(encode_quaternion(values))
    assert packet is not None and packet.type == PacketType.QUATERNION
    assert math.hypot(*packet.values) == pytest.approx(1, abs=1e-12)
    assert packet.values == pytest.approx(values, abs=1e-4)


@given(vectors(50.0))
def test_every_flipped_bit_is_refused(values: list[float]) -> None:
    packet = encode_acceleration(values)
    for bit in range(8 * len(packet)):
        flipped = (int.from_bytes(packet, "little") ^ 1 << bit).to_bytes(len(packet), "little")
        assert take_packet(flipped)[0] is None


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_without_raising(data: bytes) -> None:
    _, rest, _ = take_packet(data)
    assert data.endswith(rest) and len(rest) <= max(len(data), 0)


def test_resynchronises_after_garbage_and_a_cut_packet() -> None:
    packet = encode_quaternion([0.5, 0.5, -0.5, 0.5])
    for garbage in (b"\x00\x01", b"\x55", b"\x55\x55\x51", packet[:7], packet[4:]):
        taken, rest, refused = take_packet(garbage + packet)
        assert taken is not None and taken.values == pytest.approx((0.5, 0.5, -0.5, 0.5))
        assert (rest, refused) == (b"", 1)


def test_a_half_received_packet_stays() -> None:
    packet = encode_acceleration([1, 2, 3])
    for end in range(len(packet)):
        assert take_packet(packet[:end]) == (None, packet[:end], 0)


def test_implausible_values_with_a_right_sum_are_refused() -> None:
    for packet in (
        encode_packet(PacketType.QUATERNION, bytes(8)),
        encode_quaternion([0.9, 0.1, 0.1, 0.1]),
        encode_acceleration([0, 15 * GRAVITY, 0]),
        encode_angular_velocity([0, 0, -math.radians(1900)]),
    ):
        assert take_packet(packet) == (None, b"", 1)


def test_few_random_payloads_pass() -> None:
    generator = random.Random(0)
    passed = 0
    for _ in range(20000):
        packet = b"\x55\x59" + generator.randbytes(9)
        passed += take_packet(packet)[0] is not None
    # The sum alone would pass 20000 / 256 = 78; the norm leaves about one in 4000 altogether.
    assert passed <= 12


def test_other_types_pass_without_values() -> None:
    packet, _, refused = take_packet(encode_packet(PacketType.MAGNETIC_FIELD, bytes(8)))
    assert packet is not None and packet.values == () and refused == 0


# --- the stream -----------------------------------------------------------------------------------


class Chunks:
    """A transport that hands out prepared chunks, and then lets time pass."""

    name, baud_rate = "memory", 115200

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def write(self, data: bytes) -> None:
        raise AssertionError("an IMU is only listened to")

    def read(self, deadline: float) -> bytes:
        if self.chunks:
            return self.chunks.pop(0)
        self.now = max(self.now, deadline)
        return b""

    def close(self) -> None:
        pass


def stream(chunks: Chunks, rotation: tuple[float, float, float, float]) -> ImuStream:
    return ImuStream(Imu("imu", rotation, 200.0), chunks, chunks.clock)


def test_stream_turns_into_the_base_frame() -> None:
    # The sensor is mounted a quarter turn about z: its x axis is the base's y axis.
    half = math.sqrt(0.5)
    chunks = Chunks()
    imu = stream(chunks, (half, 0.0, 0.0, half))
    # The sensor is pitched by 90° about its y axis (nose down): its x axis points down.
    chunks.chunks = [
        encode_quaternion([half, 0, half, 0]),
        encode_angular_velocity([1.0, 2.0, 3.0]),
        encode_acceleration([-GRAVITY, 0, 0]),
    ]
    imu.wait()
    assert imu.gravity == pytest.approx([0, 1, 0], abs=1e-4)
    assert imu.gyro == pytest.approx([-2, 1, 3], abs=1e-3)
    assert imu.acceleration == pytest.approx([0, -GRAVITY, 0], abs=1e-2)


def test_stream_keeps_the_newest_and_its_age_is_that_of_the_oldest_stream() -> None:
    chunks = Chunks()
    imu = stream(chunks, (1.0, 0.0, 0.0, 0.0))
    level = encode_quaternion([1, 0, 0, 0]) + encode_acceleration([0, 0, GRAVITY])
    chunks.chunks = [level + encode_angular_velocity([1, 0, 0])]
    imu.wait()
    assert imu.age(100.0) == 0.0
    gyros = encode_angular_velocity([2, 0, 0]) + encode_angular_velocity([3, 0, 0])
    chunks.chunks = [gyros[:15], b"\x13" + gyros[:4], gyros[15:]]
    imu.update(100.02)
    # The cut packet in the middle is refused, the last is whole only without its neighbour.
    assert imu.errors >= 1
    chunks.chunks = [gyros]
    imu.update(100.04)
    assert imu.gyro[0] == pytest.approx(3, abs=1e-3)
    # Attitude and acceleration came 0.04 s ago.
    assert imu.age(100.04) == pytest.approx(0.04)


def test_a_missing_stream_is_named() -> None:
    chunks = Chunks()
    chunks.chunks = [encode_acceleration([0, 0, GRAVITY])]
    with pytest.raises(DeviceError, match=r"115200 baud\): no packets of type 0x52, 0x59 came"):
        stream(chunks, (1.0, 0.0, 0.0, 0.0)).wait()
    chunks = Chunks()
    with pytest.raises(DeviceError, match="no packets of type 0x51, 0x52, 0x59 came within 1 s"):
        stream(chunks, (1.0, 0.0, 0.0, 0.0)).wait()


def test_restarting_forgets_what_waited() -> None:
    chunks = Chunks()
    imu = stream(chunks, (1.0, 0.0, 0.0, 0.0))
    level = (
        encode_acceleration([0, 0, GRAVITY])
        + encode_angular_velocity([0, 0, 0])
        + encode_quaternion([1, 0, 0, 0])
    )
    chunks.chunks = [level]
    imu.wait()
    chunks.chunks = [level, level[:15]]  # came long ago, and a port's buffer is only so long
    imu.restart()
    assert chunks.chunks == [] and imu.age(chunks.now) == math.inf and math.isnan(imu.rate)
    chunks.chunks = [level]
    imu.update(chunks.now)
    assert imu.age(chunks.now) == 0.0 and imu.errors == 0


def test_the_rate_is_that_of_the_slowest_stream_over_a_second() -> None:
    chunks = Chunks()
    imu = stream(chunks, (1.0, 0.0, 0.0, 0.0))
    fast = encode_acceleration([0, 0, GRAVITY]) + encode_angular_velocity([0, 0, 0])
    rates = []
    for tick in range(1, 151):
        # The attitude comes in every tick, then in every fourth one.
        slow = tick <= 75 or tick % 4 == 0
        chunks.chunks = [2 * fast + slow * encode_quaternion([1, 0, 0, 0])]
        imu.update(100.0 + 0.02 * tick)
        rates.append(imu.rate)
    assert all(map(math.isnan, rates[:12])) and rates[12] == pytest.approx(50.0)
    assert rates[74] == pytest.approx(50.0)
    assert rates[149] == pytest.approx(12.5, abs=0.5)
