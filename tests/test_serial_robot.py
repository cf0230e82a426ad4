"""The serial robot on motors in memory: opening, enabling, commanding."""

import dataclasses
import struct

import numpy as np
import pytest
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import (
    Instruction,
    Packet,
)
from surefoot.hardware.interface import Command, Mode
from surefoot.models.errors import (
    DeviceError,
    EnableRefused,
    NonFiniteError,
    RobotFileError,
    UsageError,
)
from wire_bench import BYTE_TIME, DESCRIPTION, IDS, REST, Bench, shift, track


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
