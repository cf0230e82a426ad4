"""The serial robot with motors in mode 0: goal currents, and loops that the host closes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import Instruction
from surefoot.hardware.interface import Command, Mode
from surefoot.hardware.outputs import why_not
from surefoot.models.errors import DeviceError, NonFiniteError, UsageError
from wire_bench import DESCRIPTION, IDS, Bench, track

N = 12
SIGNS = np.array([joint.motor.sign for joint in DESCRIPTION.joints])
PERIOD = DESCRIPTION.control_period


def push(torque: float, cap: float | None = None) -> Command:
    caps = None if cap is None else np.full(N, cap)
    return Command(Mode.TORQUE, torque=np.full(N, torque), torque_cap=caps)


def currents(bench: Bench) -> np.ndarray:
    """Goal currents, in the joints' order and sense [units]."""
    return SIGNS * [bench.motors.get(id, x.GOAL_CURRENT) for id in IDS]


def turning(bench: Bench, velocity: float) -> None:
    """Let all joints turn at so much [rad/s]."""
    for id, sign in zip(IDS, SIGNS, strict=True):
        bench.motors.put(id, x.PRESENT_VELOCITY, round(sign * velocity / x.VELOCITY_UNIT))


@pytest.fixture
def bench() -> Bench:
    return Bench(output="joint_torque")


def test_motors_in_another_mode_are_refused_and_left_in_it(bench: Bench):
    bench.motors.put(3, x.OPERATING_MODE, 5)
    message = "operating mode 5, allowed is 0, current, for joint torques; it lies in EEPROM"
    with pytest.raises(DeviceError, match=message):
        bench.open()
    assert not bench.motors.seen(Instruction.SYNC_WRITE)
    other = Bench()
    other.motors.put(3, x.OPERATING_MODE, 0)
    with pytest.raises(DeviceError, match="operating mode 0, allowed is 5, current-based position"):
        other.open()


def test_torque_comes_on_with_no_current_and_the_watchdog_armed(bench: Bench):
    robot = bench.open()
    for id in IDS:
        bench.motors.put(id, x.GOAL_CURRENT, 1193)  # as after a change of the mode
    robot.write(push(0.0))
    assert [bench.motors.get(id, x.TORQUE_ENABLE) for id in IDS] == [1] * N
    assert [bench.motors.get(id, x.BUS_WATCHDOG) for id in IDS] == [5] * N
    assert not currents(bench).any()
    writes = [p.params[:4] for p in bench.motors.seen(Instruction.SYNC_WRITE)]
    addresses = [int.from_bytes(p[:2], "little") for p in writes]
    zeroed, enabled = addresses.index(x.GOAL_CURRENT.address), addresses.index(64)
    assert zeroed < enabled, "no old current is ever felt"
    assert x.POSITION_D_GAIN.address not in addresses, "there are no gains to send"
    robot.read()
    assert robot.read().health.torque_on.all()


@pytest.mark.parametrize(
    # 3 N·m at 2.3 A: 1 N·m is 0.76667 A, which is 285.006 units of 2.69 mA; never more than asked.
    ("torque", "cap", "units"),
    [
        (1.0, None, 285),
        (-1.0, None, -285),
        (0.0, None, 0),
        (0.5, None, 142),
        (9.0, None, 570),  # robot.toml's 2 N·m
        (-9.0, 0.5, -142),
        (1.0, 2.0, 285),
    ],
)
def test_torques_are_sent_as_currents_within_the_cap(
    bench: Bench, torque: float, cap: float | None, units: int
):
    robot = bench.open()
    robot.write(push(torque, cap))
    np.testing.assert_array_equal(currents(bench), units)


def test_a_devices_own_current_limit_holds(bench: Bench):
    bench.motors.put(4, x.CURRENT_LIMIT, 100)
    bench.open().write(push(-2.0))
    assert currents(bench)[3] == -100
    assert currents(bench)[4] == -570


