"""What sensors and policy say: findings, each with a fault and the reaction it calls for.

A comparison with NaN is false, so every check asks whether a value is *within* its bound, and
takes everything else as a finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..hardware.interface import Sample
from ..models.errors import NonFiniteError, require_finite
from ..models.robot import Robot
from .verdict import Decision, Fault

SAG_TIME = 0.5  # the supply may dip below its bound for so long: a step, not an empty battery [s]


class Reaction(IntEnum):
    """What a finding calls for, from the mildest."""

    HOLD = 1  # keep the last target, as long as the finding lasts
    LIE = 2  # the motors still obey: lie down softly, then end
    DAMP = 3  # yield, then end


@dataclass(frozen=True)
class Finding:
    """Something is wrong."""

    fault: Fault
    reaction: Reaction
    message: str  # one line: what was found and, of a value, what is allowed


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


def non_finite(sample: Sample) -> str:
    """The first NaN or infinity among the values that control and checks use; '' if there is none.

    Ages may be infinite (nothing read yet), voltages and temperatures NaN (not known yet).
    """
    try:
        require_finite(
            time=np.array([sample.time]),
            joint_pos=sample.joint_pos,
            joint_vel=sample.joint_vel,
            joint_torque=sample.joint_torque,
            gyro=sample.gyro,
            gravity=sample.gravity,
            acceleration=sample.acceleration,
        )
    except NonFiniteError as error:
        return str(error)
    return ""


def preflight(robot: Robot, sample: Sample) -> list[str]:
    """What forbids a start, one line each; empty if nothing does.

    What is not known yet forbids it too: a voltage that nobody has read is not a good voltage.
    """
    safety, health, findings = robot.safety, sample.health, []
    if bad := non_finite(sample):
        findings.append(bad)
    for index, joint in enumerate(robot.joints):
        angle, age = sample.joint_pos[index], sample.age[index]
        if not age <= safety.hold_after:
            findings.append(_silent(joint.name, age, safety.hold_after))
        elif not abs(angle - joint.rest) <= safety.start_tolerance:
            findings.append(
                f"{joint.name}: found {angle:.2f} rad, allowed is {joint.rest:.2f} ± "
                f"{safety.start_tolerance:.2f} rad, the rest pose"
            )
        if sample.alert[index]:
            findings.append(_alert(joint.name, int(health.error_bits[index])))
        if health.voltage[index] < safety.min_voltage:
            findings.append(_low(joint.name, health.voltage[index], safety.min_voltage))
        if health.temperature[index] > safety.max_temperature:
            findings.append(_hot(joint.name, health.temperature[index], safety.max_temperature))
    for name, values in (("voltage", health.voltage), ("temperature", health.temperature)):
        if unknown := int(np.isnan(values).sum()):
            findings.append(f"{name}: not known yet of {unknown} motors")
    if not sample.imu_age <= safety.hold_after:
        findings.append(_silent("imu", sample.imu_age, safety.hold_after))
    elif not tilt(sample.gravity) <= safety.tilt_limit:
        findings.append(_tilted(tilt(sample.gravity), safety.tilt_limit))
    return findings


def unfit(decision: Decision | None, n: int) -> tuple[Fault, str]:
    """Why a decision cannot be used: the fault, and what was found. Any NaN refuses it whole."""
    if decision is None:
        return Fault.POLICY_STALLED, "policy: no decision where one was due"
    for array in (decision.action, decision.joint_target):
        if array.shape != (n,):
            return Fault.NON_FINITE, f"policy: found shape {array.shape}, allowed is ({n},)"
    try:
        require_finite(action=decision.action, joint_target=decision.joint_target)
    except NonFiniteError as error:
        return Fault.NON_FINITE, f"policy: {error}"
    return Fault.NONE, ""


class SensorWatch:
    """The checks of every tick, and what they must remember from one to the next."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._bad_since = math.inf  # non-finite samples [s]
        self._sag_since = math.inf  # voltage below its bound [s]
        self._joint_pos: np.ndarray | None = None
        self._measured_at = np.zeros(len(robot.joints))
        self._acceleration: np.ndarray | None = None
        self._acceleration_at = 0.0
        self._tripped_before = np.ones(len(robot.joints), dtype=bool)

    def inspect(self, sample: Sample, now: float) -> list[Finding]:
        """All that is wrong with `sample` at the time `now` [s], causes before their effects."""
        bad = non_finite(sample)
        self._bad_since = min(self._bad_since, now) if bad else math.inf
        if bad:  # nothing that follows could be trusted
            lasts = now - self._bad_since >= self._robot.safety.damp_after
            return [Finding(Fault.NON_FINITE, Reaction.DAMP if lasts else Reaction.HOLD, bad)]
        return [
            *self._silent(sample, now),
            *self._motors(sample),
            *self._jump(sample),
            *self._frozen(sample),
            *self._tilt(sample),
            *self._supply(sample, now),
        ]

    def _silent(self, sample: Sample, now: float) -> list[Finding]:
        """Ages: what the sensors withhold ends the run; a slow policy only makes the robot hold."""
        safety, names = self._robot.safety, self._robot.joint_names
        lost = ~(sample.age <= safety.damp_after)
        if lost.all():
            text = f"all {len(names)} motors silent for more than {safety.damp_after:.2f} s"
            return [Finding(Fault.DEAD_BUS, Reaction.DAMP, text)]
        ages = {name: float(age) for name, age in zip(names, sample.age, strict=True)}
        ages["imu"] = sample.imu_age
        for name, age in ages.items():
            if not age <= safety.damp_after:
                text = _silent(name, age, safety.damp_after)
                return [Finding(Fault.STALE_SENSORS, Reaction.DAMP, text)]
        waited = now - sample.time
        for name, age in ages.items():
            if not age + waited <= safety.hold_after:
                text = _silent(name, age + waited, safety.hold_after)
                return [Finding(Fault.STALE_SENSORS, Reaction.HOLD, text)]
        return []

    def _motors(self, sample: Sample) -> list[Finding]:
        """Alerts and tripped watchdogs. Such a joint may be limp already, so all yield together."""
        findings = []
        health, names = sample.health, self._robot.joint_names
        if sample.alert.any():
            index = int(np.argmax(sample.alert))
            text = _alert(names[index], int(health.error_bits[index]))
            findings.append(Finding(Fault.MOTOR_ALERT, Reaction.DAMP, text))
        # A trip of an earlier run is cleared as the motors are enabled, but read again only later.
        tripped = health.watchdog_tripped & ~self._tripped_before
        self._tripped_before &= health.watchdog_tripped
        if tripped.any():
            text = f"{names[int(np.argmax(tripped))]}: stopped by its own watchdog"
            findings.append(Finding(Fault.WATCHDOG_TRIPPED, Reaction.DAMP, text))
        return findings

    def _jump(self, sample: Sample) -> list[Finding]:
        """Angles that changed by more than a joint can move since they were last measured."""
        if not np.isfinite(sample.age).all():
            return []
        robot, last, last_at = self._robot, self._joint_pos, self._measured_at
        measured_at = sample.time - sample.age
        self._joint_pos, self._measured_at = sample.joint_pos.copy(), measured_at
        if last is None:
            return []
        ticks = np.maximum((measured_at - last_at) / robot.control_period, 1.0)
        change = np.abs(sample.joint_pos - last)
        allowed = robot.safety.joint_jump * ticks
        jumped = ~(change <= allowed)
        if not jumped.any():
            return []
        index = int(np.argmax(jumped))
        text = (
            f"{robot.joint_names[index]}: jumped by {change[index]:.2f} rad, "
            f"allowed is {allowed[index]:.2f} rad"
        )
        return [Finding(Fault.ENCODER_JUMP, Reaction.DAMP, text)]

    def _frozen(self, sample: Sample) -> list[Finding]:
        """Acceleration never stands still in a living IMU, though a gyro at rest may repeat."""
        if not np.array_equal(sample.acceleration, self._acceleration):  # type: ignore[arg-type]
            self._acceleration = sample.acceleration.copy()
            self._acceleration_at = sample.time
        same_for = sample.time - self._acceleration_at
        if same_for < self._robot.safety.frozen_after:
            return []
        allowed = self._robot.safety.frozen_after
        text = f"imu: the same acceleration for {same_for:.2f} s, allowed is {allowed:.2f} s"
        return [Finding(Fault.IMU_FROZEN, Reaction.DAMP, text)]

    def _tilt(self, sample: Sample) -> list[Finding]:
        angle, allowed = tilt(sample.gravity), self._robot.safety.tilt_limit
        if angle <= allowed:
            return []
        return [Finding(Fault.TILT, Reaction.DAMP, _tilted(angle, allowed))]

    def _supply(self, sample: Sample, now: float) -> list[Finding]:
        """Heat and voltage: the motors still obey, so the robot lies down while it can."""
        findings = []
        health, safety, names = sample.health, self._robot.safety, self._robot.joint_names
        hot = health.temperature > safety.max_temperature
        if hot.any():
            index = int(np.argmax(hot))
            text = _hot(names[index], health.temperature[index], safety.max_temperature)
            findings.append(Finding(Fault.OVERHEATED, Reaction.LIE, text))
        low = health.voltage < safety.min_voltage
        self._sag_since = min(self._sag_since, now) if low.any() else math.inf
        if now - self._sag_since >= SAG_TIME:
            index = int(np.argmax(low))
            text = _low(names[index], health.voltage[index], safety.min_voltage)
            findings.append(Finding(Fault.UNDERVOLTAGE, Reaction.LIE, text))
        return findings


def _silent(name: str, age: float, allowed: float) -> str:
    if age == math.inf:
        return f"{name}: no reading yet"
    return f"{name}: last reading {age:.2f} s ago, allowed is {allowed:.2f} s"


def _alert(name: str, bits: int) -> str:
    return f"{name}: hardware error (status 0x{bits:02x}): reboot it"


def _low(name: str, voltage: float, allowed: float) -> str:
    return f"{name}: found {voltage:.1f} V, allowed is at least {allowed:.1f} V"


def _hot(name: str, temperature: float, allowed: float) -> str:
    return f"{name}: found {temperature:.1f} °C, allowed is at most {allowed:.1f} °C"


def _tilted(angle: float, allowed: float) -> str:
    return f"tilt: found {angle:.2f} rad, allowed is at most {allowed:.2f} rad"
