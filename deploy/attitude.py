"""Whether the IMU's word about down can be believed, and whether down is where it should be.

A frozen attitude is worse than none: a robot that lies on its back and believes to stand goes on.
So what the IMU says is held against what it feels, and against how fast it turns.
"""

from __future__ import annotations

import math

import numpy as np

from ..hardware.interface import Sample
from ..models.robot import Safety
from .checks import Finding, Reaction, tilt, tilted
from .verdict import Fault

SMOOTHING = 0.5  # time constant: over it a walk's own accelerations come to little [s]
DISAGREEMENT = 0.6  # between felt and reported direction of down that is allowed [rad]
DISAGREES_FOR = 0.5  # at most [s]
FELT = 3.0  # of acceleration: with less, smoothed, there is no direction to compare [m/s²]
TURN = 0.1  # of the gyro, about a level axis, without any change of gravity [rad]


class AttitudeWatch:
    """Checks the IMU's attitude over successive samples."""

    def __init__(self, safety: Safety) -> None:
        self._safety = safety
        self._time = math.nan  # of the sample before [s]
        self._acceleration = np.full(3, math.nan)  # of the sample before
        self._acceleration_at = 0.0  # since when it is the same [s]
        self._gravity = np.full(3, math.nan)
        self._gravity_at = 0.0
        self._turned = 0.0  # by the gyro, since gravity changed last [rad]
        self._felt: np.ndarray | None = None  # acceleration, smoothed [m/s²]
        self._said = np.zeros(3)  # gravity, smoothed likewise
        self._disagrees_since = math.inf  # [s]

    def inspect(self, sample: Sample) -> list[Finding]:
        """What is wrong with a finite sample; a silent IMU is another's matter."""
        passed = max(sample.time - self._time, 0.0) if math.isfinite(self._time) else 0.0
        self._time = sample.time
        return [
            *self._frozen(sample, passed),
            *self._disagrees(sample, passed),
            *self._tilted(sample),
        ]

    def _frozen(self, sample: Sample, passed: float) -> list[Finding]:
        """Acceleration never stands still in a living IMU; gravity may, unless the robot turns."""
        if not np.array_equal(sample.acceleration, self._acceleration):
            self._acceleration, self._acceleration_at = sample.acceleration.copy(), sample.time
        if not np.array_equal(sample.gravity, self._gravity):
            self._gravity, self._gravity_at, self._turned = sample.gravity.copy(), sample.time, 0.0
        # A turn about the vertical does not move gravity in the base: only the rest is counted.
        level = np.cross(sample.gyro, sample.gravity)
        self._turned += float(np.linalg.norm(level)) * passed
        allowed = self._safety.frozen_after
        same_for = sample.time - self._acceleration_at
        if same_for >= allowed:
            text = f"imu: the same acceleration for {same_for:.2f} s, allowed is {allowed:.2f} s"
            return [Finding(Fault.IMU_FROZEN, Reaction.DAMP, text)]
        same_for = sample.time - self._gravity_at
        if same_for >= allowed and self._turned > TURN:
            text = (
                f"imu: the same attitude for {same_for:.2f} s, while the gyro turned by "
                f"{self._turned:.2f} rad"
            )
            return [Finding(Fault.IMU_FROZEN, Reaction.DAMP, text)]
        return []

    def _disagrees(self, sample: Sample, passed: float) -> list[Finding]:
        """Smoothed alike, both lag alike where the robot turns, so that only the error is left."""
        if self._felt is None:
            self._felt, self._said = sample.acceleration.copy(), sample.gravity.copy()
        share = 1.0 - math.exp(-passed / SMOOTHING)
        self._felt += share * (sample.acceleration - self._felt)
        self._said += share * (sample.gravity - self._said)
        angle = _angle(self._felt, -self._said)  # a body at rest feels what holds it: up
        agrees = angle <= DISAGREEMENT
        self._disagrees_since = math.inf if agrees else min(self._disagrees_since, sample.time)
        if sample.time - self._disagrees_since < DISAGREES_FOR:
            return []
        text = (
            f"imu: the acceleration it feels is {angle:.2f} rad off the attitude it reports, "
            f"allowed is {DISAGREEMENT:.2f} rad"
        )
        return [Finding(Fault.ATTITUDE_DISAGREES, Reaction.DAMP, text)]

    def _tilted(self, sample: Sample) -> list[Finding]:
        angle, allowed = tilt(sample.gravity), self._safety.tilt_limit
        if angle <= allowed:
            return []
        return [Finding(Fault.TILT, Reaction.DAMP, tilted(angle, allowed))]


def _angle(felt: np.ndarray, up: np.ndarray) -> float:
    """Between an acceleration [m/s²] and up; π where there is no direction to compare [rad]."""
    length, other = float(np.linalg.norm(felt)), float(np.linalg.norm(up))
    if not (length >= FELT and other > 0.1):
        return math.pi
    return math.acos(max(-1.0, min(1.0, float(felt @ up) / (length * other))))
