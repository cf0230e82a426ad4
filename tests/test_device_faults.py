"""What the serial robot makes of devices that fail, on emulated ones within this process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import Decision, Fault, State, Verdict
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import Instruction, take_packet
from surefoot.hardware.emulated.lines import EmulatedLine, EmulatedLines
from surefoot.hardware.emulated.robot import EmulatedRobot
from surefoot.hardware.interface import Command, Mode, Sample
from surefoot.hardware.serial_robot import SerialRobot
from surefoot.models.errors import DeviceError, EnableRefused
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot
from surefoot.sim.plant import MujocoPlant

ROBOT = load_robot("quadruped")
IMU = ROBOT.imu
assert IMU is not None
NAMES = ROBOT.joint_names
N = len(NAMES)
CAP = ROBOT.torque_limit
HOLD = Command(Mode.HOLD, torque_cap=CAP)
OFF = Command(Mode.OFF)


def on_two_buses(robot: Robot) -> Robot:
    """The front legs on one bus, the rear legs on another."""
    buses = dict(robot.buses)
    motors = buses.pop("motors")
    for name in ("front", "rear"):
        buses[name] = dataclasses.replace(motors, name=name)
    joints = [
        dataclasses.replace(
            joint, motor=dataclasses.replace(joint.motor, bus=joint.name.split("_")[0])
        )
        for joint in robot.joints
    ]
    return dataclasses.replace(robot, buses=buses, joints=tuple(joints))


class Line:
    """A transport that a test can unplug, or make lose what the host says."""

    def __init__(self, line: EmulatedLine) -> None:
        self.name, self.baud_rate = line.name, line.baud_rate
        self.unplugged = False
        self.loses: Callable[[bytes], bool] = lambda data: False
        self._line = line

    def write(self, data: bytes) -> None:
        self._plugged()
        if not self.loses(data):
            self._line.write(data)

    def read(self, deadline: float) -> bytes:
        self._plugged()
        return self._line.read(deadline)

    def close(self) -> None:
        pass

    def _plugged(self) -> None:
        if self.unplugged:
            raise DeviceError(f"port {self.name}: the device is gone")


class Bench:
    """An emulated robot lying limp, the driver on its lines, and a clock."""

    def __init__(self, robot: Robot = ROBOT, imu_rate: float = IMU.rate) -> None:
        imu = dataclasses.replace(IMU, rate=imu_rate)
        emulated = dataclasses.replace(robot, imu=imu)
        self.emulated = EmulatedRobot(emulated, MujocoPlant(ROBOT))
        self.clock = EmulatedLines(self.emulated)
        self.lines = {name: Line(line) for name, line in self.clock.transports.items()}
        self.robot = SerialRobot(robot, self.lines, self.clock.clock)

    def tick(self, command: Command | None = None, ticks: int = 1) -> Sample:
        for _ in range(ticks):
            self.clock.wait_until(self.clock.clock() + ROBOT.control_period)
            sample = self.robot.read()
            if command is not None:
                self.robot.write(command)
        return sample

    def registers(self, register: x.Register) -> list[int]:
        """Of all motors, in the joints' order."""
        return [motor.table.get(register) for motor in self.emulated.motors]


# --- two buses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", ["front", "rear"])
def test_a_dead_bus_keeps_damp_and_off_from_no_other(dead: str) -> None:
    bench = Bench(on_two_buses(ROBOT))
    bench.tick(HOLD, ticks=3)
    assert bench.registers(x.TORQUE_ENABLE) == [1] * N
    bench.lines[dead].unplugged = True
    with pytest.raises(DeviceError, match=f"port {dead}: the device is gone"):
        bench.robot.read()
    with pytest.raises(DeviceError, match=f"port {dead}: the device is gone"):
        bench.robot.write(Command(Mode.DAMP, torque_cap=CAP))
    stiff = [gain > 0 for gain in bench.registers(x.POSITION_P_GAIN)]
    assert stiff == [name.startswith(dead) for name in NAMES]
    with pytest.raises(DeviceError, match=f"port {dead}: the device is gone"):
        bench.robot.write(OFF)
    assert bench.registers(x.TORQUE_ENABLE) == [int(name.startswith(dead)) for name in NAMES]
    assert bench.robot.torque_left_on == tuple(n for n in NAMES if n.startswith(dead))
    bench.lines[dead].unplugged = False
    bench.robot.write(OFF)
    assert bench.robot.torque_left_on == ()


