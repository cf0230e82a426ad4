"""The figures of a run, from its ticks: the same for the loop, for a log, and for whoever judges.

All take ticks as records of `format.tick_dtype`, or of those of its fields in `COLUMNS`.
Times are in seconds. Each tick is

    deadline   start ──────── read ──────── inferred ──────── written
               │   sensors    │    policy   │   safety, bus   │
               │   `read`     │    `infer`  │                 │
               └───────────────── `busy` ─────────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from ...hardware.interface import Mode
from ...models.limits import Reason
from ..verdict import Fault, State
from .format import tick_dtype

COLUMNS = (
    "state",
    "mode",
    "missed",
    "wire_errors",
    "bus_time",
    "reasons",
    "deadline",
    "start",
    "read",
    "inferred",
    "written",
)
CHUNK = 4096  # ticks: no tick ever copies more than itself


@dataclass(frozen=True)
class Spread:
    """How a duration is spread over the ticks [s]."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, durations: np.ndarray) -> Spread | None:
        """The figures of the finite among durations [s], or None where none is. Shape (T,)."""
        finite = durations[np.isfinite(durations)].astype(np.float64)
        if not len(finite):
            return None
        return cls(*np.percentile(finite, (50, 99, 100)).tolist())


@dataclass(frozen=True)
class StateShare:
    """How long a state lasted, all its times together."""

    ticks: int
    seconds: float  # from the start of each tick to the start of the next


@dataclass(frozen=True)
class LimitShare:
    """How often a limit acted on joint targets."""

    ticks: int  # in which it acted on any joint
    joints: dict[str, int]  # by name: ticks in which it acted on that joint, where it ever did


@dataclass(frozen=True)
class Figures:
    """What the ticks of a run come to. Each spread is None where nothing was measured."""

    ticks: int
    duration: float  # from the first tick to the last [s]
    missed_deadlines: int  # ticks that ended too late, and ticks that were skipped
    wire_errors: int
    states: dict[str, StateShare]  # by name, in the order of their first appearance
    holds: int  # how often HOLD began
    reasons: dict[str, LimitShare]  # by the limit's name
    period: Spread | None  # from the start of a tick to the start of the next
    late: Spread | None  # from the time a tick was due to its start
    read: Spread | None  # the reading of the sensors
    infer: Spread | None  # the policy, where it was asked: inferred − read
    busy: Spread | None  # the whole work of a tick: written − start
    bus: Spread | None  # on the motor bus, since the last reading of the sensors


@dataclass(frozen=True)
class RunSummary:
    """How a run went."""

    fault: Fault
    cause: str  # of the fault, one line; '' without one
    stopped: str  # before its time: "operator", or "operator, twice" for at once; '' if it was not
    torque_left_on: tuple[str, ...]  # joints whose torque was not seen off at the end
    run_time: float  # in RUN, holding included [s]
    figures: Figures


class Tally:
    """Gathers the ticks of a run under way, as far as `summarise` asks for them."""

    def __init__(self, n: int) -> None:
        whole = tick_dtype(n, c=0)  # of the command nothing is gathered
        self._dtype = np.dtype([(name, whole[name]) for name in COLUMNS])
        self._names = list(self._dtype.names or ())
        self._chunks: list[np.ndarray] = []
        self._free = 0  # rows of the last chunk

    def add(self, record: np.ndarray) -> None:
        """One tick, of `tick_dtype` and shape ()."""
        if not self._free:
            self._chunks.append(np.zeros(CHUNK, self._dtype))
            self._free = CHUNK
        self._chunks[-1][CHUNK - self._free] = record[self._names]
        self._free -= 1

    @property
    def ticks(self) -> np.ndarray:
        """All ticks so far. Shape (T,)."""
        if not self._chunks:
            return np.zeros(0, self._dtype)
        return np.concatenate([*self._chunks[:-1], self._chunks[-1][: CHUNK - self._free]])


