"""What the serial robot makes of its motors' replies: units, faults, jumps, health."""

import dataclasses
import math

import numpy as np
import pytest
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import (
    Instruction,
    Packet,
    encode_instruction,
)
from surefoot.hardware.dynamixel.units import MotorUnits
from surefoot.hardware.interface import Command, Mode
from surefoot.models.errors import (
    EnableRefused,
)
from wire_bench import DESCRIPTION, IDS, REST, Bench, shift, track


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_units_and_signs(bench: Bench) -> None:
    robot = bench.open()
    for id in (2, 5):  # a joint with sign +1 and one with sign -1
        bench.motors.put(id, x.PRESENT_CURRENT, 100)
        bench.motors.put(id, x.PRESENT_VELOCITY, -20)
    sample = robot.read()
    # 100 · 2.69 mA · 3.0/2.3 N·m/A = 0.3509 N·m; 20 · 0.229 rpm = 0.4796 rad/s.
    assert sample.joint_torque[[1, 4]] == pytest.approx([0.35087, -0.35087], abs=1e-4)
    assert sample.joint_vel[[1, 4]] == pytest.approx([-0.47962, 0.47962], abs=1e-4)
    assert sample.gyro == pytest.approx([0, 0, 1], abs=1e-3)
    assert sample.gravity == pytest.approx([0, 0, -1], abs=1e-4)
    assert sample.acceleration == pytest.approx([0, 0, 9.8], abs=1e-2)


def test_gear_and_zero_by_hand() -> None:
    joint = DESCRIPTION.joints[0]
    motor = dataclasses.replace(joint.motor, gear=2.0, zero=math.pi, sign=-1)
    joint = dataclasses.replace(joint, motor=motor)
    model = DESCRIPTION.motor_models["XM430-W210"]
    units = MotorUnits([joint], [model])
    # 3072 counts are 1.5 π; -(1.5 π - π) / 2 = -π/4.
    assert units.joint_pos(np.array([3072]))[0] == pytest.approx(-math.pi / 4)
    assert units.goal_position(np.array([-math.pi / 4]))[0] == 3072
    # 1 N·m at the joint is 0.5 N·m at the motor, 0.3833 A, 142.5 units, rounded down.
    assert units.goal_current(np.array([1.0]), np.array([1193]))[0] == 142
    # Angle and torque are both geared: a quarter of the gains.
    assert units.position_gains([13.8], [0.37]) == [(200, 185)]


def test_consecutive_reads_ask_for_different_lengths(bench: Bench) -> None:
    bench.open()
    lengths = []
    for _ in range(4):
        bench.tick()
        lengths.append(bench.motors.seen(Instruction.FAST_SYNC_READ)[-1].params[2])
    assert sorted(lengths[:2]) == [10, 12] and lengths[:2] == lengths[2:]


def test_header_bytes_in_a_fast_reply(bench: Bench) -> None:
    robot = bench.open()
    for id in IDS:
        bench.motors.put(id, x.PRESENT_CURRENT, -1)
        bench.motors.put(id, x.PRESENT_VELOCITY, -3)
    sample = robot.read()
    assert sample.wire_errors == 0
    assert sample.joint_vel[0] == pytest.approx(-3 * x.VELOCITY_UNIT)


def test_silent_motor_ages_alone_and_is_asked_last(bench: Bench) -> None:
    robot = bench.open()
    bench.tick()
    bench.motors.silent = {3}
    sample = bench.tick()
    # The shared reply ended at ID 3; a plain read brought the others.
    assert np.flatnonzero(sample.age > 0.03).tolist() == [2]
    assert np.all(np.delete(sample.age, 2) < 0.02)
    assert any("no answer of ID 3" in note for note in sample.wire_notes)
    bench.motors.requests.clear()
    sample = bench.tick()
    assert np.flatnonzero(sample.age > 0.03).tolist() == [2]
    assert list(bench.motors.seen(Instruction.FAST_SYNC_READ)[0].params[4:])[-1] == 3
    assert not bench.motors.seen(Instruction.SYNC_READ)
    bench.motors.silent = set()
    bench.tick()
    assert np.all(robot.read().age < 0.01)


