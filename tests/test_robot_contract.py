"""One contract for all that implements `RobotInterface`: simulated, over serial, and the double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest
from kinematic_robot import FakeClock, KinematicRobot
from surefoot.hardware.emulated.lines import EmulatedLines
from surefoot.hardware.emulated.robot import EmulatedRobot
from surefoot.hardware.interface import Command, Mode, RobotInterface, Sample
from surefoot.hardware.serial_robot import SerialRobot
from surefoot.models.errors import NonFiniteError, UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim.plant import MujocoPlant
from surefoot.sim.simulated_robot import SimulatedRobot

ROBOT = load_robot("quadruped")
IMU = ROBOT.imu
assert IMU is not None
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period
CAP = ROBOT.torque_limit
STANDING = 0.13  # a base above it stands [m]
LYING = 0.09  # a base below it lies [m]
ROLL = 0  # a joint that is free to move where the robot lies
Truth = tuple[np.ndarray, np.ndarray, float]  # joint_pos [rad], joint_torque [N·m], height [m]


class Bench(Protocol):
    """A robot lying switched off, the time around it, and the truth about it."""

    def open(self) -> RobotInterface: ...

    def now(self) -> float: ...

    def wait_until(self, time: float) -> None: ...

    def truth(self) -> Truth: ...


class Simulated:
    def __init__(self) -> None:
        self.robot = SimulatedRobot(ROBOT)
        self.now, self.wait_until = self.robot.now, self.robot.sleep_until

    def open(self) -> RobotInterface:
        return self.robot

    def truth(self) -> Truth:
        robots = self.robot.robots
        qpos = robots.qpos[0].copy()
        return qpos[7:], robots.joint_torque[0].copy(), float(qpos[2])


class Serial:
    """The driver of real robots, the wire's bytes, and emulated devices before a plant."""

    def __init__(self) -> None:
        self.emulated = EmulatedRobot(ROBOT, MujocoPlant(ROBOT))
        self.lines = EmulatedLines(self.emulated)
        self.now, self.wait_until = self.lines.clock, self.lines.wait_until

    def open(self) -> RobotInterface:
        return SerialRobot(ROBOT, self.lines.transports, self.lines.clock)

    def truth(self) -> Truth:
        state = self.emulated.plant.state
        torque = self.emulated.joint_torque.copy()
        return state.joint_pos, torque, float(state.base_position[2])


