"""The safety monitor: owns the only write handle, and trusts neither the policy nor the sensors.

One call of `tick` per control tick checks the sample, moves the supervisor on, and issues exactly
one command. A run's life is

    OFF -> STAND -> RUN -> LIE -> DAMP -> OFF          started, and stopped
            any of them -> DAMP -> FAULT               a fault: yield, then torque off
            STAND, RUN -> LIE -> DAMP -> FAULT         too hot, too little voltage, not up: gently

and HOLD lies over STAND, RUN or LIE while something is wrong that may pass: the last target stays.
FAULT is latched: it commands OFF until a person has seen to the robot and makes a new monitor.

This is no safety function in the sense of a standard: with the link dead, or the policy hung, the
host commands nothing, and what remains is what the motors' watchdogs do. Have an emergency stop
that cuts the power.
"""

from __future__ import annotations

import math

import numpy as np

from ..hardware.interface import Command, Mode, RobotInterface, Sample
from ..models.errors import DeviceError, UsageError
from ..models.limits import Limits, limit_target
from ..models.robot import Robot
from .checks import Finding, Reaction, SensorWatch, preflight, unfit
from .verdict import Decision, Fault, State, Verdict

SOFTEST = 0.3  # torque cap at the lying end of standing up and lying down, of the torque limit