def address_of(data: bytes, instruction: Instruction) -> int:
    """The first address of such a request; -1 for any other."""
    packet, _, _ = take_packet(data)
    if packet is None or packet.instruction != instruction:
        return -1
    return int.from_bytes(packet.params[:2], "little")


def test_a_motor_of_the_second_bus_that_refuses_leaves_none_of_the_first_on() -> None:
    bench = Bench(on_two_buses(ROBOT))
    first_had_torque: list[bool] = []

    def loses(data: bytes) -> bool:
        """What would switch on the rear legs."""
        if address_of(data, Instruction.SYNC_WRITE) != x.TORQUE_ENABLE.address:
            return False
        first_had_torque.append(bench.registers(x.TORQUE_ENABLE)[:6] == [1] * 6)
        return True

    bench.lines["rear"].loses = loses
    with pytest.raises(EnableRefused, match=r"rear_left_hip_roll.*torque enable"):
        bench.robot.write(HOLD)
    assert first_had_torque[0]
    assert bench.registers(x.TORQUE_ENABLE) == [0] * N
    assert bench.robot.torque_left_on == ()


def test_a_hardware_error_on_the_second_bus_is_found_before_any_torque() -> None:
    bench = Bench(on_two_buses(ROBOT))
    bench.emulated.motors[-1].table.set(x.HARDWARE_ERROR, x.HardwareError.OVERLOAD)
    written: list[int] = []
    bench.lines["front"].loses = lambda data: (
        written.append(address_of(data, Instruction.SYNC_WRITE)) or False
    )
    with pytest.raises(EnableRefused, match=r"rear_right_knee.*OVERLOAD"):
        bench.robot.write(HOLD)
    assert x.TORQUE_ENABLE.address not in written
    assert bench.registers(x.TORQUE_ENABLE) == [0] * N


def test_no_watchdog_runs_while_another_bus_is_prepared() -> None:
    """A second bus may take longer to prepare than the first one's watchdog waits."""
    bench = Bench(on_two_buses(ROBOT))
    lost = 0

    def loses(data: bytes) -> bool:
        """Two of three requests for what was written: the host waits for it and asks again."""
        nonlocal lost
        lost += address_of(data, Instruction.SYNC_READ) >= x.EEPROM_END
        return lost % 3 != 0

    bench.lines["rear"].loses = loses
    began = bench.clock.clock()
    bench.robot.write(HOLD)
    assert bench.clock.clock() - began > 2 * ROBOT.safety.watchdog
    bench.lines["rear"].loses = lambda data: False
    sample = bench.tick(HOLD, ticks=2 * N)
    assert sample.health.torque_on.all() and not sample.health.watchdog_tripped.any()


def test_a_refused_start_leaves_the_torque_of_another_as_it_is() -> None:
    bench = Bench(on_two_buses(ROBOT))
    for motor in bench.emulated.motors[6:]:  # after the robot was opened
        motor.table.set(x.TORQUE_ENABLE, 1)
    assert not bench.robot.found_torque_on
    with pytest.raises(EnableRefused, match=r"bus 'rear': torque is on already \(ID 7, 8, 9"):
        bench.robot.write(HOLD)
    assert bench.registers(x.TORQUE_ENABLE) == [0] * 6 + [1] * 6


def test_a_port_that_goes_while_enabling_is_no_refusal() -> None:
    bench = Bench()
    bench.lines["motors"].unplugged = True
    with pytest.raises(DeviceError, match="the device is gone") as caught:
        bench.robot.write(HOLD)
    assert not isinstance(caught.value, EnableRefused)


# --- what changes without a word ------------------------------------------------------------------


def test_torque_is_known_to_be_on_from_the_enabling() -> None:
    bench = Bench()
    assert not bench.tick(ticks=N).health.torque_on.any()
    bench.tick(HOLD)
    for _ in range(2 * N):
        assert bench.tick(HOLD).health.torque_on.all()
    for _ in range(2 * N):  # softer gains are not lost ones
        assert bench.tick(Command(Mode.DAMP, torque_cap=CAP)).health.torque_on.all()
    bench.robot.write(OFF)
    assert not bench.tick().health.torque_on.any()


def lose_torque(bench: Bench) -> None:
    bench.emulated.motors[4].write(x.TORQUE_ENABLE.address, b"\x00")


