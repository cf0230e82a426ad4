"""A bus of motors and an IMU in memory, for the serial robot."""

import struct
from collections.abc import Callable

import numpy as np
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import (
    ALERT,
    Block,
    Instruction,
    Packet,
    encode_fast_status,
    encode_status,
    take_packet,
)
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.hardware.port import Transport
from surefoot.hardware.serial_robot import SerialRobot
from surefoot.hardware.witmotion.protocol import (
    encode_acceleration,
    encode_angular_velocity,
    encode_quaternion,
)
from surefoot.models.limits import Output
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot

DESCRIPTION = load_robot("quadruped")
REST = DESCRIPTION.rest_pose
IDS = range(1, 13)
BYTE_TIME = 10 / 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Motors:
    """A bus of X-series motors as byte tables. It holds still and does what a test scripts."""

    name, baud_rate = "memory", 1_000_000

    def __init__(self, clock: Clock, ids: range = IDS) -> None:
        self.clock = clock
        self.tables = {id: bytearray(x.INDIRECT_DATA + x.INDIRECT_COUNT) for id in ids}
        self.requests: list[Packet] = []
        self.pending = b""
        self.ready = 0.0
        self.silent: set[int] = set()
        self.fast = True
        self.alert: set[int] = set()
        self.read_only: set[int] = set()  # addresses that keep their value
        self.mangle: Callable[[Packet, bytes], bytes] = lambda request, reply: reply
        for id in ids:
            for register, value in (
                (x.MODEL_NUMBER, 1030),
                (x.FIRMWARE, 48),
                (x.ID, id),
                (x.OPERATING_MODE, 5),
                (x.SHADOW_ID, 255),
                (x.SHUTDOWN, 0x34),
                (x.PWM_LIMIT, 885),
                (x.CURRENT_LIMIT, 1193),
                (x.PRESENT_VOLTAGE, 119),
                (x.PRESENT_TEMPERATURE, 36),
            ):
                self.put(id, register, value)

    def put(self, id: int, register: x.Register, value: int) -> None:
        end = register.address + register.size
        self.tables[id][register.address : end] = x.pack(register, value)

    def get(self, id: int, register: x.Register) -> int:
        data = self.tables[id][register.address : register.address + register.size]
        return x.unpack(register, bytes(data))

    def place(self, joint_pos: np.ndarray) -> None:
        """Put every shaft where a power-up would find it: within one turn."""
        for joint, angle in zip(DESCRIPTION.joints, joint_pos, strict=True):
            counts = round(joint.motor.sign * angle / x.RADIANS_PER_COUNT)
            self.put(joint.motor.id, x.PRESENT_POSITION, counts % x.COUNTS_PER_TURN)

    def seen(self, instruction: Instruction) -> list[Packet]:
        return [packet for packet in self.requests if packet.instruction == instruction]

    # --- Transport ---

    def write(self, data: bytes) -> None:
        packet, rest, refused = take_packet(data)
        assert packet is not None and not rest and not refused
        self.requests.append(packet)
        reply = self.mangle(packet, self.answer(packet))
        self.pending += reply
        self.ready = self.clock.now + (len(data) + len(reply)) * BYTE_TIME

    def read(self, deadline: float) -> bytes:
        if self.pending and max(deadline, self.clock.now) >= self.ready:
            self.clock.now = max(self.clock.now, self.ready)
            chunk, self.pending = self.pending, b""
            return chunk
        self.clock.now = max(self.clock.now, deadline)
        return b""

    def close(self) -> None:
        self.closed = True

    # --- Devices ---

    def answer(self, packet: Packet) -> bytes:
        params, kind = packet.params, packet.instruction
        if kind == Instruction.PING:
            if packet.id not in self.tables or packet.id in self.silent:
                return b""
            table = self.tables[packet.id]
            return encode_status(packet.id, self.error(packet.id), bytes(table[0:2] + table[6:7]))
        address, length = struct.unpack_from("<HH", params)
        if kind == Instruction.SYNC_WRITE:
            for at in range(4, len(params), 1 + length):
                self.store(params[at], address, params[at + 1 : at + 1 + length])
            return b""
        ids = [packet.id] if kind == Instruction.READ else list(params[4:])
        blocks = [Block(id, self.error(id), self.load(id, address, length)) for id in ids]
        if kind == Instruction.FAST_SYNC_READ:
            if not self.fast:
                return b""
            whole = encode_fast_status(blocks)
            answering = next((i for i, id in enumerate(ids) if id in self.silent), len(ids))
            return whole[: 8 + answering * (length + 4)] if answering else b""
        heard = [block for block in blocks if block.id not in self.silent]
        return b"".join(encode_status(block.id, block.error, block.data) for block in heard)

    def error(self, id: int) -> int:
        return ALERT if id in self.alert else 0

    def place_of(self, id: int, address: int) -> int:
        if x.INDIRECT_DATA <= address < x.INDIRECT_DATA + x.INDIRECT_COUNT:
            at = x.INDIRECT_ADDRESS + 2 * (address - x.INDIRECT_DATA)
            return int.from_bytes(self.tables[id][at : at + 2], "little")
        return address

    def load(self, id: int, address: int, length: int) -> bytes:
        places = (self.place_of(id, address + i) for i in range(length))
        return bytes(self.tables[id][place] for place in places)

    def store(self, id: int, address: int, data: bytes) -> None:
        if id in self.silent:
            return
        for i, byte in enumerate(data):
            place = self.place_of(id, address + i)
            assert place >= x.EEPROM_END, "nothing here may write EEPROM"
            if place not in self.read_only:
                self.tables[id][place] = byte


class Imu:
    """An IMU that lies level and turns about its z axis; it has always just sent."""

    name, baud_rate = "memory", 115200

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sending = True
        self.sent = False

    def write(self, data: bytes) -> None:
        raise AssertionError("an IMU is only listened to")

    def read(self, deadline: float) -> bytes:
        if not self.sending or self.sent:
            self.sent = False
            self.clock.now = max(self.clock.now, deadline)
            return b""
        self.sent = True
        return (
            encode_acceleration([0, 0, 9.8])
            + encode_angular_velocity([0, 0, 1])
            + encode_quaternion([1, 0, 0, 0])
        )

    def close(self) -> None:
        pass


class Bench:
    """A robot on such motors, its loop one control period a tick."""

    def __init__(self, description: Robot = DESCRIPTION, output: Output = "joint_target") -> None:
        self.clock = Clock()
        self.motors, self.imu = Motors(self.clock), Imu(self.clock)
        self.motors.place(REST)
        self.description = description
        self.output: Output = output
        for id in IDS:
            self.motors.put(id, x.OPERATING_MODE, 0 if output == "joint_torque" else 5)

    def open(self) -> SerialRobot:
        transports: dict[str, Transport] = {"motors": self.motors}
        if self.description.imu:
            transports["imu"] = self.imu
        self.robot = SerialRobot(self.description, transports, self.clock, self.output)
        return self.robot

    def tick(self) -> Sample:
        start = self.clock.now
        sample = self.robot.read()
        self.clock.now = max(self.clock.now, start + self.description.control_period)
        return sample


def track(offset: float = 0.0, cap: float | None = None) -> Command:
    caps = None if cap is None else np.full(12, cap)
    return Command(Mode.TRACK, REST + offset, caps)


def shift(bench: Bench, id: int, counts: int) -> None:
    """Let the shaft of a motor turn by so many counts."""
    bench.motors.put(id, x.PRESENT_POSITION, bench.motors.get(id, x.PRESENT_POSITION) + counts)