class SafetyMonitor:
    """Between everything and the motors.

    Until the first powered command nothing is written: a robot that is found standing under torque
    is not dropped. In a dry run nothing is written at all; the state stays OFF, and a verdict's
    `limited_target` is what the limiter would have let through.
    """

    def __init__(self, robot: Robot, interface: RobotInterface, dry_run: bool = False) -> None:
        """A monitor in the state OFF. It serves for as many runs as end without a fault.

        Args:
            robot: whose limits and bounds it enforces.
            interface: the robot to write to; nobody else may. It is never read here.
            dry_run: judge and limit, and write nothing.
        """
        self.dry_run = dry_run
        self.fault = Fault.NONE  # latched
        self.cause = ""  # the message of the fault
        self._robot = robot
        self._interface = interface
        self._limits = Limits.of(robot)
        self._watch = SensorWatch(robot)
        self._phase = State.OFF  # the state under HOLD
        self._held = Fault.NONE  # why it holds now
        self._from: np.ndarray | None = None  # where standing up or lying down began [rad]
        self._target = np.full(len(robot.joints), np.nan)  # last target that was commanded [rad]
        self._cap = np.zeros(len(robot.joints))
        self._elapsed = 0.0  # in this phase, less the time on hold [s]
        self._last = math.nan  # time of the last tick [s]
        self._refused_since = math.inf  # decisions [s]
        self._touched = False  # a powered command was tried
        self._obeyed = False  # a powered command went through
        self._news: list[str] = []

    @property
    def state(self) -> State:
        return State.HOLD if self._held else self._phase

    @property
    def wants_decision(self) -> bool:
        """The policy's turn: `tick` expects a decision."""
        return self.dry_run or self._phase is State.RUN

    @property
    def ended(self) -> bool:
        """Torque is off and nothing more will come."""
        return self._phase in (State.OFF, State.FAULT)

    def preflight(self, sample: Sample) -> list[str]:
        """What forbids a start, one line each. The first tick of a start checks it again."""
        return preflight(self._robot, sample)

    def start(self) -> None:
        """OFF to STAND; for after the preflight checks and an operator's yes.

        Raises:
            UsageError: the state is not OFF, or this is a dry run.
        """
        if self.dry_run:
            raise UsageError("a dry run never starts the robot")
        if self._phase is not State.OFF:
            why = f" ({self.cause})" if self.cause else ""
            raise UsageError(f"start: found state {self.state.name}{why}, allowed is OFF")
        self._enter(State.STAND)
        self._from = None

    def stop(self) -> None:
        """Lie down softly, damp, torque off; nothing where that is under way or done."""
        if self._phase is State.STAND and self._from is None:
            self._enter(State.OFF)
        elif self._phase in (State.STAND, State.RUN):
            self._news.append("stopped: lying down")
            self._lie()

    def damp(self, why: str) -> None:
        """Yield at once, then torque off; no fault."""
        if self._phase in (State.STAND, State.RUN, State.LIE):
            self._news.append(why)
            self._enter(State.DAMP)

    def lost(self, error: DeviceError) -> None:
        """The port is gone, as reading or writing has found."""
        if self._phase in (State.OFF, State.FAULT):
            return
        self._latch(Finding(Fault.DEAD_BUS, Reaction.DAMP, str(error)))
        # Motors that refused to be enabled are released, not damped: damping would enable them.
        if not self._obeyed:
            self._enter(State.FAULT)
        elif self._phase is not State.DAMP:
            self._enter(State.DAMP)

    def tick(
        self, sample: Sample, decision: Decision | None, now: float, missed: int = 0
    ) -> Verdict:
        """Check, decide, and issue exactly one command.

        Args:
            sample: the newest reading.
            decision: of the policy, where `wants_decision` says so; None if it made none.
            now: time on the loop's clock [s].
            missed: deadlines missed in a row up to now.
        """
        findings = [
            *self._watch.inspect(sample, now),
            *self._deadlines(missed),
            *self._refusal(decision, now),
        ]
        if self.dry_run:
            return self._rehearse(sample, decision, findings)
        if self._phase is State.STAND and self._from is None:
            self._begin(sample)
        else:
            self._react(findings)
        self._advance(sample, now)
        command, reasons = self._command(sample, decision)
        self._send(command)
        target = self._target if command.mode in (Mode.TRACK, Mode.HOLD) else self._nowhere()
        return self._verdict(command.mode, target, command.torque_cap, reasons)

    # --- what is wrong ----------------------------------------------------------------------------

    def _deadlines(self, missed: int) -> list[Finding]:
        """A run of missed deadlines: hold from half of what is allowed, then damp."""
        allowed = self._robot.safety.missed_deadlines
        if 2 * missed < allowed:
            return []
        reaction = Reaction.DAMP if missed >= allowed else Reaction.HOLD
        text = f"{missed} deadlines missed in a row, allowed are {allowed - 1}"
        return [Finding(Fault.MISSED_DEADLINES, reaction, text)]

    def _refusal(self, decision: Decision | None, now: float) -> list[Finding]:
        """A decision is refused whole, never clamped; refusals that last end the run."""
        if not self.wants_decision:
            return []
        fault, text = unfit(decision, len(self._robot.joints))
        self._refused_since = min(self._refused_since, now) if fault else math.inf
        if not fault:
            return []
        lasts = now - self._refused_since >= self._robot.safety.damp_after
        return [Finding(fault, Reaction.DAMP if lasts else Reaction.HOLD, text)]

    # --- the supervisor ---------------------------------------------------------------------------

    def _begin(self, sample: Sample) -> None:
        """The first tick of a start: checked once more, since an operator may take his time."""
        refusals = self.preflight(sample)
        if refusals:
            text = "start refused: " + "; ".join(refusals)
            self._latch(Finding(Fault.START_REFUSED, Reaction.DAMP, text))
            self._enter(State.FAULT)
            return
        self._from = self._target = sample.joint_pos.copy()

    def _react(self, findings: list[Finding]) -> None:
        held, self._held = self._held, Fault.NONE
        if self.ended:
            return
        worst = {finding.reaction: finding for finding in reversed(findings)}
        if Reaction.DAMP in worst:
            self._latch(worst[Reaction.DAMP])
            if self._phase is not State.DAMP:
                self._enter(State.DAMP)
            return
        if Reaction.LIE in worst and self._phase in (State.STAND, State.RUN):
            self._latch(worst[Reaction.LIE])
            self._lie()
        if Reaction.HOLD in worst and self._phase is not State.DAMP:
            self._held = worst[Reaction.HOLD].fault
            if self._held is not held:
                self._news.append(f"holding: {worst[Reaction.HOLD].message}")

    def _advance(self, sample: Sample, now: float) -> None:
        # A tick that comes late, or after the enabling of torque, moves no target by leaps.
        passed = now - self._last if self._last <= now else 0.0
        self._last = now
        if self._held or self.ended:
            return
        safety = self._robot.safety
        if self._phase is State.STAND and self._reached(safety.stand_time):
            off = np.abs(sample.joint_pos - self._robot.default_pose)
            index = int(np.argmax(off))
            if off[index] <= safety.start_tolerance:
                self._enter(State.RUN)
                return
            text = (
                f"{self._robot.joint_names[index]}: {off[index]:.2f} rad from the standing pose, "
                f"allowed is {safety.start_tolerance:.2f} rad"
            )
            self._latch(Finding(Fault.POSE_NOT_REACHED, Reaction.LIE, text))
            self._lie()
        elif self._phase is State.LIE and self._reached(safety.stand_time):
            self._enter(State.DAMP)
        elif self._phase is State.DAMP and self._reached(safety.damp_time):
            self._enter(State.FAULT if self.fault else State.OFF)
        else:
            self._elapsed += min(passed, 2 * self._robot.control_period)

    def _reached(self, duration: float) -> bool:
        return self._elapsed >= duration - 1e-9

    def _lie(self) -> None:
        """From the last target, not from the measured pose: what carries the robot goes on."""
        self._from = self._target.copy()
        self._enter(State.LIE)

    def _enter(self, phase: State) -> None:
        self._phase, self._held, self._elapsed = phase, Fault.NONE, 0.0
        self._refused_since = math.inf
        # A start's time begins with its first tick.
        self._last = math.nan if phase is State.STAND else self._last

    def _latch(self, finding: Finding) -> None:
        """The first fault is the cause; a later one is only told."""
        text = f"{finding.fault.name}: {finding.message}"
        if not self.fault:
            self.fault, self.cause = finding.fault, finding.message
            self._news.append(text)
        elif self._phase not in (State.DAMP, State.FAULT):
            self._news.append(f"then {text}")

    # --- the command ------------------------------------------------------------------------------

    def _command(self, sample: Sample, decision: Decision | None) -> tuple[Command, np.ndarray]:
        none = np.zeros(len(self._robot.joints), np.uint8)
        if self.ended:
            return Command(Mode.OFF), none
        if self._phase is State.DAMP:
            return Command(Mode.DAMP, torque_cap=self._limits.torque), none
        if self._held:
            return Command(Mode.HOLD, torque_cap=self._cap), none
        wanted, self._cap = self._wanted(decision)
        self._target, reasons = limit_target(
            self._limits, wanted, self._target, sample.joint_pos, sample.joint_vel
        )
        return Command(Mode.TRACK, self._target, self._cap), reasons

    def _wanted(self, decision: Decision | None) -> tuple[np.ndarray, np.ndarray]:
        """Joint target [rad] and torque cap [N·m] before the limiter. Shapes (n,)."""
        torque = self._limits.torque
        if self._phase is State.RUN:
            return (self._target if decision is None else decision.joint_target), torque
        assert self._from is not None
        done = min(self._elapsed / self._robot.safety.stand_time, 1.0)
        standing = self._phase is State.STAND
        goal = self._robot.default_pose if standing else self._robot.rest_pose
        height = done if standing else 1.0 - done
        target = self._from + 0.5 * (1.0 - math.cos(math.pi * done)) * (goal - self._from)
        return target, torque * (SOFTEST + (1.0 - SOFTEST) * height)

    def _send(self, command: Command) -> None:
        """The one place that writes to the robot."""
        if command.mode is Mode.OFF and not self._touched:
            return
        self._touched = True
        try:
            self._interface.write(command)
            self._obeyed |= command.mode is not Mode.OFF
        except DeviceError as error:
            self.lost(error)

    def _rehearse(
        self, sample: Sample, decision: Decision | None, findings: list[Finding]
    ) -> Verdict:
        """A dry run's tick: judged and limited as if it ran, written to nobody."""
        none = np.zeros(len(self._robot.joints), np.uint8)
        held, self._held = self._held, findings[0].fault if findings else Fault.NONE
        if findings:
            if self._held is not held:
                self._news.append(f"{findings[0].fault.name}: {findings[0].message}")
            return self._verdict(Mode.OFF, self._nowhere(), None, none)
        if not np.isfinite(self._target).all():
            self._target = sample.joint_pos.copy()
        wanted = decision.joint_target if decision else self._target
        self._target, reasons = limit_target(
            self._limits, wanted, self._target, sample.joint_pos, sample.joint_vel
        )
        return self._verdict(Mode.OFF, self._target, None, reasons)

    def _verdict(
        self, mode: Mode, target: np.ndarray, cap: np.ndarray | None, reasons: np.ndarray
    ) -> Verdict:
        message, self._news = "; ".join(self._news), []
        cap = np.zeros(len(self._robot.joints)) if cap is None else cap
        state = State.OFF if self.dry_run else self.state
        return Verdict(state, mode, target, cap, reasons, self.fault or self._held, message)

    def _nowhere(self) -> np.ndarray:
        return np.full(len(self._robot.joints), np.nan)
