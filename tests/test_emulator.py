"""The emulated robot: its bus against the bus-time table, its body, and its process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import serial
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import (
    BROADCAST,
    Instruction,
    encode_instruction,
    read_params,
    sync_read_params,
    sync_write_params,
    take_fast_status,
    take_packet,
    write_params,
)
from surefoot.hardware.emulated.imu import EmulatedImu
from surefoot.hardware.emulated.lines import EmulatedLines
from surefoot.hardware.emulated.motor import EmulatedMotor, MotorDifference
from surefoot.hardware.emulated.motor_bus import EmulatedMotorBus
from surefoot.hardware.emulated.robot import EmulatedRobot
from surefoot.hardware.interface import Command, Mode
from surefoot.hardware.plant import PlantState
from surefoot.hardware.serial_robot import SerialRobot
from surefoot.hardware.witmotion import protocol as witmotion
from surefoot.models.errors import RobotFileError
from surefoot.models.robot import Bus
from surefoot.models.robot_file import load_robot
from surefoot.sim.plant import Difference, MujocoPlant

ROBOT = load_robot("quadruped")
MODEL = ROBOT.motor_models["XM430-W210"]
IDS = list(range(1, 13))
BAUD = 1_000_000


def make_bus(count: int = 12, baud_rate: int = BAUD) -> EmulatedMotorBus:
    return EmulatedMotorBus([EmulatedMotor(MODEL, id, baud_rate) for id in IDS[:count]])


def ask(bus: EmulatedMotorBus, id: int, instruction: int, params: bytes = b"", now: float = 0.0):
    """The replies' packets to one instruction."""
    replies = bus.feed(encode_instruction(id, instruction, params), now, BAUD)
    packets = []
    for _, data in replies:
        packet, rest, refused = take_packet(data)
        assert packet is not None and (rest, refused) == (b"", 0)
        packets.append(packet)
    return packets


# --- the bus ------------------------------------------------------------------------------------


def test_ping_is_answered_as_in_the_manual():
    bus = make_bus()
    bus.motors[0].table.set(x.FIRMWARE, 38)  # the manual's example
    [(_, reply)] = bus.feed(bytes.fromhex("FFFFFD00010300 01194E"), 0.0, BAUD)
    assert reply == bytes.fromhex("FFFFFD000107005500060426655D")


def test_a_broadcast_ping_is_answered_by_all_in_order():
    assert [packet.id for packet in ask(make_bus(3), BROADCAST, Instruction.PING)] == [1, 2, 3]


def test_read_write_and_refusals_on_the_wire():
    bus = make_bus(2)
    goal = write_params(x.GOAL_POSITION.address, x.pack(x.GOAL_POSITION, 512))
    # The manual's example of a write.
    assert encode_instruction(1, Instruction.WRITE, goal)[-2:] == bytes.fromhex("CA89")
    assert [p.error for p in ask(bus, 1, Instruction.WRITE, goal)] == [0]
    [reply] = ask(bus, 1, Instruction.READ, read_params(116, 4))
    assert reply.params == bytes.fromhex("00020000")
    [reply] = ask(bus, 1, Instruction.WRITE, write_params(132, bytes(4)))
    assert (reply.error, reply.params) == (7, b"")
    assert [p.error for p in ask(bus, 2, Instruction.FACTORY_RESET, b"\xff")] == [1]
    assert [p.error for p in ask(bus, 2, 0x77)] == [2]
    assert ask(bus, 9, Instruction.PING) == []
    assert ask(bus, BROADCAST, Instruction.WRITE, goal) == []


def test_the_alert_bit_comes_with_every_reply():
    bus = make_bus(2)
    bus.motors[0].table.set(x.HARDWARE_ERROR, 0x20)
    assert [p.error for p in ask(bus, BROADCAST, Instruction.PING)] == [0x80, 0]


def test_the_status_return_level_silences():
    bus = make_bus(1)
    level = write_params(x.STATUS_RETURN_LEVEL.address, b"\x01")
    assert len(ask(bus, 1, Instruction.WRITE, level)) == 1  # the level of before
    assert ask(bus, 1, Instruction.WRITE, level) == []
    assert len(ask(bus, 1, Instruction.READ, read_params(132, 4))) == 1
    ask(bus, 1, Instruction.WRITE, write_params(x.STATUS_RETURN_LEVEL.address, b"\x00"))
    assert ask(bus, 1, Instruction.READ, read_params(132, 4)) == []
    assert len(ask(bus, 1, Instruction.PING)) == 1


