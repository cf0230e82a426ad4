"""The states of a run: which one is on, for how long, and why it ended. Writes to nobody."""

from __future__ import annotations

import math

import numpy as np

from ..hardware.interface import Sample
from ..models.errors import UsageError
from ..models.robot import Robot
from .checks import Finding, Reaction
from .verdict import Fault, State

HOLD_LIMIT = 1.0  # what has not passed by then does not pass by itself [s]


class Supervisor:
    """One run after the other, as long as they end without a fault."""

    def __init__(self, robot: Robot) -> None:
        self.fault = Fault.NONE  # latched
        self.cause = ""  # the message of the fault
        self.phase = State.OFF  # the state under HOLD
        self.held = Fault.NONE  # why it holds now
        self.begun = False  # a powered command of this start went through
        self._robot = robot
        self._elapsed = 0.0  # in this phase, less the time on hold [s]
        self._last = math.nan  # time of the last tick [s]
        self._held_since = math.inf  # without a tick between that did not hold [s]
        self._news: list[str] = []

    @property
    def state(self) -> State:
        return State.HOLD if self.held else self.phase

    @property
    def ended(self) -> bool:
        """Torque is off and nothing more will come."""
        return self.phase in (State.OFF, State.FAULT)

    @property
    def risen(self) -> float:
        """How much of standing up or lying down is done, 0 to 1."""
        return min(self._elapsed / self._robot.safety.stand_time, 1.0)

    def take_news(self) -> str:
        """What is new since the last call, one line; '' if nothing is."""
        text, self._news = "; ".join(self._news), []
        return text

    def tell(self, text: str) -> None:
        """Add to the news."""
        self._news.append(text)

    # --- what the operator and the loop ask for ---------------------------------------------------

    def start(self) -> None:
        """OFF to STAND. Raises UsageError in any other state."""
        if self.phase is not State.OFF:
            why = f" ({self.cause})" if self.cause else ""
            raise UsageError(f"start: found state {self.state.name}{why}, allowed is OFF")
        self.begun, self._held_since = False, math.inf
        self.enter(State.STAND)

    def stop(self) -> bool:
        """Lie down softly, damp, torque off; False where that is under way or done."""
        if self._not_begun():
            self.enter(State.OFF)
            return True
        if self.phase not in (State.STAND, State.RUN):
            return False
        self.tell("stopped: lying down")
        self.enter(State.LIE)
        return True

    def damp(self, why: str) -> bool:
        """Yield at once, then torque off; False where that is under way or done."""
        if self._not_begun():  # damping would enable torque
            self.tell(why)
            self.enter(State.OFF)
            return True
        if self.phase not in (State.STAND, State.RUN, State.LIE):
            return False
        self.tell(why)
        self.enter(State.DAMP)
        return True

    def _not_begun(self) -> bool:
        return self.phase is State.STAND and not self.begun

    # --- what a tick brings -----------------------------------------------------------------------

    def react(self, findings: list[Finding], sample: Sample, now: float) -> None:
        """To the worst of the findings, and to a hold that has lasted too long."""
        held, self.held = self.held, Fault.NONE
        if self.ended:
            return
        worst = {finding.reaction: finding for finding in reversed(findings)}
        if Reaction.DAMP in worst:
            self.end(worst[Reaction.DAMP], State.DAMP)
            return
        if Reaction.LIE in worst and self.phase in (State.STAND, State.RUN):
            self.end(worst[Reaction.LIE], State.LIE)
        hold = next((f for f in findings if self._must_hold(f)), None)
        self._held_since = min(self._held_since, now) if hold else math.inf
        if hold is None:
            return
        if now - self._held_since < HOLD_LIMIT - 1e-9:
            self.held = hold.fault
            if self.held is not held:
                self.tell(f"holding: {hold.message}")
            return
        answer = (sample.age <= self._robot.safety.hold_after).all()
        gently = bool(answer) and self.phase in (State.STAND, State.RUN)
        text = f"held for {HOLD_LIMIT:g} s: {hold.message}"
        self.end(Finding(hold.fault, Reaction.DAMP, text), State.LIE if gently else State.DAMP)

    def _must_hold(self, finding: Finding) -> bool:
        """Nothing holds up what ends a run, unless lying down needs to know just that."""
        if finding.reaction is not Reaction.HOLD or self.phase is State.DAMP:
            return False
        return not (self.phase is State.LIE and finding.imu_only)

    def advance(self, sample: Sample, now: float) -> None:
        """To the next phase, where this one is over."""
        # A tick that comes late, or after the enabling of torque, moves no target by leaps.
        passed = now - self._last if self._last <= now else 0.0
        self._last = now
        if self.held or self.ended:
            return
        safety = self._robot.safety
        if self.phase is State.STAND and self._reached(safety.stand_time):
            off = np.abs(sample.joint_pos - self._robot.default_pose)
            index = int(np.argmax(off))
            if off[index] <= safety.start_tolerance:
                self.enter(State.RUN)
                return
            text = (
                f"{self._robot.joint_names[index]}: {off[index]:.2f} rad from the standing pose, "
                f"allowed is {safety.start_tolerance:.2f} rad"
            )
            self.end(Finding(Fault.POSE_NOT_REACHED, Reaction.LIE, text), State.LIE)
        elif self.phase is State.LIE and self._reached(safety.stand_time):
            self.enter(State.DAMP)
        elif self.phase is State.DAMP and self._reached(safety.damp_time):
            self.enter(State.FAULT if self.fault else State.OFF)
        else:
            self._elapsed += min(passed, 2 * self._robot.control_period)

    def _reached(self, duration: float) -> bool:
        return self._elapsed >= duration - 1e-9

    # --- changes ----------------------------------------------------------------------------------

    def end(self, finding: Finding, phase: State) -> None:
        """Latch a fault and go on to LIE, DAMP or FAULT; damping that is under way goes on.

        The first fault is the cause; a later one is only told.
        """
        text = f"{finding.fault.name}: {finding.message}"
        if not self.fault:
            self.fault, self.cause = finding.fault, finding.message
            self.tell(text)
        elif self.phase not in (State.DAMP, State.FAULT):
            self.tell(f"then {text}")
        if self.phase is not phase:
            self.enter(phase)

    def enter(self, phase: State) -> None:
        self.phase, self.held, self._elapsed = phase, Fault.NONE, 0.0
        # A start's time begins with its first tick.
        self._last = math.nan if phase is State.STAND else self._last
