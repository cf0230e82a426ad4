"""The serial robot on motors in memory: opening, reading through faults, enabling, commanding."""

import dataclasses
import math
import struct

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
    DeviceError,
    EnableRefused,
    NonFiniteError,
    RobotFileError,
    UsageError,
)
from wire_bench import BYTE_TIME, DESCRIPTION, IDS, REST, Bench, track


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- opening --------------------------------------------------------------------------------------


def test_opening_moves_nothing_and_reads_the_pose_across_the_wrap(bench: Bench) -> None:
    robot = bench.open()
    sample = robot.read()
    # Half of the angles are negative shaft angles, which a motor reports as 2048 to 4095.
    np.testing.assert_allclose(sample.joint_pos, REST, atol=x.RADIANS_PER_COUNT)
    assert np.all(sample.age < 0.01) and sample.imu_age < 0.01
    assert sample.wire_errors == 0 and sample.wire_notes == ()
    assert not robot.found_torque_on
    written = {packet.params[0] for packet in bench.motors.seen(Instruction.SYNC_WRITE)}
    assert written == {x.INDIRECT_ADDRESS}
    assert not bench.motors.seen(Instruction.WRITE)
    assert all(bench.motors.get(id, x.TORQUE_ENABLE) == 0 for id in IDS)


def test_torque_found_on_is_left_on_and_told(bench: Bench) -> None:
    bench.motors.put(4, x.TORQUE_ENABLE, 1)
    robot = bench.open()
    assert robot.found_torque_on
    assert not bench.motors.seen(Instruction.SYNC_WRITE)
    notes = [note for note in robot.read().wire_notes if "torque on (ID 4)" in note]
    assert len(notes) == 1
    with pytest.raises(
        EnableRefused, match=r"torque is on already \(ID 4\): .*switch it off first"
    ):
        robot.write(track())
    assert bench.motors.get(4, x.TORQUE_ENABLE) == 1
    for _ in range(13):  # the slow read works without indirect addresses too
        sample = bench.tick()
    assert np.all(sample.health.voltage == pytest.approx(11.9))
    robot.write(Command(Mode.OFF))
    assert bench.motors.get(4, x.TORQUE_ENABLE) == 0
    robot.write(track())
    assert bench.motors.get(4, x.TORQUE_ENABLE) == 1


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        (x.MODEL_NUMBER, 1020, "model number 1020, allowed is 1030, XM430-W210"),
        (x.OPERATING_MODE, 3, "operating mode 3, allowed is 5.*EEPROM .address 11.*setup"),
        (x.DRIVE_MODE, 1, "drive mode 1, allowed is one without"),
        (x.SHADOW_ID, 4, r"secondary ID 4, allowed is 253 to 255, none.*EEPROM .address 12"),
        (x.SHADOW_ID, 252, "secondary ID 252, allowed is 253 to 255, none"),
        (x.SHUTDOWN, 0x30, r"shutdown 48, allowed is .* 0x04 \(overheating\) and 0x20 .*EEPROM"),
        (x.SHUTDOWN, 0x14, "shutdown 20, allowed is one with the bits"),
    ],
)
def test_a_wrong_motor_is_named(
    bench: Bench, register: x.Register, value: int, message: str
) -> None:
    bench.motors.put(3, register, value)
    with pytest.raises(DeviceError, match=rf"front_left_knee \(ID 3 on bus 'motors'\).*{message}"):
        bench.open()
    assert not bench.motors.seen(Instruction.SYNC_WRITE)


def test_silent_motors_are_named_all_at_once(bench: Bench) -> None:
    bench.motors.silent = {3, 7}
    with pytest.raises(DeviceError, match=r"memory, 1000000 baud\): no answer of ID 3, 7, of 12"):
        bench.open()


def test_a_silent_imu_is_named(bench: Bench) -> None:
    bench.imu.sending = False
    with pytest.raises(DeviceError, match=r"IMU on bus 'imu'.*no packets of type 0x51, 0x52, 0x59"):
        bench.open()


@pytest.mark.parametrize(
    ("bus", "protocol", "driven"),
    [("motors", "witmotion", "dynamixel"), ("imu", "nmea", "witmotion")],
)
def test_a_bus_that_no_driver_here_drives_is_refused(bus: str, protocol: str, driven: str) -> None:
    buses = dict(DESCRIPTION.buses)
    buses[bus] = dataclasses.replace(buses[bus], protocol=protocol)
    bench = Bench(dataclasses.replace(DESCRIPTION, buses=buses))
    with pytest.raises(
        RobotFileError, match=rf"^bus\.{bus}\.protocol: found {protocol}, .*{driven}$"
    ):
        bench.open()


