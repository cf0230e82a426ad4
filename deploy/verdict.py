"""What goes into a tick of the safety monitor, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..hardware.interface import Mode
from ..models.limits import Output


class State(IntEnum):
    """What the supervisor is at."""

    OFF = 0  # no torque
    STAND = 1  # standing up softly
    RUN = 2  # the policy's targets, within the limits
    LIE = 3  # lying down softly
    HOLD = 4  # the last target, until what is wrong has passed
    DAMP = 5  # yielding, before torque goes off
    FAULT = 6  # no torque; latched


class Fault(IntEnum):
    """Why a run ended, or why the robot holds."""

    NONE = 0
    TILT = 1  # fallen, or about to
    STALE_SENSORS = 2  # a motor or the IMU is silent
    DEAD_BUS = 3  # all motors are silent, or a port of theirs is gone
    MISSED_DEADLINES = 4  # in a row
    NON_FINITE = 5  # NaN or infinity from the sensors or from the policy
    MOTOR_ALERT = 6  # a motor reports a hardware error
    ENCODER_JUMP = 7  # a joint angle changed faster than any joint moves
    IMU_FROZEN = 8  # the IMU answers, always the same
    OVERHEATED = 9
    UNDERVOLTAGE = 10
    WATCHDOG_TRIPPED = 11  # a motor stopped by itself, having heard nothing
    POLICY_STALLED = 12  # no decision where one was due
    POSE_NOT_REACHED = 13  # stood up, and does not stand
    START_REFUSED = 14  # the checks before the first torque failed
    ENABLE_REFUSED = 15  # a motor did not take torque, or had it already
    TORQUE_LOST = 16  # a motor is limp, or has lost its gains, under torque
    ATTITUDE_DISAGREES = 17  # what the IMU says of down and what it feels are not one
    RUNAWAY = 18  # under joint torques: a joint stays faster than it may be


@dataclass(frozen=True)
class Decision:
    """What the policy wants, untrusted, and what it was asked."""

    inputs: Mapping[str, np.ndarray]  # float32, each of shape (width,)
    action: np.ndarray  # raw, float32. Shape (n,)
    wanted: np.ndarray  # joint target [rad], or torque [N·m], of the policy, float64. Shape (n,)
    output: Output = "joint_target"  # which of the two it is
    next_state: np.ndarray | None = None  # of a policy that has one, as wide as its input `state`


@dataclass(frozen=True)
class Verdict:
    """What one tick came to."""

    state: State
    mode: Mode  # commanded
    limited_target: np.ndarray  # joint target after the limits; NaN where none is held [rad]. (n,)
    torque_cap: np.ndarray  # commanded [N·m]. Shape (n,)
    reasons: np.ndarray  # `limits.Reason` bits, which limits acted, uint8. Shape (n,)
    fault: Fault  # latched, or the cause of HOLD
    message: str  # what is new, one line; '' if nothing is
    limited_torque: np.ndarray  # joint torque commanded [N·m]; NaN where none was. Shape (n,)
