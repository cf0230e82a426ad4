"""Before the first torque: listen to the sensors for a while, then say what forbids a start."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from ..hardware.interface import Sample
from ..models.robot import Imu, Robot
from .checks import SLOW_STALE, alert, hot, low, non_finite, silent, slow_stale, tilt, tilted, who
from .clock import Clock
from .verdict import Fault
from .watch import SensorWatch

LISTENING = 1.0  # long enough for the slow read to have been to every motor [s]
RANGE_MARGIN = 0.05  # a limp joint may lie on its range's end; the first target may be as far off
IMU_RATE_SHARE = 0.8  # of the rate in robot.toml: below it the IMU is set to another
# What only a row of samples shows; what a single one shows is `preflight`'s.
WATCHED = (Fault.IMU_FROZEN, Fault.ENCODER_JUMP, Fault.ATTITUDE_DISAGREES)


class FreshSource(Protocol):
    """The reading half of a robot, at leisure."""

    def refresh(self) -> None: ...

    def read(self) -> Sample: ...


def listen(robot: Robot, source: FreshSource, clock: Clock) -> tuple[Sample, list[str]]:
    """The newest sample after a while at the control rate, and what the while has shown.

    What waited in the inputs is dropped first. Raises DeviceError where a port is gone.

    Returns:
        The last sample, and one line for each fault that only a row of samples shows.
    """
    source.refresh()
    watch, seen = SensorWatch(robot), {}
    # A living but frozen IMU shows only after `frozen_after`.
    seconds = max(LISTENING, 1.2 * robot.safety.frozen_after)
    ticks = max(math.ceil(seconds / robot.control_period), 5 * len(robot.joints))
    start = clock.now()
    sample = source.read()
    for tick in range(1, ticks):
        clock.sleep_until(start + tick * robot.control_period)
        sample = source.read()
        for finding in watch.inspect(sample, sample.time):
            if finding.fault in WATCHED:
                seen.setdefault(finding.fault, finding.message)
    return sample, list(seen.values())


def preflight(robot: Robot, sample: Sample) -> list[str]:
    """What forbids a start, one line each; empty if nothing does.

    What is not known yet forbids it too: a voltage that nobody has read is not a good voltage.
    """
    safety, health, names, findings = robot.safety, sample.health, robot.joint_names, []
    if bad := non_finite(sample, robot):
        findings.append(bad)
    if health.torque_on.any():
        findings.append(f"{who(names, health.torque_on)}: found torque on, allowed is off")
    late = ~(sample.age <= safety.hold_after)
    if late.any():
        findings.append(silent(who(names, late), float(sample.age[late].max()), safety.hold_after))
    for index, joint in enumerate(robot.joints):
        angle, bits = sample.joint_pos[index], int(health.error_bits[index])
        if not late[index] and not abs(angle - joint.rest) <= safety.start_tolerance:
            findings.append(
                f"{joint.name}: found {angle:.2f} rad, allowed is {joint.rest:.2f} ± "
                f"{safety.start_tolerance:.2f} rad, the rest pose"
            )
        elif not late[index] and not (
            joint.lower - RANGE_MARGIN <= angle <= joint.upper + RANGE_MARGIN
        ):
            findings.append(
                f"{joint.name}: found {angle:.2f} rad, allowed is {joint.lower:.2f} to "
                f"{joint.upper:.2f} rad, its range"
            )
        if sample.alert[index] or bits:
            findings.append(alert(joint.name, bits))
        if health.voltage[index] < safety.min_voltage:
            findings.append(low(joint.name, health.voltage[index], safety.min_voltage))
        if health.temperature[index] > safety.max_temperature:
            findings.append(hot(joint.name, health.temperature[index], safety.max_temperature))
    for name, values in (("voltage", health.voltage), ("temperature", health.temperature)):
        if unknown := int(np.isnan(values).sum()):
            findings.append(f"{name}: not known yet of {unknown} motors")
    old = np.isfinite(health.age) & (health.age > SLOW_STALE)
    if old.any():
        findings.append(slow_stale(who(names, old), float(health.age[old].max())))
    return findings + (_imu(robot, robot.imu, sample) if robot.imu else [])


def advice(robot: Robot, sample: Sample) -> str:
    """What a person can do about a refused start, one line; '' where the findings say it all."""
    away = np.abs(sample.joint_pos - robot.rest_pose)
    if sample.health.torque_on.any():
        return "Support the robot, then switch its torque off: surefoot release"
    if not (away <= robot.safety.start_tolerance).all():
        return "Lay the robot in its rest pose by hand; restart an emulated one."
    return ""


def _imu(robot: Robot, imu: Imu, sample: Sample) -> list[str]:
    safety, findings = robot.safety, []
    if not sample.imu_age <= safety.hold_after:
        findings.append(silent("imu", sample.imu_age, safety.hold_after))
    elif not tilt(sample.gravity) <= safety.tilt_limit:
        findings.append(tilted(tilt(sample.gravity), safety.tilt_limit))
    slowest = IMU_RATE_SHARE * imu.rate
    if not sample.imu_rate >= slowest:
        findings.append(
            f"imu: found {sample.imu_rate:.0f} Hz, allowed is at least {slowest:.0f} Hz, "
            f"{IMU_RATE_SHARE:g} of imu.rate: set the IMU's output rate"
        )
    return findings
