"""From a control tick to its record in the log, and from all ticks to the summary of a run."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from ..hardware.interface import Sample
from ..models.limits import Reason
from .checks import Fault
from .verdict import Decision, State, Verdict


@dataclass(frozen=True)
class Times:
    """When the parts of a tick were done, on the loop's clock [s]."""

    deadline: float  # when it was due to begin
    start: float
    read: float
    inferred: float
    written: float


@dataclass(frozen=True)
class Spread:
    """How a duration was spread over the ticks [s]; NaN where there was none."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, durations: array[float]) -> Spread:
        if not durations:
            return cls(np.nan, np.nan, np.nan)
        p50, p99, largest = np.percentile(np.frombuffer(durations), [50, 99, 100])
        return cls(float(p50), float(p99), float(largest))


@dataclass(frozen=True)
class RunSummary:
    """How a run went."""

    ticks: int  # that took place
    missed: int  # deadlines: ticks that ended too late, and ticks that were skipped
    run_time: float  # in RUN, holding included [s]
    fault: Fault
    cause: str  # of the fault, one line; '' without one
    state_durations: dict[str, float]  # by name [s]
    reasons: dict[str, int]  # joint targets changed by each limit, by name
    period: Spread  # from the start of a tick to the start of the next
    compute: Spread  # from the start of a tick to its command


@dataclass
class Tally:
    """What the summary is made of, gathered as the ticks go by."""

    period: float  # control period [s]
    ticks: int = 0
    state_ticks: dict[State, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=lambda: {str(r.name): 0 for r in Reason})
    periods: array[float] = field(default_factory=lambda: array("d"))
    computes: array[float] = field(default_factory=lambda: array("d"))
    _last_start: float = np.nan

    def add(self, times: Times, verdict: Verdict, slots: int) -> None:
        """One tick, which took `slots` control periods with the ticks skipped before it."""
        self.ticks += 1
        self.state_ticks[verdict.state] = self.state_ticks.get(verdict.state, 0) + slots
        if verdict.reasons.any():
            for reason in Reason:
                count = int(np.count_nonzero(verdict.reasons & reason))
                self.reasons[str(reason.name)] += count
        if not np.isnan(self._last_start):
            self.periods.append(times.start - self._last_start)
        self._last_start = times.start
        self.computes.append(times.written - times.start)

    def restart(self) -> None:
        """The loop takes up its rhythm anew: what was before is no tick's period or work."""
        self._last_start = np.nan
        self.computes = array("d")

    def summary(self, missed: int, run_ticks: int, fault: Fault, cause: str) -> RunSummary:
        return RunSummary(
            ticks=self.ticks,
            missed=missed,
            run_time=run_ticks * self.period,
            fault=fault,
            cause=cause,
            state_durations={s.name: n * self.period for s, n in self.state_ticks.items()},
            reasons=dict(self.reasons),
            period=Spread.of(self.periods),
            compute=Spread.of(self.computes),
        )


def fill(
    record: np.void | np.ndarray,
    tick: int,
    times: Times,
    missed: int,
    sample: Sample,
    command: np.ndarray,
    decision: Decision | None,
    verdict: Verdict,
) -> None:
    """Write one tick into `record`, of the dtype `log_format.tick_dtype`.

    What did not happen is NaN: the policy's part of a tick without a decision, the target of a tick
    that held none.
    """
    record["tick"], record["missed"] = tick, missed
    record["state"], record["mode"], record["fault"] = verdict.state, verdict.mode, verdict.fault
    for name in ("deadline", "start", "read", "inferred", "written"):
        record[name] = getattr(times, name)
    for name in ("joint_pos", "joint_vel", "joint_torque", "age", "alert"):
        record[name] = getattr(sample, name)
    for name in ("gyro", "gravity", "acceleration", "imu_age", "bus_time", "wire_errors"):
        record[name] = getattr(sample, name)
    for name in ("voltage", "temperature", "error_bits", "watchdog_tripped"):
        record[name] = getattr(sample.health, name)
    for name in ("target", "torque_cap", "reasons"):
        record[name] = getattr(verdict, name)
    record["command"] = command
    inputs = decision.inputs if decision else {}
    record["clock"] = inputs["clock"][0] if "clock" in inputs else np.nan
    record["previous_action"] = inputs.get("previous_action", np.nan)
    record["action"] = decision.action if decision else np.nan
    record["policy_target"] = decision.target if decision else np.nan
