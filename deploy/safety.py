"""The safety monitor: owns the only write handle, and trusts neither the policy nor the sensors.

One call of `tick` per control tick checks the sample, moves the supervisor on, and issues exactly
one command. A run's life is

    OFF -> STAND -> RUN -> LIE -> DAMP -> OFF          started, and stopped
            any of them -> DAMP -> FAULT               a fault: yield, then torque off
            STAND, RUN -> LIE -> DAMP -> FAULT         what still lets it lie down: gently

and HOLD lies over STAND, RUN or LIE while something is wrong that may pass: the last target stays,
within the bounds of `supervisor.py`. FAULT is latched for this process: it commands OFF until a
person has seen to the robot and starts anew.

This is no safety function in the sense of a standard: with the link dead, or the policy hung, the
host commands nothing, and what remains is what the motors' watchdogs do: under joint torques, it
may be limp. Have an emergency stop that cuts the power.
"""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np

from ..hardware.interface import Command, Mode, RobotInterface, Sample
from ..models.errors import DeviceError, EnableRefused, UsageError
from ..models.limits import Output
from ..models.robot import Robot
from .checks import Finding, Reaction, bad_contact_force, check_decision
from .drive import drive_for
from .preflight import preflight
from .supervisor import Supervisor
from .verdict import Decision, Fault, State, Verdict
from .watch import SensorWatch

SOFTEST = 0.3  # torque cap at the lying end of standing up and lying down, of the torque limit


