"""What sensors and policy say: findings, each with a fault and the reaction it calls for.

A comparison with NaN is false, so every check asks whether a value is *within* its bound, and
takes everything else as a finding. The checks of a tick are in `watch.py` and `attitude.py`, those
before a start in `preflight.py`; here is what they share, and the check of the policy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..hardware.dynamixel.xseries import HardwareError
from ..hardware.interface import Sample
from ..models.errors import NonFiniteError, require_finite
from ..models.limits import Output
from ..models.robot import Robot
from .verdict import Decision, Fault

FORCE_MARGIN = 0.1  # of a contact sensor's range, beyond which it may not read
SLOW_STALE = 2.0  # age from which voltage, temperature and the like say nothing any more [s]


class Reaction(IntEnum):
    """What a finding calls for, from the mildest."""

    CONTINUE = 0  # it ends a run only where it comes again and again
    HOLD = 1  # keep the last target, as long as the finding lasts
    LIE = 2  # the motors still obey: lie down softly, then end
    DAMP = 3  # yield, then end


@dataclass(frozen=True)
class Finding:
    """Something is wrong."""

    fault: Fault
    reaction: Reaction
    message: str  # one line: what was found and, of a value, what is allowed
    spares_lying: bool = False  # lying down needs nothing of it


def tilt(gravity: np.ndarray) -> float:
    """Angle between the base's z axis and up, 0 to π: upside down is π [rad].

    Args:
        gravity: unit vector pointing down, in the base frame. Shape (3,). What is no unit vector
            says nothing about up, and counts as upside down.
    """
    x, y, z = (float(value) for value in gravity)
    if not abs(math.hypot(x, y, z) - 1.0) < 0.1:
        return math.pi
    return math.atan2(math.hypot(x, y), -z)


def non_finite(sample: Sample, robot: Robot) -> str:
    """The first NaN or infinity among what a policy is given, or what is no force; '' if none is.

    Ages may be infinite (nothing read yet), voltages and temperatures NaN (not known yet), and what
    an IMU would say, of a robot that has none.
    """
    return (
        non_finite_motors(sample)
        or (non_finite_imu(sample) if robot.imu else "")
        or bad_contact_force(sample, robot)
    )


def non_finite_motors(sample: Sample) -> str:
    """The first NaN or infinity among the motors' values; '' if there is none."""
    return _first_bad(
        time=np.array([sample.time]),
        joint_pos=sample.joint_pos,
        joint_vel=sample.joint_vel,
        joint_torque=sample.joint_torque,
    )


def non_finite_imu(sample: Sample) -> str:
    """The first NaN or infinity among the IMU's values; '' if there is none."""
    return _first_bad(gyro=sample.gyro, gravity=sample.gravity, acceleration=sample.acceleration)


def bad_contact_force(sample: Sample, robot: Robot) -> str:
    """What is wrong with the contact forces; '' if nothing is, or where nobody reads them."""
    force, sensors = sample.contact_force, robot.contact_sensors
    if bad := _first_bad(contact_force=force):
        return bad
    if force.shape == (0,):
        return ""
    if force.shape != (len(sensors),):
        return f"contact_force: found shape {force.shape}, allowed is (0,) or ({len(sensors)},)"
    for sensor, value in zip(sensors, force, strict=True):
        most = (1.0 + FORCE_MARGIN) * sensor.range
        if not abs(value) <= most:
            return (
                f"contact sensor {sensor.name}: found {value:.3g} N, allowed is up to {most:.3g} N"
            )
    return ""


def check_decision(decision: Decision | None, n: int, output: Output) -> tuple[Fault, str]:
    """Why a decision cannot be used: the fault, and what was found. Any NaN refuses it whole.

    `output` is what the n joints are driven by: a torque is no angle.
    """
    if decision is None:
        return Fault.POLICY_STALLED, "policy: no decision where one was due"
    if decision.output != output:
        text = f"policy: found {decision.output}, this robot is driven by {output}"
        return Fault.NON_FINITE, text
    shaped = [("action", decision.action, n), (decision.output, decision.wanted, n)]
    if decision.next_state is not None:
        shaped.append(("next_state", decision.next_state, len(decision.inputs["state"])))
    for name, array, width in shaped:
        if array.shape != (width,):
            text = f"policy: {name}: found shape {array.shape}, allowed is ({width},)"
            return Fault.NON_FINITE, text
    bad = _first_bad(**{name: array for name, array, _ in shaped})
    return (Fault.NON_FINITE, f"policy: {bad}") if bad else (Fault.NONE, "")


# --- words ------------------------------------------------------------------------------------


def who(names: Sequence[str], which: np.ndarray) -> str:
    """The joints of a mask, in few words. Shape (n,)."""
    if len(names) > 1 and which.all():
        return f"all {len(names)} motors"
    found = [name for name, is_it in zip(names, which, strict=True) if is_it]
    return found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "")


def silent(name: str, age: float, allowed: float) -> str:
    """Message on a motor or the IMU that was last heard of so long ago [s]."""
    if age == math.inf:
        return f"{name}: no reading yet"
    return f"{name}: last reading {1e3 * age:.1f} ms ago, allowed is {1e3 * allowed:g} ms"


def slow_stale(name: str, age: float) -> str:
    """Message on a motor whose slow values are too old [s]."""
    return f"{name}: voltage and temperature read {age:.1f} s ago, allowed is {SLOW_STALE:g} s"


def alert(name: str, bits: int) -> str:
    """Message on a motor that reports a hardware error."""
    if not bits:
        return f"{name}: hardware error, its status not read yet"
    what = HardwareError(bits).name or "unknown"
    return f"{name}: hardware error 0x{bits:02x} ({what}): reboot it"


def low(name: str, voltage: float, allowed: float) -> str:
    """Message on a motor with too little voltage [V]."""
    return f"{name}: found {voltage:.1f} V, allowed is at least {allowed:.1f} V"


def hot(name: str, temperature: float, allowed: float) -> str:
    """Message on a motor that is too hot [°C]."""
    return f"{name}: found {temperature:.1f} °C, allowed is at most {allowed:.1f} °C"


def tilted(angle: float, allowed: float) -> str:
    """Message on a base that leans too much [rad]."""
    return f"tilt: found {angle:.2f} rad, allowed is at most {allowed:.2f} rad"


def _first_bad(**arrays: np.ndarray) -> str:
    try:
        require_finite(**arrays)
    except NonFiniteError as error:
        return str(error)
    return ""