def test_return_delay_is_told_and_refused_only_where_it_eats_the_period() -> None:
    bench = Bench()
    for id in IDS:
        bench.motors.put(id, x.RETURN_DELAY, 250)
    notes = bench.open().read().wire_notes
    assert any("return delay of 500 µs" in note for note in notes)
    fast = Bench(dataclasses.replace(DESCRIPTION, control_period=0.01))
    for id in IDS:
        fast.motors.put(id, x.RETURN_DELAY, 250)
    with pytest.raises(DeviceError, match=r"found 9\.\d ms a tick.*allowed is half .* 5\.0 ms"):
        fast.open()


def test_without_fast_sync_read_plain_ones_are_used(bench: Bench) -> None:
    bench.motors.fast = False
    robot = bench.open()
    before = len(bench.motors.seen(Instruction.FAST_SYNC_READ))
    sample = robot.read()
    assert len(bench.motors.seen(Instruction.FAST_SYNC_READ)) == before
    assert any("no fast sync read" in note for note in sample.wire_notes)
    np.testing.assert_allclose(sample.joint_pos, REST, atol=x.RADIANS_PER_COUNT)
    # 10 bits for each of 26 + 252 bytes or, every other tick, of two more a motor; then the slow
    # read of one motor, 14 + 23 bytes.
    times = sorted(bench.tick().bus_time / BYTE_TIME for _ in range(2))
    assert times == pytest.approx([26 + 252 + 37, 26 + 276 + 37], rel=1e-6)


# --- reading --------------------------------------------------------------------------------------


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


def shift(bench: Bench, id: int, counts: int) -> None:
    bench.motors.put(id, x.PRESENT_POSITION, bench.motors.get(id, x.PRESENT_POSITION) + counts)


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


def test_alerts_take_no_turn_of_the_slow_read(bench: Bench) -> None:
    """12 motors in 12 ticks, 0.24 s, with an alert of all as with none."""
    robot = bench.open()
    robot.write(track())
    for id in IDS:
        bench.motors.put(id, x.HARDWARE_ERROR, x.HardwareError.INPUT_VOLTAGE)
    bench.motors.alert = set(IDS)
    bench.tick()
    bench.motors.requests.clear()
    for _ in range(24):
        bench.tick()
    asked = [packet.id for packet in bench.motors.seen(Instruction.READ)]
    assert sorted(asked[:12]) == list(IDS) and asked[:12] == asked[12:]