def test_every_corrupted_byte_of_a_reply_is_refused_and_the_rest_kept(bench: Bench) -> None:
    robot = bench.open()
    size = 8 + 12 * 16
    for at in range(0, size, 3):

        def corrupt(request: Packet, reply: bytes, at: int = at) -> bytes:
            if request.instruction != Instruction.FAST_SYNC_READ or at >= len(reply):
                return reply
            return reply[:at] + bytes([reply[at] ^ 0x10]) + reply[at + 1 :]

        bench.motors.mangle = corrupt
        errors = robot.read().wire_errors
        sample = robot.read()
        assert sample.wire_errors > errors
        assert np.all(sample.age < 0.03)
        np.testing.assert_allclose(sample.joint_pos, REST, atol=x.RADIANS_PER_COUNT)


def test_dead_bus_ages_without_raising_and_comes_back(bench: Bench) -> None:
    robot = bench.open()
    first = bench.tick()
    bench.motors.silent = set(IDS)
    for count in range(1, 6):
        sample = bench.tick()
        assert np.all(sample.age > count * 0.019)
        np.testing.assert_array_equal(sample.joint_pos, first.joint_pos)
        assert sample.bus_time < DESCRIPTION.control_period
    bench.motors.silent = set()
    bench.tick()
    assert np.all(robot.read().age < 0.01)


def test_late_reply_is_not_taken_for_the_next_one(bench: Bench) -> None:
    robot = bench.open()
    held: list[bytes] = []

    def late(request: Packet, reply: bytes) -> bytes:
        if request.instruction not in (Instruction.FAST_SYNC_READ, Instruction.SYNC_READ):
            return reply
        held.append(reply)
        return b"" if len(held) == 1 else held[-2]  # each reply comes one request late

    bench.motors.mangle = late
    bench.motors.place(REST + 0.1)
    fresh = robot.read()
    assert fresh.wire_errors > 0
    for _ in range(4):
        sample = robot.read()
    np.testing.assert_allclose(sample.joint_pos, REST, atol=x.RADIANS_PER_COUNT)
    assert np.all(sample.age > 0.02)
    bench.motors.mangle = lambda request, reply: reply
    np.testing.assert_allclose(robot.read().joint_pos, REST + 0.1, atol=x.RADIANS_PER_COUNT)


def test_bytes_before_a_request_are_dropped(bench: Bench) -> None:
    robot = bench.open()
    bench.motors.pending = encode_instruction(1, Instruction.PING)
    bench.motors.ready = 0.0
    sample = robot.read()
    assert sample.wire_errors == 1
    assert sample.wire_notes == ("motors: dropped 10 bytes that nobody asked for",)
    assert np.all(sample.age < 0.01)


def test_impossible_jump_is_refused_until_time_makes_it_possible(bench: Bench) -> None:
    robot = bench.open()
    bench.tick()
    jumped = REST.copy()
    jumped[0] += 1.2  # joint_jump is 0.8 rad a tick
    bench.motors.place(jumped)
    sample = robot.read()
    assert sample.joint_pos[0] == pytest.approx(REST[0], abs=1e-3)
    assert sample.age[0] > 0.015 and np.all(sample.age[1:] < 0.01)
    assert any("front_left_hip_roll" in n and "jump of 1.20" in n for n in sample.wire_notes)
    assert not sample.encoder_jump.any(), "one may be noise on the wire"
    bench.clock.now += DESCRIPTION.control_period
    sample = bench.tick()
    assert sample.joint_pos[0] == pytest.approx(REST[0], abs=1e-3)
    assert np.flatnonzero(sample.encoder_jump).tolist() == [0]
    # At 1.5 times the no-load speed of 8.06 rad/s it takes 0.099 s.
    for _ in range(2):
        assert bench.tick().encoder_jump[0]
    sample = bench.tick()
    assert sample.joint_pos[0] == pytest.approx(jumped[0], abs=1e-3)
    assert not sample.encoder_jump.any()