def test_a_fast_sync_read_is_one_packet_and_is_cut_at_a_missing_motor():
    bus = make_bus(4)
    bus.motors[0].table.set(x.FIRMWARE, 0xFD)
    params = sync_read_params(0, 7, [1, 2, 3, 4])
    [(_, reply)] = bus.feed(encode_instruction(BROADCAST, 0x8A, params), 0.0, BAUD)
    assert reply[:8] == bytes.fromhex("FFFFFD00FE2D0055")  # LEN 1 + 4 (7 + 4) = 45
    blocks, rest, refused = take_fast_status(reply, [1, 2, 3, 4], 7)
    assert ([b.id for b in blocks], rest, refused) == ([1, 2, 3, 4], b"", 0)
    params = sync_read_params(0, 7, [1, 2, 9, 4])
    [(_, cut)] = bus.feed(encode_instruction(BROADCAST, 0x8A, params), 1.0, BAUD)
    blocks, _, _ = take_fast_status(cut, [1, 2, 9, 4], 7)
    assert ([b.id for b in blocks], len(cut)) == ([1, 2], 8 + 2 * 11)


def test_a_plain_sync_read_goes_on_after_a_missing_motor():
    params = sync_read_params(132, 4, [1, 9, 2])
    assert [p.id for p in ask(make_bus(2), BROADCAST, Instruction.SYNC_READ, params)] == [1, 2]


def test_a_sync_write_reaches_all_and_is_not_answered():
    bus = make_bus(2)
    data = {1: x.pack(x.GOAL_POSITION, 11), 2: x.pack(x.GOAL_POSITION, 2_000_000)}
    assert ask(bus, BROADCAST, Instruction.SYNC_WRITE, sync_write_params(116, 4, data)) == []
    assert [m.table.get(x.GOAL_POSITION) for m in bus.motors] == [11, 0]  # out of range: unheard


def test_motors_at_another_baud_rate_are_silent():
    bus = make_bus()
    assert bus.feed(encode_instruction(1, Instruction.PING), 0.0, 57_600) == []
    ask(bus, 1, Instruction.WRITE, write_params(x.BAUD_RATE.address, b"\x01"))
    assert ask(bus, 1, Instruction.PING) == []
    assert len(bus.feed(encode_instruction(1, Instruction.PING), 1.0, 57_600)) == 1


def test_garbage_and_halves_are_survived():
    bus = make_bus(1)
    ping = encode_instruction(1, Instruction.PING)
    corrupt = bytearray(ping)
    corrupt[-1] ^= 1
    assert bus.feed(b"\x00\xff" + bytes(corrupt), 0.0, BAUD) == []
    assert bus.feed(ping[:5], 1.0, BAUD) == []
    assert len(bus.feed(ping[5:], 2.0, BAUD)) == 1


@pytest.mark.parametrize(
    ("baud_rate", "fast", "return_delay", "milliseconds"),
    [
        (4_000_000, False, 0, 1.12),
        (4_000_000, True, 0, 0.71),
        (4_000_000, False, 250, 6.88),
        (1_000_000, False, 0, 3.76),
        (1_000_000, True, 0, 2.78),
    ],
)
def test_a_cycle_takes_the_time_that_the_line_takes(baud_rate, fast, return_delay, milliseconds):
    """12 motors: a sync read of 10 bytes and a sync write of 4, ten bits a byte, by hand:

    26 + 252 + 74 bytes (fast: 26 + 176 + 74), 20 µs or the return delay before every packet.
    """
    bus = make_bus(baud_rate=baud_rate)
    for motor in bus.motors:
        motor.table.set(x.RETURN_DELAY, return_delay)
    read = Instruction.FAST_SYNC_READ if fast else Instruction.SYNC_READ
    replies = bus.feed(
        encode_instruction(BROADCAST, read, sync_read_params(126, 10, IDS)), 0.0, baud_rate
    )
    assert sum(len(data) for _, data in replies) == (176 if fast else 252)
    goals = sync_write_params(116, 4, {id: bytes(4) for id in IDS})
    bus.feed(encode_instruction(BROADCAST, Instruction.SYNC_WRITE, goals), 0.0, baud_rate)
    # A ping now must wait for both; take off its own 10 + 14 bytes and turnaround.
    bus.motors[0].table.set(x.RETURN_DELAY, 0)
    [(due, _)] = bus.feed(encode_instruction(1, Instruction.PING), 0.0, baud_rate)
    cycle = due - 24 * 10 / baud_rate - 20e-6
    assert cycle * 1e3 == pytest.approx(milliseconds, abs=0.006)