def summarise(ticks: np.ndarray, joint_names: Sequence[str]) -> Figures:
    """The figures of ticks. Shape (T,)."""
    start = ticks["start"]
    usual = ~_enabling(ticks)
    asked = ticks["inferred"] > ticks["read"]  # equal where the policy had no turn
    return Figures(
        ticks=len(ticks),
        duration=float(start[-1] - start[0]) if len(ticks) else 0.0,
        missed_deadlines=int(ticks["missed"].max(initial=0)),
        wire_errors=int(ticks["wire_errors"].max(initial=0)),
        states=_states(ticks),
        holds=int((_began(ticks["state"]) & (ticks["state"] == State.HOLD)).sum()),
        reasons=_reasons(ticks, joint_names),
        period=Spread.of(np.diff(start)[usual[:-1]]),
        late=Spread.of(start - ticks["deadline"]),
        read=Spread.of(ticks["read"] - start),
        infer=Spread.of((ticks["inferred"] - ticks["read"])[asked]),
        busy=Spread.of((ticks["written"] - start)[usual]),
        bus=Spread.of(ticks["bus_time"][np.append(True, usual)[: len(ticks)]]),
    )


def faults(ticks: np.ndarray) -> list[dict[str, Any]]:
    """Where a fault was latched: its name, the tick's number, and the time since the first [s]."""
    latched = np.where(ticks["state"] == State.HOLD, Fault.NONE, ticks["fault"])
    return _told(ticks, ticks[_began(latched) & (latched != Fault.NONE)])


def holds(ticks: np.ndarray) -> list[dict[str, Any]]:
    """Where the robot began to hold, and why, as `faults` tells it."""
    why = np.where(ticks["state"] == State.HOLD, ticks["fault"], Fault.NONE)
    return _told(ticks, ticks[_began(why) & (why != Fault.NONE)])


def _told(ticks: np.ndarray, which: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "tick": int(tick["tick"]),
            "time": float(tick["start"] - ticks["start"][0]),
            "fault": _name(Fault, int(tick["fault"])),
        }
        for tick in which
    ]


def _began(values: np.ndarray) -> np.ndarray:
    """Where another value than 0, or than that of the tick before, begins. Shape (T,)."""
    return values != np.append(0, values[:-1])[: len(values)]


def bounds(values: np.ndarray) -> list[float] | None:
    """Smallest and largest finite value of any shape; None where there is none."""
    finite = values[np.isfinite(values)]
    return [float(finite.min()), float(finite.max())] if len(finite) else None


def _enabling(ticks: np.ndarray) -> np.ndarray:
    """Ticks that enable torque: that talks with every motor, and takes what it takes. (T,)."""
    powered = ticks["mode"] != Mode.OFF
    return powered & ~np.append(False, powered[:-1])[: len(ticks)]


def _states(ticks: np.ndarray) -> dict[str, StateShare]:
    lengths = np.append(np.diff(ticks["start"]), 0.0)[: len(ticks)]  # the last tick has no end
    values, first = np.unique(ticks["state"], return_index=True)
    states = {}
    for value in values[np.argsort(first)]:
        inside = ticks["state"] == value
        share = StateShare(int(inside.sum()), float(lengths[inside].sum()))
        states[_name(State, int(value))] = share
    return states


def _reasons(ticks: np.ndarray, joint_names: Sequence[str]) -> dict[str, LimitShare]:
    reasons = {}
    for reason in Reason:
        acted = (ticks["reasons"] & reason.value) != 0
        counts = zip(joint_names, acted.sum(axis=0).tolist(), strict=True)
        joints = {name: count for name, count in counts if count}
        reasons[str(reason.name)] = LimitShare(int(acted.any(axis=1).sum()), joints)
    return reasons


def _name(enum: type[IntEnum], value: int) -> str:
    """Name of a member, or the number in a log of another version."""
    return enum(value).name if value in list(enum) else str(value)