@pytest.mark.parametrize("jump", [0.85, 1.2, 3.0])
def test_no_jump_is_taken_before_it_was_refused_twice(bench: Bench, jump: float) -> None:
    bench.open()
    bench.tick()
    jumped = REST.copy()
    jumped[7] += jump
    bench.motors.place(jumped)
    assert not bench.tick().encoder_jump.any()
    assert np.flatnonzero(bench.tick().encoder_jump).tolist() == [7]


def test_a_motor_that_is_lost_for_a_while_may_have_moved_since(bench: Bench) -> None:
    """12 rad/s for 60 ms: what a shoved joint can do, read again with no fault."""
    bench.open()
    bench.tick()
    bench.motors.silent = {8}
    for _ in range(3):
        bench.tick()
    moved = REST.copy()
    moved[7] += 0.72
    bench.motors.place(moved)
    bench.motors.silent = set()
    sample = bench.tick()
    assert sample.joint_pos[7] == pytest.approx(moved[7], abs=1e-3)
    assert not sample.encoder_jump.any()


def test_all_alerts_at_once_fit_into_a_tick(bench: Bench) -> None:
    """What a dip of the supply does."""
    robot = bench.open()
    robot.write(track())
    bench.tick()
    for id in IDS:
        bench.motors.put(id, x.HARDWARE_ERROR, x.HardwareError.INPUT_VOLTAGE)
    bench.motors.alert = set(IDS)
    sample = bench.tick()
    assert sample.alert.all() and (sample.health.error_bits == 0x01).all()
    assert sample.bus_time < 0.3 * DESCRIPTION.control_period


def test_impossible_velocity_is_refused(bench: Bench) -> None:
    robot = bench.open()
    bench.motors.put(1, x.PRESENT_VELOCITY, 2000)  # 48 rad/s, six times the no-load speed
    sample = robot.read()
    assert sample.joint_vel[0] == 0 and sample.wire_errors == 1


