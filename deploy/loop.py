"""The control loop: read, observe, infer, limit, write, log, at absolute deadlines.

Tick k begins at origin + k · period and is to end before tick k + 1. One that ends later has missed
its deadline. The tick after it is skipped if it could begin only more than half a period late, so
that ticks never follow each other in a burst; skipped ticks count in the tick's number and so in
the policy's clock. The clock is injected: nothing here waits in a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..hardware.interface import Mode, Sample
from ..models.errors import DeviceError, PolicyError, UsageError
from ..models.robot import Robot
from .checks import check_decision, non_finite
from .clock import Clock, RealClock
from .log.format import Level, tick_dtype
from .log.record import Times, fill
from .log.summary import RunSummary, Tally, summarise
from .safety import SafetyMonitor
from .schedule import Schedule
from .stop import StopRequest
from .verdict import Decision, State, Verdict

OFF_REPEATS = 5  # ticks of OFF at the end: OFF is not answered, and one may be lost on the wire
OFF_PATIENCE = 3.0  # OFF to motors that were not seen off: a connector may come back [s]


class SensorSource(Protocol):
    """The half of a robot that the loop may use: writing is the safety monitor's."""

    def read(self) -> Sample: ...


class Policy(Protocol):
    """A policy that runs."""

    def reset(self) -> None: ...

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        """Raises PolicyError where it has no decision."""
        ...


class Log(Protocol):
    """Where records and events go; neither blocks, and once the run has begun neither raises."""

    def require(self, dtype: np.dtype) -> object:
        """Raise UsageError unless it takes records of this dtype."""
        ...

    def record(self, record: Any) -> object: ...

    def event(self, level: Level, text: str) -> object: ...


# For who watches: the tick's number, time in RUN [s], what was read and what came of it.
Progress = Callable[[int, float, Sample, Verdict], None]


def run(
    robot: Robot,
    source: SensorSource,
    policy: Policy,
    monitor: SafetyMonitor,
    schedule: Schedule,
    duration: float = math.inf,
    clock: Clock | None = None,
    stop: StopRequest | None = None,
    log: Log | None = None,
    on_tick: Progress | None = None,
) -> RunSummary:
    """A whole run: stand up, run for `duration` [s], lie down, torque off; or a dry run of it.

    For after the preflight checks and an operator's yes: the first tick may move the robot. Returns
    when torque is off. Should anything here raise, the robot is damped and switched off first.

    Args:
        robot: gives the control period and the joints.
        source: is read once a tick.
        policy: is asked once before the first torque, for a rehearsal; then reset at the first
            tick of RUN, and asked in every tick of it.
        monitor: in the state OFF or STAND; checks, limits and writes.
        schedule: the command to the policy, by the time since RUN began.
        duration: of RUN, skipped ticks counted [s].
        clock: the source's own; by default CLOCK_MONOTONIC.
        stop: asks the robot to lie down, or insists that it yield at once; a dry run ends.
        log: takes a record each tick (it is used again: copy what is to stay), and an event for
            each change of state, message of the monitor and note from the wire.
        on_tick: called after each tick, and not again once it has raised. Its time is the tick's,
            too, so it must not wait for anything.

    Raises:
        UsageError: the monitor is in no state to start, the duration is no number, or the log is
            not made for this robot and this command.
        PolicyError: the policy's rehearsal found it unfit, and nothing was written; or in a dry
            run, it had no decision.
        DeviceError: the port was gone before the first sample, or in a dry run.
    """
    if not monitor.dry_run and monitor.state not in (State.OFF, State.STAND):
        raise UsageError(f"run: found state {monitor.state.name}, allowed is OFF or STAND")
    if math.isnan(duration):  # it would never be over
        raise UsageError("duration: found nan, allowed is a number of seconds, or inf")
    loop = _Loop(robot, source, policy, monitor, schedule, clock or RealClock(), log, on_tick)
    if not monitor.dry_run and monitor.state is State.OFF:
        monitor.start()
    try:
        return loop.run(duration, stop or StopRequest())
    except BaseException as error:
        loop.wind_down(f"the control loop failed: {type(error).__name__}: {error}")
        raise