# --- the IMU ------------------------------------------------------------------------------------


def make_state(time_: float, gyro=(0.0, 0.0, 0.0), quaternion=(1.0, 0.0, 0.0, 0.0)) -> PlantState:
    zero = np.zeros(3)
    return PlantState(
        time_,
        np.zeros(12),
        np.zeros(12),
        zero,
        np.array(quaternion),
        zero,
        np.array(gyro),
        np.array([0.0, 0.0, 9.81]),
    )


def read_stream(data: bytes) -> list[witmotion.Packet]:
    packets = []
    while True:
        packet, data, refused = witmotion.take_packet(data)
        if packet is None:
            return packets
        assert refused == 0
        packets.append(packet)


def test_the_imu_streams_three_packets_a_sample_paced_by_the_line():
    imu = EmulatedImu((1, 0, 0, 0), 200.0, 115_200, np.random.default_rng(0))
    replies = [r for k in range(1, 1001) for r in imu.step(0.001, make_state(k * 0.001))]
    assert len(replies) == 3 * 200
    assert [data[1] for _, data in replies[:3]] == [0x51, 0x52, 0x59]
    assert [due for due, _ in replies[:3]] == pytest.approx(
        [0.005 + k * 110 / 115_200 for k in (1, 2, 3)]
    )


def test_the_imu_reports_in_its_own_frame():
    # The sensor's x axis points along the base's y axis: a turn about base y is one about its x.
    half = np.sqrt(0.5)
    imu = EmulatedImu((half, 0, 0, half), 200.0, 115_200, np.random.default_rng(0))
    for k in range(1, 100):
        replies = imu.step(0.001, make_state(k * 0.001, gyro=(0.0, 2.0, 0.0)))
        if replies:
            stream = b"".join(data for _, data in replies)
    acceleration, gyro, attitude = read_stream(stream)
    assert gyro.values == pytest.approx((2.0, 0.0, 0.0), abs=0.1)
    assert acceleration.values == pytest.approx((0.0, 0.0, 9.81), abs=0.3)
    assert np.abs(attitude.values) == pytest.approx([half, 0, 0, half], abs=0.02)


def test_the_attitude_lags_behind_the_gyro():
    imu = EmulatedImu((1, 0, 0, 0), 200.0, 115_200, np.random.default_rng(0))
    turned = (np.cos(0.5), np.sin(0.5), 0.0, 0.0)
    for k in range(1, 201):
        imu.step(0.001, make_state(k * 0.001))
    for k in range(201, 206):
        replies = imu.step(0.001, make_state(k * 0.001, (5.0, 0.0, 0.0), turned))
    _, gyro, attitude = read_stream(b"".join(data for _, data in replies))
    assert gyro.values[0] > 4.5  # 5 ms are three of its time constants
    assert 0.4 < 2 * np.arctan2(attitude.values[1], attitude.values[0]) < 0.9  # of 1 rad


def test_an_imu_line_that_is_too_slow_is_refused():
    with pytest.raises(RobotFileError, match=r"imu\.rate: found 200, allowed is <= 29 at 9600"):
        EmulatedImu((1, 0, 0, 0), 200.0, 9600, np.random.default_rng(0))


# --- the robot ----------------------------------------------------------------------------------


def make_robot(seed: int = 0) -> EmulatedRobot:
    return EmulatedRobot(ROBOT, MujocoPlant(ROBOT, seed), seed)


def write_all(robot: EmulatedRobot, register: x.Register, values: list[int]) -> None:
    data = {id: x.pack(register, value) for id, value in zip(IDS, values, strict=True)}
    params = sync_write_params(register.address, register.size, data)
    packet = encode_instruction(BROADCAST, Instruction.SYNC_WRITE, params)
    robot.feed("motors", packet, robot.time, BAUD)