def test_turns_lost_without_torque_are_unwrapped_and_goals_follow(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    goal = bench.motors.get(5, x.GOAL_POSITION)
    assert goal == bench.motors.get(5, x.PRESENT_POSITION)
    robot.write(Command(Mode.OFF))
    shift(bench, 5, -x.COUNTS_PER_TURN)
    sample = robot.read()
    np.testing.assert_allclose(sample.joint_pos, REST, atol=x.RADIANS_PER_COUNT)
    assert any("(ID 5)" in note and "unwrapped" in note for note in sample.wire_notes)
    robot.write(track())
    assert bench.motors.get(5, x.GOAL_POSITION) == goal - x.COUNTS_PER_TURN
    assert robot.read().wire_notes == ()


@pytest.mark.parametrize("counts", [-x.COUNTS_PER_TURN, x.COUNTS_PER_TURN, 3 * x.COUNTS_PER_TURN])
def test_under_torque_no_turn_is_believed_lost(bench: Bench, counts: int) -> None:
    """One reading with a flipped bit must not turn the shaft; one that stays is a fault."""
    robot = bench.open()
    robot.write(track())
    bench.tick()
    goal = bench.motors.get(5, x.GOAL_POSITION)
    shift(bench, 5, counts)
    assert not bench.tick().encoder_jump.any(), "one may be noise on the wire"
    robot.write(track())
    assert bench.motors.get(5, x.GOAL_POSITION) == goal
    shift(bench, 5, -counts)
    sample = bench.tick()
    assert not sample.encoder_jump.any() and np.all(sample.age < 0.02)
    shift(bench, 5, counts)
    bench.tick()
    assert np.flatnonzero(bench.tick().encoder_jump).tolist() == [4]
    robot.write(track())
    assert bench.motors.get(5, x.GOAL_POSITION) == goal


@pytest.mark.parametrize("way", [-1, 1])
def test_motion_across_the_end_of_a_turn_is_followed_under_torque(bench: Bench, way: int) -> None:
    """Mode 5 counts on: beyond 4095, and below 0."""
    robot = bench.open()
    robot.write(track())
    first = bench.tick().joint_pos
    for step in range(1, 21):
        for id in IDS:
            shift(bench, id, way * 250)  # 0.3835 rad, less than the joint_jump of 0.8
        sample = bench.tick()
        moved = way * step * 250 * x.RADIANS_PER_COUNT  # 7.7 rad in the end
        signs = np.array([joint.motor.sign for joint in DESCRIPTION.joints])
        np.testing.assert_allclose(sample.joint_pos - first, signs * moved, atol=1e-9)
        assert sample.wire_notes == ()
    robot.write(Command(Mode.TRACK, sample.joint_pos))
    assert all(
        bench.motors.get(id, x.GOAL_POSITION) == bench.motors.get(id, x.PRESENT_POSITION)
        for id in IDS
    )


def test_a_position_that_differs_from_the_last_one_refuses_torque(bench: Bench) -> None:
    """Between the last reading and the enabling: the goal would be where the joint is not."""
    robot = bench.open()
    bench.tick()
    shift(bench, 5, x.COUNTS_PER_TURN)
    with pytest.raises(
        EnableRefused, match=r"front_right_hip_pitch \(ID 5.*found present position"
    ):
        robot.write(track())
    assert all(bench.motors.get(id, x.TORQUE_ENABLE) == 0 for id in IDS)
    bench.tick()
    robot.write(track())
    assert bench.motors.get(5, x.GOAL_POSITION) == bench.motors.get(5, x.PRESENT_POSITION)


def test_alert_and_slow_read(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    bench.motors.put(9, x.HARDWARE_ERROR, x.HardwareError.OVERLOAD)
    bench.motors.put(9, x.PRESENT_TEMPERATURE, 81)
    bench.motors.put(2, x.BUS_WATCHDOG, x.WATCHDOG_TRIPPED)
    bench.motors.alert = {9}
    sample = bench.tick()
    assert np.flatnonzero(sample.alert).tolist() == [8]
    assert sample.health.error_bits[8] == 0x20, "in the tick of the alert"
    for _ in range(12):
        sample = bench.tick()
    assert sample.health.error_bits[8] == 0x20 and sample.health.temperature[8] == 81
    assert np.flatnonzero(sample.health.watchdog_tripped).tolist() == [1]
    assert sample.health.voltage == pytest.approx(np.full(12, 11.9))


def sag(bench: Bench) -> None:
    """All motors report their input voltage, and have been asked about it."""
    for id in IDS:
        bench.motors.put(id, x.HARDWARE_ERROR, x.HardwareError.INPUT_VOLTAGE)
    bench.motors.alert = set(IDS)
    bench.tick()


def test_alerts_take_no_turn_of_the_slow_read(bench: Bench) -> None:
    """12 motors in 12 ticks, 0.24 s, with an alert of all as with none."""
    robot = bench.open()
    robot.write(track())
    sag(bench)
    bench.motors.requests.clear()
    for _ in range(24):
        bench.tick()
    asked = [packet.id for packet in bench.motors.seen(Instruction.READ)]
    assert sorted(asked[:12]) == list(IDS) and asked[:12] == asked[12:]


def test_what_comes_on_top_of_an_alert_of_the_supply_is_known_at_once(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    sag(bench)
    for id in (3, 9):
        bench.motors.put(id, x.HARDWARE_ERROR, 0x21)
        assert bench.tick().health.error_bits[id - 1] == 0x21
    # A motor whose severe error is known is asked no more.
    bench.motors.requests.clear()
    bench.tick()
    (request,) = bench.motors.seen(Instruction.SYNC_READ)
    assert list(request.params[4:]) == [id for id in IDS if id not in (3, 9)]


def test_a_motor_that_falls_silent_and_comes_back_costs_no_other_its_turn(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    for tick in range(48):
        bench.motors.silent = {5} if tick % 2 else set()
        sample = bench.tick()
        if tick > 12:
            assert np.all(np.delete(sample.health.age, 4) < 0.28)
