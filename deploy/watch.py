"""The checks of every tick, and what they must remember from one to the next."""

from __future__ import annotations

import math

import numpy as np

from ..hardware.dynamixel.xseries import HardwareError
from ..hardware.interface import Sample
from ..models.limits import Limits, Output
from ..models.robot import Robot
from .attitude import AttitudeWatch
from .checks import (
    SLOW_STALE,
    Finding,
    Reaction,
    alert,
    bad_contact_force,
    hot,
    low,
    non_finite_imu,
    non_finite_motors,
    silent,
    slow_stale,
    who,
)
from .verdict import Fault

SAG_TIME = 0.5  # the supply may dip below its bound for so long: a step, not an empty battery [s]
OVERSPEED = 1.2  # times the velocity limit of joint torques; for `hold_after` it is a fault
SPEED_MARGIN = 1.5  # gravity and shoves may move a joint faster than its motor without load does


class SensorWatch:
    """What is wrong with a robot's samples, one after the other."""

    def __init__(self, robot: Robot, output: Output = "joint_target") -> None:
        self._robot = robot
        # Under joint torques alone the limits keep a joint from being fast.
        self._fastest = Limits.of(robot, output).velocity if output == "joint_torque" else None
        self._fast_since = math.inf  # [s]
        self._attitude = AttitudeWatch(robot.safety)
        self._bad_since = math.inf  # non-finite samples [s]
        self._bad_contact_since = math.inf  # contact forces that are none [s]
        self._sag_since = math.inf  # voltage below its bound [s]
        self._unread_since = math.inf  # an alert whose cause is not known [s]
        self._joint_pos: np.ndarray | None = None
        self._measured_at = np.zeros(len(robot.joints))
        self._top_speed = SPEED_MARGIN * robot.no_load_speed

    def inspect(self, sample: Sample, now: float, powered_since: float = math.inf) -> list[Finding]:
        """All that is wrong with a sample, causes before their effects.

        Args:
            sample: the newest.
            now: by when the policy has answered [s].
            powered_since: when torque was commanded on; inf where it is off [s].
        """
        motors = non_finite_motors(sample)
        imu = non_finite_imu(sample) if self._robot.imu else ""
        contact = bad_contact_force(sample, self._robot)
        non_finite = self._non_finite(motors or imu, not motors, contact, now)
        if motors:  # nothing that follows could be trusted
            return non_finite
        # What a silent IMU said last would count as frozen, and says nothing about now.
        heard = self._robot.imu and not imu and sample.imu_age <= self._robot.safety.damp_after
        return [
            *non_finite,
            *self._silent(sample, now),
            *self._motors(sample, now),
            *self._torque(sample, powered_since),
            *self._jump(sample),
            *self._runaway(sample, now),
            *(self._attitude.inspect(sample) if heard else []),
            *self._supply(sample, now),
        ]

    def _non_finite(self, bad: str, imu: bool, contact: str, now: float) -> list[Finding]:
        """Values that are none: for want of motors or IMU it yields, of forces it lies down.

        `bad` is what is wrong with the motors or, where `imu` says so, with the IMU alone.
        """
        patience, findings = self._robot.safety.damp_after, []
        self._bad_since = min(self._bad_since, now) if bad else math.inf
        self._bad_contact_since = min(self._bad_contact_since, now) if contact else math.inf
        if bad:
            reaction = Reaction.DAMP if now - self._bad_since >= patience else Reaction.HOLD
            findings.append(Finding(Fault.NON_FINITE, reaction, bad, spares_lying=imu))
        if contact:
            reaction = Reaction.LIE if now - self._bad_contact_since >= patience else Reaction.HOLD
            findings.append(Finding(Fault.NON_FINITE, reaction, contact, spares_lying=True))
        return findings

    def _silent(self, sample: Sample, now: float) -> list[Finding]:
        """Ages: what the sensors withhold ends the run; a slow policy only makes the robot hold.

        Without motors there is nothing left but to yield; without the IMU it can still lie down.
        """
        safety, names, findings = self._robot.safety, self._robot.joint_names, []
        lost = ~(sample.age <= safety.damp_after)
        if lost.all():
            text = f"all {len(names)} motors silent for more than {1e3 * safety.damp_after:g} ms"
            return [Finding(Fault.DEAD_BUS, Reaction.DAMP, text)]
        if lost.any():
            text = silent(who(names, lost), float(sample.age[lost].max()), safety.damp_after)
            return [Finding(Fault.STALE_SENSORS, Reaction.DAMP, text)]
        waited = now - sample.time
        age, imu_age = sample.age + waited, sample.imu_age + waited  # the latter NaN without an IMU
        late = ~(age <= safety.hold_after)
        if late.any():
            text = silent(who(names, late), float(age[late].max()), safety.hold_after)
            findings.append(Finding(Fault.STALE_SENSORS, Reaction.HOLD, text))
        if not self._robot.imu:
            return findings
        if not sample.imu_age <= safety.damp_after:
            text = silent("imu", sample.imu_age, safety.damp_after)
            findings.append(Finding(Fault.STALE_SENSORS, Reaction.LIE, text))
        elif not imu_age <= safety.hold_after:
            text = silent("imu", imu_age, safety.hold_after)
            findings.append(Finding(Fault.STALE_SENSORS, Reaction.HOLD, text, spares_lying=True))
        return findings

    def _motors(self, sample: Sample, now: float) -> list[Finding]:
        """Alerts. Such a joint may be limp already, so all yield together.

        An input voltage error alone is a matter of the supply. While no alert's cause is known the
        robot holds, since the answer that tells comes with the alert or a tick or two after it.
        """
        bits, names = sample.health.error_bits, self._robot.joint_names
        severe = (bits & ~np.uint8(HardwareError.INPUT_VOLTAGE)) != 0
        unread = sample.alert & (bits == 0)
        guessing = unread.any() and not bits.any()
        self._unread_since = min(self._unread_since, now) if guessing else math.inf
        if severe.any():
            index = int(np.argmax(severe))
            text = alert(names[index], int(bits[index]))
            return [Finding(Fault.MOTOR_ALERT, Reaction.DAMP, text)]
        if guessing:
            lasts = now - self._unread_since >= self._robot.safety.damp_after
            reaction = Reaction.DAMP if lasts else Reaction.HOLD
            return [Finding(Fault.MOTOR_ALERT, reaction, alert(who(names, unread), 0))]
        return []

    def _torque(self, sample: Sample, powered_since: float) -> list[Finding]:
        """Motors that are limp although torque is commanded, by news from after that command."""
        health, names = sample.health, self._robot.joint_names
        news = sample.time - health.age > powered_since
        tripped, limp = news & health.watchdog_tripped, news & ~health.torque_on
        if tripped.any():
            text = f"{who(names, tripped)}: stopped by its own watchdog"
            return [Finding(Fault.WATCHDOG_TRIPPED, Reaction.DAMP, text)]
        if limp.any():
            text = f"{who(names, limp)}: found torque off or other gains than were sent"
            return [Finding(Fault.TORQUE_LOST, Reaction.DAMP, text)]
        return []

    def _jump(self, sample: Sample) -> list[Finding]:
        """Angles that changed by more than a joint can move since they were last measured.

        The driver refuses most such readings, so that they arrive only as old ones.
        """
        robot, names = self._robot, self._robot.joint_names
        if sample.encoder_jump.any():
            text = f"{who(names, sample.encoder_jump)}: implausible readings, two in a row or more"
            return [Finding(Fault.ENCODER_JUMP, Reaction.DAMP, text)]
        if not np.isfinite(sample.age).all():
            return []
        last, last_at = self._joint_pos, self._measured_at
        measured_at = sample.time - sample.age
        self._joint_pos, self._measured_at = sample.joint_pos.copy(), measured_at
        if last is None:
            return []
        change = np.abs(sample.joint_pos - last)
        allowed = np.maximum(robot.safety.joint_jump, self._top_speed * (measured_at - last_at))
        jumped = ~(change <= allowed)
        if not jumped.any():
            return []
        index = int(np.argmax(jumped))
        text = (
            f"{names[index]}: jumped by {change[index]:.2f} rad, "
            f"allowed is {allowed[index]:.2f} rad"
        )
        return [Finding(Fault.ENCODER_JUMP, Reaction.DAMP, text)]

    def _runaway(self, sample: Sample, now: float) -> list[Finding]:
        """Joints that the limiter brakes and that stay fast all the same: they do not obey."""
        if self._fastest is None:
            return []
        fast = ~(np.abs(sample.joint_vel) <= OVERSPEED * self._fastest)
        self._fast_since = min(self._fast_since, now) if fast.any() else math.inf
        if now - self._fast_since < self._robot.safety.hold_after:
            return []
        index = int(np.argmax(fast))
        text = (
            f"{who(self._robot.joint_names, fast)}: found {sample.joint_vel[index]:.1f} rad/s, "
            f"allowed is up to {self._fastest[index]:.1f} rad/s"
        )
        return [Finding(Fault.RUNAWAY, Reaction.DAMP, text)]

    def _supply(self, sample: Sample, now: float) -> list[Finding]:
        """Heat and voltage: the motors still obey, so the robot lies down while it can."""
        findings = []
        health, safety, names = sample.health, self._robot.safety, self._robot.joint_names
        too_hot = health.temperature > safety.max_temperature
        if too_hot.any():
            index = int(np.argmax(too_hot))
            text = hot(names[index], health.temperature[index], safety.max_temperature)
            findings.append(Finding(Fault.OVERHEATED, Reaction.LIE, text))
        too_low = health.voltage < safety.min_voltage
        alerted = (health.error_bits & HardwareError.INPUT_VOLTAGE) != 0
        sags = too_low.any() or alerted.any()
        self._sag_since = min(self._sag_since, now) if sags else math.inf
        if now - self._sag_since >= SAG_TIME:
            if too_low.any():
                index = int(np.argmax(too_low))
                text = low(names[index], health.voltage[index], safety.min_voltage)
            else:
                text = alert(who(names, alerted), HardwareError.INPUT_VOLTAGE)
            findings.append(Finding(Fault.UNDERVOLTAGE, Reaction.LIE, text))
        old = ~(health.age <= SLOW_STALE)
        if old.any():
            text = slow_stale(who(names, old), float(health.age[old].max()))
            findings.append(Finding(Fault.STALE_SENSORS, Reaction.LIE, text))
        return findings