class SafetyMonitor:
    """Checks and limits every command before it reaches the motors.

    Until the first powered command it writes nothing: a robot that is found standing under torque
    is not dropped. In a dry run it writes nothing at all; the state stays OFF, and a verdict's
    `limited_target` is what the limiter would have let through. (What opening the robot wrote, the
    motors' indirect addresses, commands nothing.)
    """

    def __init__(
        self,
        robot: Robot,
        interface: RobotInterface,
        dry_run: bool = False,
        output: Output = "joint_target",
    ) -> None:
        """A monitor in the state OFF. It serves for as many runs as end without a fault.

        Args:
            robot: whose limits and bounds it enforces.
            interface: the robot to write to; nobody else may. It is never read here.
            dry_run: judge and limit, and write nothing.
            output: of the policy; what is behind the interface was opened for it, too.
        """
        self.dry_run = dry_run
        self._robot = robot
        self._interface = interface
        self.output: Output = output
        self._drive = drive_for(robot, output)
        self._no_reasons = np.zeros(len(robot.joints), np.uint8)
        self._supervisor = Supervisor(robot)
        self._watch = SensorWatch(robot, output)  # of this start
        self._moving = State.OFF  # the phase that began at `_from`
        self._from = np.full(len(robot.joints), np.nan)  # where standing or lying began [rad]
        self._refused_since = math.inf  # decisions [s]
        self._rehearsed = Fault.NONE  # of the last tick of a dry run
        self._ours = False  # a powered command of this start was tried: OFF is ours to send
        self._powered_since = math.inf  # a powered command went through [s]

    @property
    def fault(self) -> Fault:
        """Why the run ended, latched."""
        return self._supervisor.fault

    @property
    def cause(self) -> str:
        """The message of the fault."""
        return self._supervisor.cause

    @property
    def state(self) -> State:
        return self._supervisor.state

    @property
    def wants_decision(self) -> bool:
        """The policy's turn: `tick` expects a decision."""
        return self.dry_run or self._supervisor.phase is State.RUN

    @property
    def ended(self) -> bool:
        """Torque is off, as far as it can be, and nothing more will come."""
        return self._supervisor.ended

    @property
    def in_charge(self) -> bool:
        """A powered command of this start was tried: switching off is this monitor's business."""
        return self._ours

    @property
    def torque_left_on(self) -> tuple[str, ...]:
        """Joints whose torque was commanded off and not seen off."""
        return self._interface.torque_left_on

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
        self._supervisor.start()
        # What was seen or switched on in an earlier run is none of this one's.
        self._watch = SensorWatch(self._robot, self.output)
        self._ours, self._powered_since = False, math.inf

    def stop(self) -> bool:
        """Lie down softly, damp, torque off; False where that is under way or done."""
        return self._supervisor.stop()

    def damp(self, why: str) -> bool:
        """Yield at once, then torque off, no fault; False where that is under way or done."""
        return self._supervisor.damp(why)

    def tell(self, text: str) -> None:
        """Add to the message of the next verdict."""
        self._supervisor.tell(text)

    def lost(self, error: DeviceError) -> None:
        """A port is gone, as reading or writing has found."""
        if self.ended:
            return
        # Motors that never were enabled are released, not damped: damping would enable them.
        phase = State.DAMP if self._supervisor.begun else State.FAULT
        self._supervisor.end(Finding(Fault.DEAD_BUS, Reaction.DAMP, str(error)), phase)

    def force(self, mode: Mode) -> None:
        """DAMP or OFF without any check, where torque was ever on from here. Raises nothing.

        For a loop that has failed, be it in the checks: no error may keep a robot under torque.
        """
        if not self._ours:
            return
        if self.ended:
            mode = Mode.OFF  # damping would switch torque on again
        with suppress(Exception):  # the port may be what failed
            self._interface.write(Command(mode))
        if mode is Mode.OFF:
            self._supervisor.enter(State.FAULT if self.fault else State.OFF)

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
        supervisor = self._supervisor
        findings = [
            *self._watch.inspect(sample, now, self._powered_since),
            *self._deadlines(missed),
            *self._refusal(decision, sample, now),
        ]
        if self.dry_run:
            return self._rehearse(sample, decision, findings)
        if supervisor.phase is State.STAND and not supervisor.begun:
            self._begin(sample)
        else:
            supervisor.react(findings, sample, now)
        supervisor.advance(sample, now)
        command, reasons = self._command(sample, decision, now)
        self._send(command, now)
        return self._verdict(command, command.mode, reasons)

    # --- what is wrong ----------------------------------------------------------------------------

    def _deadlines(self, missed: int) -> list[Finding]:
        """Missed deadlines: go on after a few, hold from half of what is allowed in a row, damp."""
        if not missed:
            return []
        allowed = self._robot.safety.missed_deadlines
        if missed >= allowed:
            reaction = Reaction.DAMP
        else:
            reaction = Reaction.HOLD if 2 * missed >= allowed else Reaction.CONTINUE
        text = f"found {missed} deadlines missed in a row, allowed are {allowed - 1}"
        return [Finding(Fault.MISSED_DEADLINES, reaction, text)]

    def _refusal(self, decision: Decision | None, sample: Sample, now: float) -> list[Finding]:
        """A decision is refused whole, never clamped; refusals that last end the run."""
        # Such forces keep a sample from the policy, and are a finding by themselves.
        withheld = decision is None and bad_contact_force(sample, self._robot)
        if withheld or not self.wants_decision:
            self._refused_since = math.inf
            return []
        fault, text = check_decision(decision, len(self._robot.joints), self.output)
        self._refused_since = min(self._refused_since, now) if fault else math.inf
        if not fault:
            return []
        lasts = now - self._refused_since >= self._robot.safety.damp_after
        return [Finding(fault, Reaction.DAMP if lasts else Reaction.HOLD, text)]

    # --- the command ------------------------------------------------------------------------------

    def _begin(self, sample: Sample) -> None:
        """The first tick of a start: checked once more, since an operator may take his time."""
        if refusals := self.preflight(sample):
            text = "start refused: " + "; ".join(refusals)
            self._supervisor.end(Finding(Fault.START_REFUSED, Reaction.DAMP, text), State.FAULT)
            return
        self._moving = State.STAND
        self._drive.begin(sample)
        self._from = self._drive.target.copy()

    def _command(
        self, sample: Sample, decision: Decision | None, now: float
    ) -> tuple[Command, np.ndarray]:
        none, supervisor, drive = self._no_reasons, self._supervisor, self._drive
        torque = drive.limits.torque
        if supervisor.ended:
            return Command(Mode.OFF), none
        if supervisor.phase is State.DAMP:
            return Command(Mode.DAMP, torque_cap=torque), none
        if supervisor.phase is not self._moving:
            # From the last target, not from the measured pose: what carries the robot goes on.
            self._moving, self._from = supervisor.phase, drive.target.copy()
        if supervisor.held:
            return drive.hold(sample, now), none
        if supervisor.phase is State.RUN:
            return drive.apply(decision.wanted if decision else None, sample)
        done, standing = supervisor.risen, supervisor.phase is State.STAND
        goal = self._robot.default_pose if standing else self._robot.rest_pose
        height = done if standing else 1.0 - done
        target = self._from + 0.5 * (1.0 - math.cos(math.pi * done)) * (goal - self._from)
        return drive.track(target, torque * (SOFTEST + (1.0 - SOFTEST) * height), sample)

    def _send(self, command: Command, now: float) -> None:
        """The one place that writes to the robot."""
        powered = command.mode is not Mode.OFF
        if not (powered or self._ours):
            return
        self._ours = True
        try:
            self._interface.write(command)
            if powered and not self._supervisor.begun:
                self._supervisor.begun, self._powered_since = True, now
        except EnableRefused as error:
            # What it switched on is off again; the rest was never ours, and OFF might drop it.
            self._ours = False
            finding = Finding(Fault.ENABLE_REFUSED, Reaction.DAMP, str(error))
            self._supervisor.end(finding, State.FAULT)
        except DeviceError as error:
            self.lost(error)

    def _rehearse(
        self, sample: Sample, decision: Decision | None, findings: list[Finding]
    ) -> Verdict:
        """A dry run's tick: judged and limited as if it ran, written to nobody."""
        findings = [finding for finding in findings if finding.reaction > Reaction.CONTINUE]
        before, self._rehearsed = self._rehearsed, findings[0].fault if findings else Fault.NONE
        if findings:
            if self._rehearsed is not before:
                self._supervisor.tell(f"{findings[0].fault.name}: {findings[0].message}")
            return self._verdict(Command(Mode.OFF), Mode.OFF, self._no_reasons)
        if not np.isfinite(self._drive.target).all():
            self._drive.begin(sample)
        wanted = decision.wanted if decision else None
        command, reasons = self._drive.apply(wanted, sample)
        return self._verdict(command, Mode.OFF, reasons)

    def _verdict(self, command: Command, mode: Mode, reasons: np.ndarray) -> Verdict:
        """What a command, sent or rehearsed, came to; `mode` is the one that was sent."""
        supervisor, n = self._supervisor, len(self._robot.joints)
        nowhere, unpowered = np.full(n, np.nan), mode is Mode.OFF
        led = command.mode in (Mode.TRACK, Mode.HOLD)
        cap = np.zeros(n) if unpowered or command.torque_cap is None else command.torque_cap
        return Verdict(
            state=State.OFF if self.dry_run else supervisor.state,
            mode=mode,
            limited_target=self._drive.target if led else nowhere,
            torque_cap=cap,
            reasons=reasons,
            fault=self._rehearsed if self.dry_run else supervisor.fault or supervisor.held,
            message=supervisor.take_news(),
            limited_torque=nowhere if command.torque is None else command.torque,
        )
