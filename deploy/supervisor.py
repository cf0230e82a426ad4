"""The states of a run: which one is on, for how long, and why it ended. Writes to nobody.

What may pass is let pass, but not for ever: trouble fills a leaky bucket. It counts the time with
trouble up and the time without it down at `RELIEF`, to zero at least, and anew in each phase; at
`TROUBLE_LIMIT` the run ends. So a second on end ends it, and so does, in the long run, trouble for
more than a fifth of the time (a quarter of what is without it), however it is spread. A stall of 50
ms is forgotten 0.2 s later.
"""

from __future__ import annotations

import math

import numpy as np

from ..hardware.interface import Sample
from ..models.errors import UsageError
from ..models.robot import Robot
from .checks import Finding, Reaction
from .verdict import Fault, State

TROUBLE_LIMIT = 1.0  # what has not passed by then does not pass by itself [s]
RELIEF = 0.25  # of time without trouble, in time with it


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
        self._trouble = 0.0  # level of the bucket [s]
        self._in_trouble = False  # in the tick before
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
        self.begun = False
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
        """React to the worst of the findings, or to trouble that has lasted too long."""
        held, self.held = self.held, Fault.NONE
        if self.ended:
            return
        worst = {finding.reaction: finding for finding in reversed(findings)}
        if Reaction.DAMP in worst:
            self.end(worst[Reaction.DAMP], State.DAMP)
            return
        if Reaction.LIE in worst and self.phase in (State.STAND, State.RUN):
            self.end(worst[Reaction.LIE], State.LIE)
        troubles = [finding for finding in findings if self._is_trouble(finding)]
        self._fill(bool(troubles), now)
        if not troubles:
            return
        trouble = max(troubles, key=lambda finding: finding.reaction)
        if self._trouble >= TROUBLE_LIMIT - 1e-9:
            self._give_up(trouble, sample)
        elif trouble.reaction is Reaction.HOLD:
            self.held = trouble.fault
            if self.held is not held:
                self.tell(f"holding: {trouble.message}")

    def _is_trouble(self, finding: Finding) -> bool:
        """Nothing holds up what ends a run, unless lying down needs to know just that."""
        if finding.reaction > Reaction.HOLD or self.phase is State.DAMP:
            return False
        return not (self.phase is State.LIE and finding.spares_lying)

    def _fill(self, in_trouble: bool, now: float) -> None:
        """The bucket, by the time since the tick before, which was spent as that tick was."""
        passed = self._since_last(now)
        level = self._trouble + (passed if self._in_trouble else -RELIEF * passed)
        self._trouble = max(level, 0.0)
        self._in_trouble = in_trouble

    def _since_last(self, now: float) -> float:
        """Time since the tick before [s]; 0 for the first of a run."""
        return now - self._last if self._last <= now else 0.0

    def _give_up(self, trouble: Finding, sample: Sample) -> None:
        """Lie down, where the motors answer and say where they are; else yield."""
        answer = (sample.age <= self._robot.safety.hold_after).all()
        known = np.isfinite([sample.joint_pos, sample.joint_vel]).all()
        gently = answer and known and self.phase in (State.STAND, State.RUN)
        text = f"in trouble for {TROUBLE_LIMIT:g} s: {trouble.message}"
        finding = Finding(trouble.fault, Reaction.DAMP, text)
        self.end(finding, State.LIE if gently else State.DAMP)

    def advance(self, sample: Sample, now: float) -> None:
        """Go to the next phase, where this one is over."""
        # A tick that comes late, or after the enabling of torque, moves no target by leaps.
        passed, self._last = self._since_last(now), now
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
        self._trouble, self._in_trouble = 0.0, False
        # A start's time begins with its first tick.
        self._last = math.nan if phase is State.STAND else self._last