def lose_gains(bench: Bench) -> None:
    bench.emulated.motors[4].write(x.POSITION_P_GAIN.address, b"\x00\x00")


def lose_damping(bench: Bench) -> None:
    """P stays: the one of the shipped robot is the one that a motor is switched on with."""
    bench.emulated.motors[4].write(x.POSITION_D_GAIN.address, b"\x00\x00")


def reboot(bench: Bench) -> None:
    """A loose plug: RAM is lost, the indirect addresses too."""
    bench.emulated.motors[4].reboot()


@pytest.mark.parametrize("fail", [lose_torque, lose_gains, lose_damping, reboot])
def test_a_motor_that_goes_limp_without_a_word_is_noticed(fail: Callable[[Bench], None]) -> None:
    bench = Bench()
    bench.tick(HOLD, ticks=3)
    fail(bench)
    boot = round(0.3 / ROBOT.control_period)
    sample = bench.tick(HOLD, ticks=N + boot)
    assert np.flatnonzero(~sample.health.torque_on).tolist() == [4]


def test_a_connector_that_bounces_leaves_the_robot_damped() -> None:
    """Silent for 0.26 s, longer than the watchdogs wait: they refuse goals then, not gains."""
    bench = Bench()
    damp = Command(Mode.DAMP, torque_cap=CAP)
    bench.tick(HOLD, ticks=3)
    bench.lines["motors"].loses = lambda data: True
    bench.tick(HOLD, ticks=5)
    bench.tick(damp, ticks=8)
    assert bench.registers(x.BUS_WATCHDOG) == [x.WATCHDOG_TRIPPED] * N
    assert min(bench.registers(x.POSITION_P_GAIN)) > 0
    bench.lines["motors"].loses = lambda data: False
    bench.tick(damp)
    assert bench.registers(x.POSITION_P_GAIN) == [0] * N
    assert bench.registers(x.TORQUE_ENABLE) == [1] * N, "it yields, and is not limp"


def test_health_that_is_lost_on_the_wire_ages_alone() -> None:
    bench = Bench()
    assert (bench.tick(ticks=N).health.age < 0.3).all()
    id = ROBOT.joints[3].motor.id

    def slow_read(data: bytes) -> bool:
        packet, _, _ = take_packet(data)
        return packet is not None and packet.instruction == Instruction.READ and packet.id == id

    bench.lines["motors"].loses = slow_read
    bench.emulated.motors[3].protection.temperature = 77.0
    sample = bench.tick(ticks=50)
    assert sample.health.temperature[3] < 30.0
    assert sample.health.age[3] > 1.0
    assert (np.delete(sample.health.age, 3) < 0.3).all()
    assert sample.age[3] < 0.01, "the joint itself is heard"


def test_health_is_infinitely_old_before_it_was_read() -> None:
    age = Bench().robot.read().health.age  # the second read: two motors have told
    assert np.isinf(age).sum() == N - 2


def test_a_trip_before_the_start_is_none_of_this_run() -> None:
    bench = Bench()
    for motor in bench.emulated.motors:
        motor.table.set(x.BUS_WATCHDOG, x.WATCHDOG_TRIPPED)
    assert bench.tick(ticks=N).health.watchdog_tripped.all()
    bench.robot.write(HOLD)
    assert not bench.tick().health.watchdog_tripped.any()
    # And one right after the enabling shows.
    bench.clock.wait_until(bench.clock.clock() + 2 * ROBOT.safety.watchdog)
    assert bench.tick(ticks=N).health.watchdog_tripped.all()


def test_a_dip_of_the_supply_comes_with_its_cause() -> None:
    bench = Bench()
    bench.tick(HOLD, ticks=3)
    whole = bench.emulated.difference
    bench.emulated.difference = dataclasses.replace(whole, supply_voltage=9.3)
    sample = bench.tick(HOLD)
    bench.emulated.difference = whole
    assert sample.alert.all()
    assert (sample.health.error_bits == x.HardwareError.INPUT_VOLTAGE).all()


# --- the IMU --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [12.0, 50.0, 200.0])
def test_the_rate_of_the_imu_is_measured(rate: float) -> None:
    bench = Bench(imu_rate=rate)
    assert np.isnan(bench.robot.read().imu_rate)
    sample = bench.tick(ticks=75)
    assert sample.imu_rate == pytest.approx(rate, rel=0.1)


