"""The control loop on a clock that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from kinematic_robot import FakeClock
from loop_bench import (
    DAMP_TICKS,
    PERIOD,
    ROBOT,
    STAND_TICKS,
    Bench,
    N,
    spread,
)
from surefoot.deploy.log.format import Level
from surefoot.deploy.loop import OFF_REPEATS
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import Decision, Fault, State
from surefoot.hardware.interface import Mode, Sample
from surefoot.models.errors import DeviceError, UsageError


def test_a_whole_run():
    bench = Bench()
    summary = bench.run(duration=1.0)
    assert bench.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    figures = summary.figures
    assert (summary.fault, summary.cause, figures.missed_deadlines) == (Fault.NONE, "", 0)
    assert summary.run_time == pytest.approx(1.0)
    assert figures.ticks == len(bench.log.records) == len(bench.robot.commands)
    assert figures.states["RUN"].seconds == pytest.approx(1.0, abs=2.5 * PERIOD)
    assert figures.states["STAND"].seconds == pytest.approx(STAND_TICKS * PERIOD)
    assert figures.states["DAMP"].seconds == pytest.approx(DAMP_TICKS * PERIOD)
    assert bench.robot.modes[-OFF_REPEATS:] == [Mode.OFF] * OFF_REPEATS
    assert spread(figures, "period").p50 == pytest.approx(PERIOD)
    assert spread(figures, "period").max == pytest.approx(PERIOD)
    assert spread(figures, "infer").p50 == pytest.approx(0.004)
    assert spread(figures, "busy").max == pytest.approx(0.004)
    limited = {name: (share.ticks, share.joints) for name, share in figures.reasons.items()}
    assert limited == dict.fromkeys(("RATE", "TORQUE", "POSITION", "VELOCITY"), (0, {}))


def test_the_policy_is_asked_in_run_alone_and_counts_from_zero():
    bench = Bench()
    bench.run(duration=0.5, schedule=Schedule.of([(0, [0, 0, 0]), (0.2, [0.5, 0, 0])]))
    assert [tick for tick, _ in bench.policy.asked] == list(range(25))
    assert bench.policy.resets == 2, "for the rehearsal, and for the run"
    forward = [float(command[0]) for _, command in bench.policy.asked]
    assert forward == [0.0] * 10 + [0.5] * 15


def test_deadlines_are_absolute():
    bench = Bench()
    bench.run(duration=0.5)
    start = bench.column("start")
    np.testing.assert_allclose(start, start[0] + PERIOD * np.arange(len(start)), atol=1e-9)
    np.testing.assert_array_equal(bench.column("tick"), np.arange(len(start)))


def test_a_latency_spike_is_counted_and_nothing_is_made_up_for():
    bench = Bench()
    bench.policy.delays[10] = 0.055  # ends 2.75 periods after its start
    summary = bench.run(duration=1.0)
    # Late itself, and two ticks that could not begin in time.
    assert summary.figures.missed_deadlines == 3
    assert summary.fault is Fault.NONE
    starts = bench.column("start")
    assert np.diff(starts).min() > 0.5 * PERIOD, "no burst"
    assert np.diff(starts).max() == pytest.approx(3 * PERIOD)
    ticks = [tick for tick, _ in bench.policy.asked]
    assert ticks == [*range(11), *range(13, 50)], "skipped ticks count in the policy's clock"
    np.testing.assert_allclose(bench.column("deadline"), starts, atol=1e-9)
    assert summary.run_time == pytest.approx(1.0)
    # The decision of the spike saw old sensors: it is refused, and the next one is not.
    spike = bench.verdicts[STAND_TICKS + 11]
    assert (spike.state, spike.fault) == (State.HOLD, Fault.STALE_SENSORS)
    assert bench.verdicts[STAND_TICKS + 12].state is State.RUN


def test_a_tick_that_begins_a_little_late_is_not_skipped():
    bench = Bench()
    bench.policy.delays[10] = 0.026  # the next begins 0.3 periods late
    summary = bench.run(duration=0.5)
    assert summary.figures.missed_deadlines == 1
    assert [tick for tick, _ in bench.policy.asked] == list(range(25))


def test_a_policy_too_slow_for_its_rate_is_stopped():
    bench = Bench()
    bench.policy.always = 0.024
    summary = bench.run(duration=10.0)
    assert summary.fault is Fault.MISSED_DEADLINES
    assert bench.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    assert summary.run_time < 0.3


@dataclass
class OversleepingClock(FakeClock):
    """Wakes late, always."""

    late: float = 0.0  # [s]

    def sleep_until(self, when: float) -> None:
        self.time = max(self.time, when) + self.late


@pytest.mark.parametrize(("late", "fault"), [(0.015, Fault.NONE), (0.025, Fault.MISSED_DEADLINES)])
def test_a_clock_that_always_wakes_late(late: float, fault: Fault):
    bench = Bench()
    bench.clock = OversleepingClock(late=late)
    bench.robot.clock = bench.policy.clock = bench.clock
    summary = bench.run(duration=2.0)
    assert summary.fault is fault
    if fault is Fault.NONE:
        assert summary.figures.missed_deadlines == 0
        assert len(bench.policy.asked) == 100


def test_enabling_may_take_its_time():
    bench = Bench()
    bench.robot.enabling_time = 0.4
    summary = bench.run(duration=0.2)
    assert (summary.figures.missed_deadlines, summary.fault) == (0, Fault.NONE)
    assert spread(summary.figures, "period").max == pytest.approx(PERIOD)
    assert spread(summary.figures, "busy").max == pytest.approx(0.004)


# --- faults ---------------------------------------------------------------------------------------


def unplug(bench: Bench) -> Callable[[], None]:
    def pull() -> None:
        bench.robot.unplugged = True

    return pull


def test_an_unplugged_cable_ends_the_run_by_name():
    bench = Bench()
    bench.at[STAND_TICKS + 20] = unplug(bench)
    summary = bench.run(duration=1000.0)
    assert bench.states == ["STAND", "RUN", "DAMP", "FAULT"]
    assert bench.verdicts[STAND_TICKS + 21].state is State.DAMP, "in the next tick"
    assert summary.fault is Fault.DEAD_BUS
    assert summary.cause.startswith("/dev/ttyFAKE: the port is gone")
    ages = bench.column("age")[STAND_TICKS + 21 :]
    assert (np.diff(ages, axis=0) > 0).all(), "the last sample grows old, and the log says so"


def test_a_port_gone_before_the_first_sample_is_an_error():
    bench = Bench()
    bench.robot.unplugged = True
    with pytest.raises(DeviceError, match="the port is gone"):
        bench.run()
    assert bench.robot.commands == []


def test_a_policy_never_sees_what_is_not_finite():
    bench = Bench()
    seen = []
    act = bench.policy.act

    def watch(sample: Sample, command: np.ndarray, tick: int) -> Decision:
        seen.append(np.isfinite(sample.gyro).all())
        return act(sample, command, tick)

    bench.policy.act = watch  # type: ignore[method-assign]

    def blind() -> None:
        bench.robot.spoil = lambda s: replace(s, gyro=np.full(3, np.nan))

    bench.at[STAND_TICKS + 20] = blind
    summary = bench.run(duration=1000.0)
    assert summary.fault is Fault.NON_FINITE
    assert bench.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    assert len(seen) == 21, "the rehearsal, and so many ticks"
    assert all(seen)


def test_a_refused_start_writes_nothing():
    bench = Bench()
    bench.robot.joint_pos = ROBOT.default_pose.copy()
    summary = bench.run()
    assert summary.fault is Fault.START_REFUSED
    assert "front_left_knee: found -1.50 rad" in summary.cause
    assert bench.robot.commands == []


def test_a_first_sample_that_no_policy_may_see_is_none_to_start_from():
    bench = Bench()
    first = replace(bench.robot.read(), gyro=np.full(3, np.nan))
    samples = iter([first])
    bench.robot.spoil = lambda sample: next(samples, sample)
    summary = bench.run()
    assert summary.fault is Fault.START_REFUSED
    assert "gyro[0]: found nan" in summary.cause
    assert bench.robot.commands == [] and bench.policy.asked == []


def test_a_log_that_takes_no_such_records_is_found_before_the_first_torque():
    bench = Bench()

    def require(dtype: np.dtype) -> None:
        raise UsageError(f"found {dtype['joint_pos'].shape}")

    bench.log.require = require  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=r"found \(12,\)"):
        bench.run()
    assert bench.monitor.state is State.OFF and bench.robot.reads == 0


def test_a_duration_that_is_no_number_is_refused():
    bench = Bench()
    with pytest.raises(UsageError, match="duration: found nan"):
        bench.run(duration=np.nan)
    assert bench.robot.reads == 0


def test_a_monitor_that_has_seen_a_fault_does_not_run_again():
    bench = Bench()
    bench.at[STAND_TICKS + 20] = unplug(bench)
    bench.run()
    bench.robot.unplugged = False
    with pytest.raises(UsageError, match="run: found state FAULT"):
        bench.run()


# --- the dry run ----------------------------------------------------------------------------------


def test_a_dry_run_asks_and_logs_and_writes_nothing():
    bench = Bench(dry_run=True)
    summary = bench.run(duration=0.4)
    assert bench.robot.commands == []
    assert summary.figures.ticks == 20
    assert [tick for tick, _ in bench.policy.asked] == list(range(20))
    assert set(bench.column("state")) == {State.OFF}
    assert set(bench.column("mode")) == {Mode.OFF}
    assert np.isfinite(bench.column("limited_target")).all()
    np.testing.assert_allclose(bench.column("joint_target")[3], ROBOT.default_pose, rtol=1e-6)
    assert summary.figures.reasons["TORQUE"].ticks > 0


def test_ctrl_c_ends_a_dry_run():
    bench = Bench(dry_run=True)
    bench.at[7] = bench.stop.press
    summary = bench.run(duration=1000.0)
    assert (summary.figures.ticks, summary.stopped) == (8, "operator")


# --- the log --------------------------------------------------------------------------------------


def test_each_tick_has_its_record():
    bench = Bench()
    bench.robot.spoil = lambda s: replace(
        s, joint_torque=np.arange(N) * 0.1, bus_time=0.003, wire_errors=7
    )
    bench.run(duration=0.1)
    stand, first, last = (bench.log.records[i] for i in (5, STAND_TICKS + 1, -1))
    assert (stand["state"], stand["mode"], stand["fault"]) == (State.STAND, Mode.TRACK, 0)
    for name in ("action", "joint_target", "previous_action", "clock"):
        assert np.isnan(stand[name]).all(), name
    assert (first["state"], first["tick"], first["clock"]) == (State.RUN, STAND_TICKS + 1, 0.0)
    np.testing.assert_array_equal(first["action"], np.full(N, 0.25, np.float32))
    np.testing.assert_array_equal(first["joint_target"], ROBOT.default_pose.astype(np.float32))
    np.testing.assert_array_equal(first["limited_target"], ROBOT.default_pose.astype(np.float32))
    np.testing.assert_array_equal(first["command"], np.array([0.3, 0, 0], np.float32))
    np.testing.assert_array_equal(first["joint_torque"], np.float32(np.arange(N) * 0.1))
    np.testing.assert_array_equal(first["voltage"], np.full(N, 12.0, np.float32))
    assert (first["bus_time"], first["wire_errors"]) == (np.float32(0.003), 7)
    assert first["inferred"] - first["read"] == pytest.approx(0.004)
    assert np.isnan(last["limited_target"]).all()
    changes = [text for _, text in bench.log.events if "->" in text]
    assert changes == ["OFF -> STAND", "STAND -> RUN", "RUN -> LIE", "LIE -> DAMP", "DAMP -> OFF"]


def test_wire_notes_and_faults_become_events():
    bench = Bench()

    def trouble() -> None:
        bench.robot.spoil = lambda s: replace(
            s,
            wire_notes=("motor 3: refused packet",),
            alert=np.eye(N, dtype=bool)[2],
            health=replace(s.health, error_bits=np.full(N, 0x20, np.uint8)),
        )

    bench.at[STAND_TICKS + 3] = trouble
    bench.run()
    assert (Level.WARNING, "motor 3: refused packet") in bench.log.events
    faults = [text for level, text in bench.log.events if level == Level.ERROR]
    assert faults[0].startswith("MOTOR_ALERT: front_left_hip_roll: hardware error 0x20")