def test_what_comes_on_top_of_an_alert_of_the_supply_is_known_at_once(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    for id in IDS:
        bench.motors.put(id, x.HARDWARE_ERROR, x.HardwareError.INPUT_VOLTAGE)
    bench.motors.alert = set(IDS)
    bench.tick()
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


# --- commanding -----------------------------------------------------------------------------------


def order_of(bench: Bench) -> list[int]:
    """Addresses of the sync writes so far."""
    return [
        struct.unpack_from("<H", p.params)[0] for p in bench.motors.seen(Instruction.SYNC_WRITE)
    ]


def test_enabling_in_order_and_read_back(bench: Bench) -> None:
    for id in IDS:  # as a tool may have left them
        bench.motors.put(id, x.FEEDFORWARD_1ST_GAIN, 300)
        bench.motors.put(id, x.FEEDFORWARD_2ND_GAIN, 40)
    robot = bench.open()
    bench.motors.requests.clear()
    robot.write(track(0.1, cap=2.0))
    assert order_of(bench) == [98, 168, 80, 88, 108, 100, 224, 98, 64, 224]
    for id in IDS:
        get = bench.motors.get
        # 13.8 N·m/rad / 0.01725 and 0.37 N·m·s/rad / 0.0005.
        assert (get(id, x.POSITION_P_GAIN), get(id, x.POSITION_D_GAIN)) == (800, 740)
        assert get(id, x.POSITION_I_GAIN) == 0
        assert (get(id, x.FEEDFORWARD_1ST_GAIN), get(id, x.FEEDFORWARD_2ND_GAIN)) == (0, 0)
        assert get(id, x.BUS_WATCHDOG) == 5  # 0.1 s
        assert get(id, x.GOAL_PWM) == 885
        assert get(id, x.TORQUE_ENABLE) == 1
        # 2 N·m / (3.0/2.3 N·m/A) / 2.69 mA = 570.01.
        assert get(id, x.GOAL_CURRENT) == 570
    # The goal written before torque was the present position, the one after it the target.
    goals = [p for p in bench.motors.seen(Instruction.SYNC_WRITE) if p.params[0] == 224]
    present = [bench.motors.get(id, x.PRESENT_POSITION) for id in IDS]
    for packet, offset in zip(goals, (0.0, 0.1), strict=True):
        rows = [struct.unpack_from("<Bhi", packet.params, 4 + 7 * i) for i in range(12)]
        signs = [joint.motor.sign for joint in DESCRIPTION.joints]
        for (_, _, goal), here, sign in zip(rows, present, signs, strict=True):
            assert goal == pytest.approx(here + sign * offset / x.RADIANS_PER_COUNT, abs=1)


@pytest.mark.parametrize("address", [64, 84, 90, 98, 116])
def test_a_register_that_does_not_take_is_refused_and_torque_stays_off(
    bench: Bench, address: int
) -> None:
    for id in IDS:
        bench.motors.put(id, x.FEEDFORWARD_1ST_GAIN, 300)
    robot = bench.open()
    bench.motors.read_only = {address}
    bench.motors.place(REST)
    with pytest.raises(EnableRefused, match=r"motor of front_left_hip_\w+ \(ID \d .*after writing"):
        robot.write(track())
    assert all(bench.motors.get(id, x.TORQUE_ENABLE) == 0 for id in IDS)


def test_hardware_error_refuses_torque(bench: Bench) -> None:
    robot = bench.open()
    bench.motors.put(7, x.HARDWARE_ERROR, 0x04)
    with pytest.raises(EnableRefused, match=r"rear_left_hip_roll.*OVERHEATING.*power-cycle"):
        robot.write(track())


def test_a_motor_lost_while_enabling_switches_all_off(bench: Bench) -> None:
    robot = bench.open()

    def unplug(request: Packet, reply: bytes) -> bytes:
        if request.instruction == Instruction.SYNC_WRITE and request.params[0] == 64:
            bench.motors.silent = {12}
        return reply

    bench.motors.mangle = unplug
    with pytest.raises(
        EnableRefused, match=r"ID 12 .*torque enable .*: no answer after writing it"
    ):
        robot.write(track())
    assert all(bench.motors.get(id, x.TORQUE_ENABLE) == 0 for id in range(1, 12))
    assert robot.torque_left_on == ("rear_right_knee",)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["target", "torque_cap"])
def test_nothing_is_written_for_a_command_that_is_not_finite(
    bench: Bench, where: str, bad: float
) -> None:
    robot = bench.open()
    robot.write(track())
    bench.motors.requests.clear()
    arrays = {"target": REST.copy(), "torque_cap": np.full(12, 1.0)}
    arrays[where][4] = bad
    with pytest.raises(NonFiniteError, match=rf"{where}\[4\]"):
        robot.write(Command(Mode.TRACK, **arrays))
    assert bench.motors.requests == []


def test_wrong_shapes_and_missing_targets_are_refused(bench: Bench) -> None:
    robot = bench.open()
    with pytest.raises(UsageError, match=r"target: found shape \(11,\), allowed is \(12,\)"):
        robot.write(Command(Mode.TRACK, REST[:11]))
    with pytest.raises(UsageError, match=r"torque_cap: found shape \(\), allowed is \(12,\)"):
        robot.write(Command(Mode.HOLD, torque_cap=np.array(1.0)))
    with pytest.raises(UsageError, match="target: TRACK needs one"):
        Command(Mode.TRACK)
    assert not bench.motors.seen(Instruction.SYNC_WRITE)[1:], "but the indirect addresses"


def test_caps_stay_within_the_devices_limit(bench: Bench) -> None:
    bench.motors.put(1, x.CURRENT_LIMIT, 300)
    robot = bench.open()
    robot.write(track(cap=2.0))
    assert bench.motors.get(1, x.GOAL_CURRENT) == 300
    robot.write(track(cap=0.0))
    assert bench.motors.get(1, x.GOAL_CURRENT) == 0


def test_hold_damp_and_off(bench: Bench) -> None:
    robot = bench.open()
    get = bench.motors.get
    robot.write(track(-0.05))
    goal = get(1, x.GOAL_POSITION)
    robot.write(Command(Mode.HOLD, torque_cap=np.full(12, 1.0)))
    assert get(1, x.GOAL_POSITION) == goal and get(1, x.GOAL_CURRENT) == 285
    bench.motors.requests.clear()
    for _ in range(5):
        robot.write(Command(Mode.DAMP, torque_cap=np.full(12, 0.5)))
    # Gains before goals, and with every command: a sync write has no reply.
    assert order_of(bench) == [80, 224] * 5
    assert get(1, x.POSITION_P_GAIN) == 0
    assert get(1, x.POSITION_D_GAIN) == 1600  # 0.8 N·m·s/rad / 0.0005
    assert get(1, x.GOAL_CURRENT) == 142
    bench.motors.requests.clear()
    robot.write(track())
    # Back to stiffness: the new goal first, so that nothing pulls to the old one.
    assert order_of(bench) == [224, 80]
    assert get(1, x.POSITION_P_GAIN) == 800
    robot.write(Command(Mode.OFF))
    assert all(get(id, x.TORQUE_ENABLE) == 0 for id in IDS)


