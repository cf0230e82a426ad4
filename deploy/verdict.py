"""What goes into a tick of the safety monitor, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from ..hardware.interface import Mode
from ..models.errors import NonFiniteError
from ..models.limits import require_finite
from .checks import Fault


class State(IntEnum):
    """What the supervisor is at."""

    OFF = 0  # no torque
    STAND = 1  # standing up softly
    RUN = 2  # the policy's targets, within the limits
    LIE = 3  # lying down softly
    HOLD = 4  # the last target, until what is wrong has passed
    DAMP = 5  # yielding, before torque goes off
    FAULT = 6  # no torque; latched


class Decision(Protocol):
    """What a policy wants."""

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """What it saw, by name."""
        ...

    @property
    def action(self) -> np.ndarray:
        """Raw action. Shape (n,)."""
        ...

    @property
    def target(self) -> np.ndarray:
        """Wanted joint target [rad]. Shape (n,)."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What one tick came to."""

    state: State
    mode: Mode  # commanded
    target: np.ndarray  # joint target, as limited; NaN where none is held [rad]. Shape (n,)
    torque_cap: np.ndarray  # commanded [N·m]. Shape (n,)
    reasons: (
        np.ndarray
    )  # `limits.Reason` bits, why target is not what was wanted, uint8. Shape (n,)
    fault: Fault  # latched, or the cause of HOLD
    message: str  # what is new, one line; '' if nothing is


def unfit(decision: Decision | None, n: int) -> tuple[Fault, str]:
    """Why a decision cannot be used: the fault, and what was found. Any NaN refuses it whole."""
    if decision is None:
        return Fault.POLICY_STALLED, "policy: found no decision, allowed is one each tick"
    for array in (decision.action, decision.target):
        if array.shape != (n,):
            return Fault.NON_FINITE, f"policy: found shape {array.shape}, allowed is ({n},)"
    try:
        require_finite(action=decision.action, target=decision.target)
    except NonFiniteError as error:
        return Fault.NON_FINITE, f"policy: {error}"
    return Fault.NONE, ""