def test_damping_pushes_against_the_velocity_that_was_read(bench: Bench):
    robot = bench.open()
    robot.write(push(0.5))
    turning(bench, 2.0)
    bench.tick()
    robot.write(Command(Mode.DAMP))
    # 0.35 N·m·s/rad at 83 · 0.229 rpm = 1.990 rad/s is 0.697 N·m, 198.5 units.
    np.testing.assert_array_equal(currents(bench), -198)


def test_damping_reads_anew_where_nobody_else_has(bench: Bench):
    """As when the loop has failed: by writing alone."""
    robot = bench.open()
    robot.write(push(0.5))
    bench.clock.now += 0.05
    turning(bench, -2.0)
    robot.write(Command(Mode.DAMP))
    np.testing.assert_array_equal(currents(bench), 198)


def test_a_silent_motor_is_damped_by_nothing_rather_than_by_an_old_velocity(bench: Bench):
    robot = bench.open()
    turning(bench, 2.0)
    robot.write(push(0.5))
    bench.tick()
    bench.motors.mangle = lambda request, reply: (
        b"" if request.instruction in (Instruction.FAST_SYNC_READ, Instruction.SYNC_READ) else reply
    )
    bench.clock.now += 0.05
    robot.write(Command(Mode.DAMP))
    assert not currents(bench).any()


def test_targets_are_refused_by_torques_and_torques_by_targets(bench: Bench):
    robot = bench.open()
    sent = len(bench.motors.seen(Instruction.SYNC_WRITE))
    for command in (track(), Command(Mode.HOLD)):
        with pytest.raises(UsageError, match="allowed under joint_torque is OFF, DAMP, TORQUE"):
            robot.write(command)
    with pytest.raises(UsageError, match="torque: found shape"):
        robot.write(Command(Mode.TORQUE, torque=np.zeros(N - 1)))
    assert len(bench.motors.seen(Instruction.SYNC_WRITE)) == sent
    other = Bench().open()
    with pytest.raises(UsageError, match="found TORQUE, allowed under joint_target is OFF, DAMP"):
        other.write(push(0.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_command_holds_a_torque_that_is_no_number(value: float):
    with pytest.raises(NonFiniteError, match=r"torque\[0\]"):
        push(value)


def test_off_is_off(bench: Bench):
    robot = bench.open()
    robot.write(push(0.5))
    robot.write(Command(Mode.OFF))
    assert [bench.motors.get(id, x.TORQUE_ENABLE) for id in IDS] == [0] * N
    assert robot.torque_left_on == ()


@pytest.mark.parametrize("output", ["joint_target", "joint_torque"])
def test_a_robot_without_an_imu_needs_none(output):
    buses = {"motors": DESCRIPTION.buses["motors"]}
    bench = Bench(replace(DESCRIPTION, imu=None, buses=buses), output)
    robot = bench.open()
    sample = bench.tick()
    assert np.isnan([*sample.gyro, *sample.gravity, *sample.acceleration]).all()
    assert np.isnan([sample.imu_age, sample.imu_rate]).all()
    assert np.isfinite(sample.joint_pos).all() and sample.wire_errors == 0
    robot.refresh()
    robot.close()


def test_motors_without_a_current_sensor_take_no_torques():
    model = replace(DESCRIPTION.motor_models["XM430-W210"], name="XL430-W250", model_number=1060)
    robot = replace(DESCRIPTION, motor_models={"XM430-W210": model})
    assert "front_left_hip_roll is an XL430-W250" in why_not(robot, "joint_torque")
    assert why_not(robot, "joint_target") == "" == why_not(DESCRIPTION, "joint_torque")
    light = replace(DESCRIPTION, joints=tuple(replace(j, armature=0.0) for j in DESCRIPTION.joints))
    assert "found armature 0 of front_left_hip_roll" in why_not(light, "joint_torque")