def test_an_imu_that_falls_silent_has_no_rate_a_second_later() -> None:
    bench = Bench()
    bench.tick(ticks=60)
    bench.emulated.take("imu", np.inf, ROBOT.buses["imu"].baud_rate)
    read = bench.lines["imu"].read
    bench.lines["imu"].read = lambda deadline: read(deadline) and b""  # type: ignore[method-assign]
    assert bench.tick(ticks=55).imu_rate == 0.0


def test_refreshing_forgets_what_waited_and_reads_everything_anew() -> None:
    bench = Bench()
    bench.tick(ticks=N)
    # An operator thinks for five seconds; meanwhile the motors warm up.
    bench.clock.wait_until(bench.clock.clock() + 5.0)
    for motor in bench.emulated.motors:
        motor.protection.temperature = 77.0
    sample = bench.robot.read()
    assert (sample.health.temperature < 30.0).any(), "one motor a read"
    errors = sample.wire_errors
    began = bench.clock.clock()
    bench.robot.refresh()
    assert bench.clock.clock() - began < 0.5
    sample = bench.robot.read()
    assert (sample.health.temperature > 70.0).all()
    assert (sample.health.age < 0.1).all() and (sample.age < 0.01).all()
    assert sample.imu_age < 0.02
    assert sample.imu_rate == pytest.approx(IMU.rate, rel=0.1)
    assert sample.wire_errors == errors and sample.bus_time < ROBOT.control_period


def test_refreshing_without_an_imu_ends_and_leaves_its_age_to_tell() -> None:
    bench = Bench()
    read = bench.lines["imu"].read
    bench.lines["imu"].read = lambda deadline: read(deadline) and b""  # type: ignore[method-assign]
    began = bench.clock.clock()
    bench.robot.refresh()
    assert bench.clock.clock() - began < 1.2
    sample = bench.robot.read()
    assert sample.imu_age == np.inf and not sample.imu_rate > 0


def test_an_imu_whose_port_goes_grows_old_and_the_motors_are_read() -> None:
    bench = Bench()
    before = bench.tick(HOLD, ticks=3)
    bench.lines["imu"].unplugged = True
    samples = [bench.tick(HOLD) for _ in range(10)]
    assert all((sample.age < 0.01).all() for sample in samples)
    passed = samples[-1].time - before.time
    assert samples[-1].imu_age == pytest.approx(before.imu_age + passed) and passed > 0.19
    notes = [note for sample in samples for note in sample.wire_notes]
    assert notes == ["imu: port imu: the device is gone"], "once"
    bench.lines["imu"].unplugged = False
    assert bench.tick(HOLD, ticks=2).imu_age < 0.02


class LineClock:
    """The bench's time, for the loop."""

    def __init__(self, bench: Bench) -> None:
        self.now, self.sleep_until = bench.clock.clock, bench.clock.wait_until


class Standing:
    """A policy that wants the standing pose."""

    def reset(self) -> None:
        pass

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        return Decision({}, np.zeros(N), ROBOT.default_pose)


def test_a_robot_whose_imu_is_unplugged_lies_down_on_its_motors() -> None:
    bench = Bench()
    for _ in range(75):  # until all is known of the motors, and the IMU's rate
        sample = bench.tick()
    states: list[State] = []

    def unplug(tick: int, _run_time: float, _sample: Sample, verdict: Verdict) -> None:
        bench.lines["imu"].unplugged = tick >= 130
        if verdict.state not in states[-1:]:
            states.append(verdict.state)

    monitor = SafetyMonitor(ROBOT, bench.robot)
    assert monitor.preflight(sample) == []
    summary = run(
        ROBOT, bench.robot, Standing(), monitor, Schedule.constant([0, 0, 0]), math.inf,
        LineClock(bench), on_tick=unplug,
    )  # fmt: skip
    assert states == [State.STAND, State.RUN, State.HOLD, State.LIE, State.DAMP, State.FAULT]
    assert (summary.fault, summary.torque_left_on) == (Fault.STALE_SENSORS, ())
    assert "imu: last reading" in summary.cause
    assert bench.registers(x.TORQUE_ENABLE) == [0] * N
    away = np.abs(bench.tick().joint_pos - ROBOT.rest_pose).max()
    assert away < 0.2, "it lies, and did not fall"