def stand_up(robot: EmulatedRobot, seconds: float = 2.0) -> None:
    """From where it lies to the default pose, at 50 Hz, over the wire."""
    positions = [motor.table.get(x.GOAL_POSITION) for motor in robot.motors]  # as it woke up
    sign = np.array([joint.motor.sign for joint in ROBOT.joints])
    change = sign * (ROBOT.default_pose - robot.state.joint_pos) / x.RADIANS_PER_COUNT
    write_all(robot, x.POSITION_D_GAIN, [740] * 12)
    write_all(robot, x.GOAL_CURRENT, [570] * 12)  # 2 N·m
    write_all(robot, x.TORQUE_ENABLE, [1] * 12)
    ticks = round(seconds / 0.02)
    for k in range(1, ticks + 50):
        goal = positions + min(k / ticks, 1.0) * change
        write_all(robot, x.GOAL_POSITION, [round(g) for g in goal])
        robot.advance(robot.time + 0.02)


def test_it_lies_still_and_limp_near_its_rest_pose():
    robot = make_robot()
    before = robot.state
    assert np.abs(before.joint_pos - ROBOT.rest_pose).max() < ROBOT.safety.start_tolerance
    robot.advance(1.0)
    assert robot.time == pytest.approx(1.0)
    assert np.abs(robot.state.base_position - before.base_position).max() < 0.005
    assert np.all(robot.joint_torque == 0.0)


def test_it_stands_up_over_the_wire_and_falls_limp_without_torque():
    robot = make_robot()
    stand_up(robot)
    assert robot.state.base_position[2] > 0.14
    assert np.abs(robot.state.joint_pos - ROBOT.default_pose).max() < 0.1
    assert 0.1 < np.abs(robot.joint_torque).max() < 2.0
    voltage = robot.motors[0].voltage
    assert 11.5 < voltage < MotorDifference().supply_voltage  # a little sag
    write_all(robot, x.TORQUE_ENABLE, [0] * 12)
    robot.advance(robot.time + 1.5)
    assert robot.state.base_position[2] < 0.08


def test_it_keeps_standing_where_the_watchdog_stopped_it():
    robot = make_robot()
    write_all(robot, x.BUS_WATCHDOG, [5] * 12)
    stand_up(robot)
    robot.advance(robot.time + 1.0)  # the host has died
    assert all(motor.table.get(x.BUS_WATCHDOG) == -1 for motor in robot.motors)
    assert robot.state.base_position[2] > 0.14


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not():
    streams = []
    for seed in (3, 3, 4):
        robot = make_robot(seed)
        stand_up(robot, 0.2)
        params = sync_read_params(126, 10, IDS)
        packet = encode_instruction(BROADCAST, Instruction.SYNC_READ, params)
        robot.feed("motors", packet, robot.time, BAUD)
        later = robot.time + 1.0
        streams.append(robot.take("motors", later, BAUD) + robot.take("imu", later, 115_200))
    assert streams[0] == streams[1] != streams[2]


def test_replies_wait_until_they_are_due():
    robot = make_robot()
    robot.feed("motors", encode_instruction(1, Instruction.PING), 0.0, BAUD)
    due = 24 * 10 / BAUD + 20e-6
    assert robot.take("motors", due - 1e-6, BAUD) == b""
    assert robot.next_due() == pytest.approx(due)
    assert len(robot.take("motors", due, BAUD)) == 14


def test_an_imu_at_another_baud_rate_is_not_understood():
    robot = make_robot()
    robot.advance(0.1)
    assert robot.take("imu", 0.1, 9600) == b""
    # Unlock, rate, save: what sets a real one up is swallowed.
    robot.feed("imu", bytes.fromhex("FFAA6988B5 FFAA030B00 FFAA000000"), 0.1, 115_200)
    robot.advance(0.2)
    assert {p.type for p in read_stream(robot.take("imu", 0.2, 115_200))} == {0x51, 0x52, 0x59}


def test_a_bus_that_nothing_serves_is_refused():
    buses = {**ROBOT.buses, "imu": Bus("imu", "dynamixel", 1_000_000, "/dev/null")}
    with pytest.raises(RobotFileError, match=r"imu\.bus: found dynamixel, allowed is witmotion"):
        EmulatedRobot(replace(ROBOT, buses=buses), MujocoPlant(ROBOT))