def test_a_line_that_is_dead_when_damping_begins_yields_once_it_is_back(bench: Bench) -> None:
    """A connector that bounces: all motors are silent in the first 10 ticks of DAMP."""
    robot = bench.open()
    robot.write(track())
    bench.motors.silent = set(IDS)
    for _ in range(10):
        bench.tick()
        robot.write(Command(Mode.DAMP))
    assert [bench.motors.get(id, x.POSITION_P_GAIN) for id in IDS] == [800] * 12
    bench.motors.silent = set()
    bench.tick()
    robot.write(Command(Mode.DAMP))
    assert [bench.motors.get(id, x.POSITION_P_GAIN) for id in IDS] == [0] * 12
    assert [bench.motors.get(id, x.POSITION_D_GAIN) for id in IDS] == [1600] * 12


def test_a_motor_that_misses_the_way_back_from_damping_is_told_of(bench: Bench) -> None:
    robot = bench.open()
    robot.write(Command(Mode.DAMP))
    bench.motors.silent = {5}
    for _ in range(4):
        bench.tick()
        robot.write(track())
    bench.motors.silent = set()
    for _ in range(13):
        sample = bench.tick()
        robot.write(track())
    assert np.flatnonzero(~sample.health.torque_on).tolist() == [4]


def test_a_tick_of_damping_fits_into_three_quarters_of_the_period() -> None:
    """On the slowest bus that is accepted; the gains come on top of what is checked."""
    # 26 + 176 bytes are asked and answered, 98 of goals sent: 3.24 ms with the turnarounds.
    with pytest.raises(DeviceError, match=r"found 3\.2 ms a tick.*allowed is half .* 3\.2 ms"):
        Bench(dataclasses.replace(DESCRIPTION, control_period=0.0064)).open()
    period = 0.0066
    bench = Bench(dataclasses.replace(DESCRIPTION, control_period=period))
    robot = bench.open()
    robot.write(Command(Mode.DAMP))
    bench.tick()
    busy = bench.tick().bus_time  # of one command and one reading; 98 bytes more are gains
    assert busy < 0.75 * period


def test_hold_after_damp_holds_where_the_robot_sank_to(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    robot.write(Command(Mode.DAMP))
    for joint in DESCRIPTION.joints:
        shift(bench, joint.motor.id, 196 * joint.motor.sign)  # 0.3 rad
    robot.read()
    robot.write(Command(Mode.HOLD))
    goals = [bench.motors.get(id, x.GOAL_POSITION) for id in IDS]
    assert goals == [bench.motors.get(id, x.PRESENT_POSITION) for id in IDS]


def test_first_command_damp_enables_damped(bench: Bench) -> None:
    robot = bench.open()
    robot.write(Command(Mode.DAMP))
    assert bench.motors.get(1, x.POSITION_P_GAIN) == 0
    assert bench.motors.get(1, x.TORQUE_ENABLE) == 1


def test_off_is_repeated_until_it_is_seen(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    bench.motors.silent = {6}
    bench.motors.requests.clear()
    robot.write(Command(Mode.OFF))
    assert order_of(bench) == [64, 64, 64]
    assert any("torque not seen off: ID 6" in note for note in robot.read().wire_notes)
    assert robot.torque_left_on == ("front_right_knee",)
    bench.motors.silent = set()
    robot.write(Command(Mode.OFF))
    assert robot.torque_left_on == ()


def test_a_motor_that_ignores_off_is_named(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    bench.motors.read_only = {x.TORQUE_ENABLE.address}
    robot.write(Command(Mode.OFF))
    assert robot.torque_left_on == DESCRIPTION.joint_names


def test_tripped_watchdog_is_cleared_by_enabling_again(bench: Bench) -> None:
    robot = bench.open()
    robot.write(track())
    for id in IDS:
        bench.motors.put(id, x.BUS_WATCHDOG, x.WATCHDOG_TRIPPED)
    robot.write(Command(Mode.OFF))
    robot.write(track())
    assert bench.motors.get(1, x.BUS_WATCHDOG) == 5