class Kinematic:
    """Has neither weight nor torque: what needs physics is not asked of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.robot = KinematicRobot(ROBOT, self.clock)
        self.now, self.wait_until = self.clock.now, self.clock.sleep_until

    def open(self) -> RobotInterface:
        return self.robot

    def truth(self) -> Truth:
        return self.robot.joint_pos.copy(), np.zeros(N), np.nan


Make = Callable[[], Bench]
every_robot = pytest.mark.parametrize("make", [Simulated, Serial, Kinematic])
with_physics = pytest.mark.parametrize("make", [Simulated, Serial])


def drive(
    bench: Bench, robot: RobotInterface, seconds: float, command: Command | None = None
) -> Sample:
    """Tick for a while, with a command in each tick or in none; the last sample."""
    sample = robot.read()
    for _ in range(round(seconds / PERIOD)):
        bench.wait_until(bench.now() + PERIOD)
        sample = robot.read()
        if command is not None:
            robot.write(command)
    return sample


def assert_untouched(bench: Bench, make: Make) -> None:
    """It lies bit for bit as one lies that nobody has opened: limp, sagging as it may."""
    twin = make()
    twin.wait_until(bench.now())
    joint_pos, torque, _ = bench.truth()
    np.testing.assert_array_equal(joint_pos, twin.truth()[0])
    np.testing.assert_array_equal(torque, 0.0)


def stand_up(bench: Bench, robot: RobotInterface) -> None:
    for share in np.linspace(0.0, 1.0, 50):
        target = ROBOT.rest_pose + share * (ROBOT.default_pose - ROBOT.rest_pose)
        drive(bench, robot, PERIOD, Command(Mode.TRACK, target, CAP))
    drive(bench, robot, 0.4, Command(Mode.TRACK, ROBOT.default_pose, CAP))
    assert bench.truth()[2] > STANDING


def rolled(angle: float) -> np.ndarray:
    """The lying pose with one leg swung out, which is free to move there."""
    target = ROBOT.rest_pose.copy()
    target[ROLL] += angle
    return target


# --- what every robot does --------------------------------------------------------------------


@every_robot
def test_opening_and_reading_never_move_it(make: Make):
    bench = make()
    drive(bench, bench.open(), 0.4)
    assert_untouched(bench, make)


@every_robot
def test_a_sample_has_shapes_types_and_si_units(make: Make):
    bench = make()
    robot = bench.open()
    sample = drive(bench, robot, 0.6)  # so long that health has come from every motor
    for name in ("joint_pos", "joint_vel", "joint_torque", "age"):
        value = getattr(sample, name)
        assert (name, value.shape, value.dtype) == (name, (N,), np.float64)
    for name in ("gyro", "gravity", "acceleration"):
        value = getattr(sample, name)
        assert (name, value.shape, value.dtype) == (name, (3,), np.float64)
    health = sample.health
    for value, kind in (
        (sample.alert, bool),
        (sample.encoder_jump, bool),
        (health.voltage, np.float64),
        (health.temperature, np.float64),
        (health.error_bits, np.uint8),
        (health.watchdog_tripped, bool),
        (health.age, np.float64),
        (health.torque_on, bool),
    ):
        assert (value.shape, value.dtype) == ((N,), np.dtype(kind))
    # Lying still on its belly, healthy.
    np.testing.assert_allclose(sample.joint_pos, bench.truth()[0], atol=0.005)
    np.testing.assert_allclose(sample.joint_vel, 0.0, atol=0.1)
    np.testing.assert_allclose(sample.joint_torque, 0.0, atol=0.02)
    np.testing.assert_allclose(sample.gyro, 0.0, atol=0.1)
    assert np.linalg.norm(sample.gravity) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(sample.gravity, [0, 0, -1], atol=0.1)
    np.testing.assert_allclose(sample.acceleration, [0, 0, 9.81], atol=1.0)
    assert sample.time == pytest.approx(bench.now(), abs=PERIOD)
    assert ((sample.age >= 0) & (sample.age < PERIOD)).all()
    assert 0 <= sample.imu_age < PERIOD
    np.testing.assert_allclose(health.voltage, 12.0, atol=1.5)
    assert ((health.temperature > 10) & (health.temperature < 50)).all()
    assert not (sample.alert.any() or health.error_bits.any() or health.watchdog_tripped.any())
    assert not (sample.encoder_jump.any() or health.torque_on.any())
    assert ((health.age >= 0) & (health.age < 0.5)).all()
    assert sample.imu_rate == pytest.approx(IMU.rate, rel=0.1)


@every_robot
def test_a_sample_stays_as_it_was_read(make: Make):
    bench = make()
    robot = bench.open()
    sample = robot.read()
    kept = sample.joint_pos.copy()
    drive(bench, robot, 0.4, Command(Mode.TRACK, rolled(0.3), CAP))
    np.testing.assert_array_equal(sample.joint_pos, kept)


@every_robot
def test_time_passes_between_samples(make: Make):
    bench = make()
    robot = bench.open()
    first = robot.read().time
    assert drive(bench, robot, 5 * PERIOD).time == pytest.approx(first + 5 * PERIOD, abs=PERIOD)


@every_robot
@pytest.mark.parametrize("angle", [0.3, -0.3])
def test_the_first_track_moves_towards_its_target(make: Make, angle: float):
    bench = make()
    robot = bench.open()
    before = bench.truth()[0]
    sample = drive(bench, robot, 0.6, Command(Mode.TRACK, rolled(angle), CAP))
    after = bench.truth()[0]
    assert after[ROLL] - before[ROLL] == pytest.approx(angle, abs=0.06)
    np.testing.assert_allclose(np.delete(after - before, ROLL), 0.0, atol=0.1)
    np.testing.assert_allclose(sample.joint_pos, after, atol=0.01)


@every_robot
def test_hold_keeps_the_last_target(make: Make):
    bench = make()
    robot = bench.open()
    drive(bench, robot, 0.6, Command(Mode.TRACK, rolled(0.3), CAP))
    before = bench.truth()[0]
    drive(bench, robot, 0.6, Command(Mode.HOLD, torque_cap=CAP))
    np.testing.assert_allclose(bench.truth()[0], before, atol=0.02)


@every_robot
@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.DAMP, Mode.OFF])
def test_a_first_command_without_a_target_moves_nothing(make: Make, mode: Mode):
    bench = make()
    robot = bench.open()
    before = bench.truth()[0]
    drive(bench, robot, 0.4, Command(mode, torque_cap=CAP))
    np.testing.assert_allclose(bench.truth()[0], before, atol=0.02)


@every_robot
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_target_that_is_not_finite_is_refused_before_anything_moves(make: Make, bad: float):
    bench = make()
    robot = bench.open()
    target = rolled(0.3)
    target[-1] = bad
    with pytest.raises(NonFiniteError, match=r"target\[11\]: found (nan|inf)"):
        robot.write(Command(Mode.TRACK, target, CAP))
    drive(bench, robot, 0.4)
    assert_untouched(bench, make)  # not even switched on


@every_robot
@pytest.mark.parametrize("mode", [Mode.TRACK, Mode.DAMP])
def test_arrays_of_another_shape_are_refused_before_anything_moves(make: Make, mode: Mode):
    bench = make()
    robot = bench.open()
    with pytest.raises(UsageError, match=r"torque_cap: found shape \(11,\), allowed is \(12,\)"):
        robot.write(Command(mode, ROBOT.default_pose, CAP[:11]))
    with pytest.raises(UsageError, match=r"target: found shape \(1, 12\), allowed is \(12,\)"):
        robot.write(Command(mode, ROBOT.default_pose[None], CAP))
    drive(bench, robot, 0.4)
    assert_untouched(bench, make)


@pytest.mark.parametrize("mode", Mode)
def test_a_command_holds_what_may_be_sent_or_is_none(mode: Mode):
    target, torque = ROBOT.default_pose.copy(), CAP if mode is Mode.TORQUE else None
    command = Command(mode, target, CAP, torque)
    target[0] = np.nan  # it keeps a copy
    assert command.target is not None and np.isfinite(command.target).all()
    with pytest.raises(ValueError, match="read-only"):
        command.target[0] = np.nan
    with pytest.raises(NonFiniteError, match=r"target\[0\]: found nan"):
        Command(mode, target, torque=torque)
    with pytest.raises(NonFiniteError, match=r"torque_cap\[11\]: found inf"):
        Command(mode, ROBOT.default_pose, np.append(CAP[:11], np.inf), torque)
    with pytest.raises(NonFiniteError, match=r"torque\[0\]: found nan"):
        Command(mode, ROBOT.default_pose, torque=target)
    if mode is Mode.TORQUE:
        with pytest.raises(UsageError, match="torque: TORQUE needs one"):
            Command(mode)
    elif mode is Mode.TRACK:
        with pytest.raises(UsageError, match="target: TRACK needs one"):
            Command(mode)
    else:
        assert Command(mode).target is None


@every_robot
def test_torque_is_told_as_it_is(make: Make):
    bench = make()
    robot = bench.open()
    assert not robot.found_torque_on
    drive(bench, robot, 2 * PERIOD, Command(Mode.HOLD, torque_cap=CAP))
    assert robot.read().health.torque_on.all()
    robot.write(Command(Mode.OFF))
    assert not robot.read().health.torque_on.any()
    assert robot.torque_left_on == ()


@every_robot
def test_refreshing_moves_nothing_and_leaves_nothing_unknown(make: Make):
    bench = make()
    robot = bench.open()
    robot.refresh()
    sample = robot.read()
    assert np.isfinite(sample.health.voltage).all() and np.isfinite(sample.imu_rate)
    assert (sample.health.age < 0.5).all() and (sample.age < PERIOD).all()
    drive(bench, robot, 0.4)
    assert_untouched(bench, make)


@every_robot
def test_closing_twice_is_closing_once(make: Make):
    robot = make().open()
    robot.close()
    robot.close()


# --- what takes physics -----------------------------------------------------------------------


@with_physics
def test_a_torque_cap_that_is_not_finite_is_refused(make: Make):
    bench = make()
    robot = bench.open()
    cap = CAP.copy()
    cap[3] = np.nan
    with pytest.raises(NonFiniteError, match=r"torque_cap\[3\]: found nan"):
        robot.write(Command(Mode.TRACK, rolled(0.3), cap))
    drive(bench, robot, 0.4)
    assert_untouched(bench, make)


@with_physics
def test_off_is_limp(make: Make):
    bench = make()
    robot = bench.open()
    stand_up(bench, robot)
    sample = drive(bench, robot, 0.5, Command(Mode.OFF))
    _, torque, height = bench.truth()
    np.testing.assert_array_equal(torque, 0.0)
    np.testing.assert_allclose(sample.joint_torque, 0.0, atol=0.02)
    assert height < LYING


@with_physics
def test_damp_resists_and_then_sinks(make: Make):
    heights = {}
    for mode in (Mode.DAMP, Mode.OFF):
        bench = make()
        robot = bench.open()
        stand_up(bench, robot)
        heights[mode] = []
        for _ in range(75):
            drive(bench, robot, PERIOD, Command(mode, torque_cap=CAP))
            heights[mode].append(bench.truth()[2])
    damped, limp = (np.array(heights[mode]) for mode in (Mode.DAMP, Mode.OFF))
    assert damped[-1] < LYING, "it sinks"
    lying = [int(np.argmax(height < LYING)) for height in (damped, limp)]
    assert lying[0] > 1.5 * lying[1], "more slowly than it would fall"
    assert (np.diff(damped) / PERIOD).min() > (np.diff(limp) / PERIOD).min()


@with_physics
def test_hold_carries_the_robot(make: Make):
    bench = make()
    robot = bench.open()
    stand_up(bench, robot)
    drive(bench, robot, 1.0, Command(Mode.HOLD, torque_cap=CAP))
    joint_pos, torque, height = bench.truth()
    assert height > STANDING
    np.testing.assert_allclose(joint_pos, ROBOT.default_pose, atol=0.15)
    assert np.abs(torque).sum() > 1.0, "which takes torque"


@with_physics
def test_hold_after_damp_stays_where_it_has_sunk_to(make: Make):
    bench = make()
    robot = bench.open()
    stand_up(bench, robot)
    drive(bench, robot, 1.5, Command(Mode.DAMP, torque_cap=CAP))
    before = bench.truth()[0]
    drive(bench, robot, 0.5, Command(Mode.HOLD, torque_cap=CAP))
    after, _, height = bench.truth()
    np.testing.assert_allclose(after, before, atol=0.05)
    assert height < LYING


@with_physics
def test_the_torque_cap_holds(make: Make):
    bench = make()
    robot = bench.open()
    cap = np.full(N, 0.5)
    for _ in range(20):
        drive(bench, robot, PERIOD, Command(Mode.TRACK, ROBOT.default_pose, cap))
        assert (np.abs(bench.truth()[1]) < 0.55).all()
    assert (np.abs(bench.truth()[1]) > 0.45).any(), "and it acts"


@with_physics
def test_signs_agree_from_joint_to_joint(make: Make):
    """Each joint alone, in the air of its own leg: what is asked of it is what it does."""
    bench = make()
    robot = bench.open()
    for index, joint in enumerate(ROBOT.joints):
        if not joint.name.endswith("roll"):
            continue
        before = bench.truth()[0]
        target = ROBOT.rest_pose.copy()
        target[index] += 0.25
        sample = drive(bench, robot, 0.5, Command(Mode.TRACK, target, CAP))
        moved = bench.truth()[0] - before
        assert int(np.argmax(moved)) == index, joint.name
        np.testing.assert_allclose(sample.joint_pos, bench.truth()[0], atol=0.01)


@with_physics
def test_velocity_is_the_rate_of_the_angle(make: Make):
    bench = make()
    robot = bench.open()
    stand_up(bench, robot)
    samples = []
    for tick in range(50):
        target = ROBOT.default_pose + 0.15 * np.sin(2 * np.pi * tick / 50)
        target[0::3] = 0.0
        samples.append(drive(bench, robot, PERIOD, Command(Mode.TRACK, target, CAP)))
    angle = np.array([sample.joint_pos for sample in samples])
    velocity = np.array([sample.joint_vel for sample in samples])
    times = np.array([sample.time for sample in samples])
    rate = np.gradient(angle, times, axis=0)[5:-5]
    knees = slice(2, None, 3)
    assert np.abs(rate[:, knees]).max() > 0.3, "it moved"
    np.testing.assert_allclose(velocity[5:-5, knees], rate[:, knees], atol=0.35)