class _Loop:
    def __init__(
        self,
        robot: Robot,
        source: SensorSource,
        policy: Policy,
        monitor: SafetyMonitor,
        schedule: Schedule,
        clock: Clock,
        log: Log | None,
        on_tick: Progress | None,
    ) -> None:
        self._robot, self._period = robot, robot.control_period
        self._source, self._policy, self._monitor = source, policy, monitor
        self._schedule, self._clock, self._log, self._on_tick = schedule, clock, log, on_tick
        self._no_command = np.zeros(schedule.commands.shape[1])
        widths = (len(robot.joints), len(self._no_command), len(robot.contact_sensors))
        self._record = np.zeros((), tick_dtype(*widths))
        if log:
            log.require(self._record.dtype)
        self._tally = Tally(len(robot.joints))
        self._sample: Sample | None = None
        self._unseen: Sample | None = None  # of the rehearsal, for the first tick to refuse
        self._state = State.OFF  # of the tick before
        self._stopped = ""  # by whom, as in `RunSummary`
        self._origin = clock.now()  # when tick 0 begins [s]
        self._tick = -1
        self._missed = 0  # in all
        self._missed_in_a_row = 0
        self._run_from: int | None = None  # first tick of RUN
        self._run_ticks = 0

    def run(self, duration: float, stop: StopRequest) -> RunSummary:
        if not self._monitor.dry_run:
            self._rehearse()
        offs = 0
        while offs < OFF_REPEATS:
            stop.beat()
            self._check_stop(duration, stop)
            if self._monitor.dry_run and (stop.asked or self._run_ticks * self._period >= duration):
                self._stopped = "operator" if stop.asked else ""
                break
            self._one_tick()
            offs += self._monitor.ended and not self._monitor.dry_run
        self._retry_off(stop)
        figures = summarise(self._tally.ticks, self._robot.joint_names)
        return RunSummary(
            fault=self._monitor.fault,
            cause=self._monitor.cause,
            stopped=self._stopped,
            torque_left_on=self._monitor.torque_left_on,
            run_time=self._run_ticks * self._period,
            figures=figures,
        )

    def _retry_off(self, stop: StopRequest) -> None:
        """OFF for a while to motors that were not seen off, unless somebody presses once more."""
        monitor, until, presses = self._monitor, self._clock.now() + OFF_PATIENCE, stop.presses
        if monitor.in_charge and (left := monitor.torque_left_on):
            monitor.tell(
                f"TORQUE MAY STILL BE ON: {', '.join(left)}; trying to switch it off for "
                f"{OFF_PATIENCE:g} s, Ctrl-C ends that"
            )
            while monitor.torque_left_on and self._clock.now() < until and stop.presses == presses:
                stop.beat()
                self._one_tick()

    def wind_down(self, why: str) -> None:
        """Damp, then torque off, by writing alone: what has failed may fail again."""
        self._monitor.damp(why)
        with suppress(Exception):  # a log that fails keeps no robot under torque
            if self._log:
                self._log.event(Level.ERROR, why)
        if not self._monitor.in_charge:
            return
        damping = math.ceil(self._robot.safety.damp_time / self._period)
        for mode in [Mode.DAMP] * damping + [Mode.OFF] * OFF_REPEATS:
            self._monitor.force(mode)
            self._clock.sleep_until(self._clock.now() + self._period)

    def _check_stop(self, duration: float, stop: StopRequest) -> None:
        """Whether it is time to end."""
        if stop.insists:
            acted = self._monitor.damp("stopped twice: yielding at once")
        elif stop.asked or self._run_ticks * self._period >= duration - 1e-9:
            acted = self._monitor.stop()
        else:
            return
        if acted and stop.asked:
            self._stopped = "operator, twice" if stop.insists else "operator"

    def _one_tick(self) -> None:
        slots = self._await_tick()
        starting = self._sample is None and self._monitor.state is State.STAND
        start = self._clock.now()
        sample = self._read()
        read = self._clock.now()
        command, decision = self._decide(sample, slots)
        inferred = self._clock.now() if decision else read
        verdict = self._monitor.tick(sample, decision, inferred, self._missed_in_a_row)
        written = self._clock.now()
        times = Times(self._origin + self._tick * self._period, start, read, inferred, written)
        fill(self._record, self._tick, times, self._missed, sample, command, decision, verdict)
        self._tally.add(self._record)
        self._tell(verdict)
        if self._log:
            self._log.record(self._record)
        self._show(sample, verdict)
        if starting:  # enabling torque talks with every motor and takes what it takes
            self._origin = self._clock.now() - self._tick * self._period
        self._judge_deadline(slots)

    def _await_tick(self) -> int:
        """Sleep until the next tick that can begin in time; how many ticks on that is."""
        due = max(self._tick + 1, math.ceil(self._ticks_passed() - 0.5))
        self._clock.sleep_until(self._origin + due * self._period)
        due = max(due, math.floor(self._ticks_passed()))  # woken whole periods late
        slots = due - self._tick
        self._tick = due
        self._missed += slots - 1
        self._missed_in_a_row += slots - 1
        return slots

    def _ticks_passed(self) -> float:
        return (self._clock.now() - self._origin) / self._period

    def _judge_deadline(self, slots: int) -> None:
        """A row of missed deadlines ends with a tick on time that follows upon its predecessor."""
        if self._clock.now() > self._origin + (self._tick + 1) * self._period:
            self._missed += 1
            self._missed_in_a_row += 1
        elif slots == 1:
            self._missed_in_a_row = 0

    def _read(self) -> Sample:
        """A sample; when the port is gone, the last one, grown old."""
        try:
            sample = self._unseen or self._source.read()
        except DeviceError as error:
            last = self._sample
            if last is None or self._monitor.dry_run:
                raise
            self._monitor.lost(error)
            now = self._clock.now()
            passed = now - last.time
            sample = replace(
                last, time=now, age=last.age + passed, imu_age=last.imu_age + passed, wire_notes=()
            )
        self._sample, self._unseen = sample, None
        return sample

    def _rehearse(self) -> None:
        """Ask the policy while nothing is under torque: what it cannot take shows here, not in RUN.

        A sample that it must not see is no sample to start from either: the first tick is judged by
        it, and the monitor refuses.
        """
        sample = self._source.read()
        if non_finite(sample, self._robot):
            self._unseen = sample
            return
        self._policy.reset()
        decision = self._policy.act(sample, self._schedule.at(0.0), 0)
        fault, text = check_decision(decision, len(self._robot.joints), self._monitor.output)
        if fault:
            raise PolicyError(text)
        self._origin = self._clock.now()

    def _decide(self, sample: Sample, slots: int) -> tuple[np.ndarray, Decision | None]:
        """The command and the policy's decision, where it is its turn."""
        if not self._monitor.wants_decision:
            return self._no_command, None
        if self._run_from is None:
            self._run_from = self._tick
            self._policy.reset()
            slots = 1
        self._run_ticks += slots
        ticks = self._tick - self._run_from
        command = self._schedule.at(ticks * self._period)
        if non_finite(sample, self._robot):  # it would stay in the policy's memory
            return command, None
        try:
            return command, self._policy.act(sample, command, ticks)
        except PolicyError as error:  # the monitor holds, and may go on
            if self._monitor.dry_run:
                raise
            self._monitor.tell(str(error))
            return command, None

    def _show(self, sample: Sample, verdict: Verdict) -> None:
        """To whoever watches: not worth a robot's fall."""
        if on_tick := self._on_tick:
            self._on_tick = None
            with suppress(Exception, SystemExit):
                on_tick(self._tick, self._run_ticks * self._period, sample, verdict)
                self._on_tick = on_tick
            if not self._on_tick and self._log:
                self._log.event(Level.WARNING, "the display failed and shows nothing more")

    def _tell(self, verdict: Verdict) -> None:
        """Events of this tick to the log."""
        if not self._log:
            return
        if verdict.state is not self._state:
            self._log.event(Level.INFO, f"{self._state.name} -> {verdict.state.name}")
            self._state = verdict.state
        if verdict.message:
            level = Level.WARNING if verdict.fault else Level.INFO
            self._log.event(Level.ERROR if self._monitor.fault else level, verdict.message)
        for note in self._sample.wire_notes if self._sample else ():
            self._log.event(Level.WARNING, note)