def test_the_plant_differs_from_the_training_model():
    same = MujocoPlant(ROBOT, 0, Difference(1.0, 0.0, 1.0, 1.0, 0.8, 0.0, 0.0)).model
    plant = MujocoPlant(ROBOT).model
    assert same.body_mass.sum() == pytest.approx(2.298, abs=1e-3)
    ratio = plant.body_mass[1:] / same.body_mass[1:]
    assert np.all((ratio > 1.02) & (ratio < 1.12))
    assert plant.body_inertia[1:, 0] / same.body_inertia[1:, 0] == pytest.approx(ratio)
    assert np.all(plant.dof_frictionloss[6:] > 1.5 * same.dof_frictionloss[6:])


def test_the_driver_stands_it_up_in_process_the_same_way_every_time():
    positions = []
    for _ in range(2):
        lines = EmulatedLines(make_robot())
        driver = SerialRobot(ROBOT, lines.transports, lines.clock)
        sample = driver.read()
        start = sample.joint_pos
        assert start == pytest.approx(lines.robot.state.joint_pos, abs=0.002)
        next_tick = lines.clock()
        for k in range(100):
            target = start + min(k / 75, 1.0) * (ROBOT.default_pose - start)
            driver.write(Command(Mode.TRACK, target, ROBOT.torque_limit))
            next_tick += ROBOT.control_period
            lines.wait_until(next_tick)
            sample = driver.read()
            assert np.all(sample.age < 0.005) and sample.imu_age < 0.02
        assert sample.wire_errors == 0 and not sample.alert.any()
        assert lines.robot.state.base_position[2] > 0.14
        assert sample.gravity == pytest.approx([0, 0, -1], abs=0.03)
        positions.append(sample.joint_pos)
    assert np.array_equal(*positions)


# --- the process --------------------------------------------------------------------------------


class Emulation:
    """`surefoot emulate quadruped --json` as a subprocess."""

    def __init__(self, *options: str):
        command = [sys.executable, "-m", "surefoot", "emulate", "quadruped", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ports = json.loads(self.process.stdout.readline())["ports"]

    def stop(self, signum: int = signal.SIGINT) -> dict:
        self.process.send_signal(signum)
        return self.finish()

    def finish(self) -> dict:
        out, _ = self.process.communicate(timeout=20)
        return json.loads(out.splitlines()[-1])["pace"]


def test_the_process_talks_survives_reopening_and_ends_cleanly(tmp_path):
    truth = tmp_path / "truth.csv"
    emulation = Emulation("--truth", str(truth))
    ping = encode_instruction(3, Instruction.PING)
    for _ in range(2):  # closed and opened again
        with serial.Serial(emulation.ports["motors"], BAUD, timeout=5, exclusive=True) as port:
            port.write(ping)
            packet, _, _ = take_packet(port.read(14))
            assert packet is not None and packet.params[:2] == (1030).to_bytes(2, "little")
    with serial.Serial(emulation.ports["motors"], 57_600, timeout=0.2) as port:
        port.write(ping)
        assert port.read(1) == b""
    with serial.Serial(emulation.ports["imu"], 115_200, timeout=5) as port:
        assert len(read_stream(port.read(66))) >= 5
    pace = emulation.stop()
    assert emulation.process.returncode == 0 and pace["time"] > 0.2
    with truth.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows[0]) == 1 + 3 + 4 + 3 + 3 + 12 + 12
    times = [float(row["time"]) for row in rows]
    assert 0.0 < time.monotonic() - times[-1] < 20.0
    assert np.all(np.diff(times) > 0)
    assert float(rows[0]["base_position_z"]) == pytest.approx(0.062, abs=0.01)


def test_it_ends_with_its_parent_even_if_that_is_killed():
    parent = subprocess.Popen(["sleep", "60"])
    emulation = Emulation("--parent-pid", str(parent.pid))
    assert os.getsid(emulation.process.pid) == emulation.process.pid  # Ctrl-C does not reach it
    parent.kill()
    parent.wait()
    emulation.finish()
    assert emulation.process.returncode == 0


def test_an_unknown_robot_is_one_line():
    command = [sys.executable, "-m", "surefoot", "emulate", "centipede"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("surefoot emulate: there is no robot 'centipede'")
    assert len(result.stderr.splitlines()) == 1
