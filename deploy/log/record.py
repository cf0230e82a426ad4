"""From a control tick to its record in the log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...hardware.interface import Sample
from ..verdict import Decision, Verdict
from .format import CONTACT_FORCE


@dataclass(frozen=True)
class Times:
    """When the parts of a tick were done, on the loop's clock [s]."""

    deadline: float  # when it was due to begin
    start: float
    read: float
    inferred: float  # `read` where the policy was not asked
    written: float


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
    """Write one tick into `record`, of the dtype `format.tick_dtype`.

    What there is not is NaN: the policy's part of a tick without a decision, the target or torque
    of a tick that commanded none, what an IMU would say of a robot without one, the forces on
    contact sensors that nothing reads, and what came in another shape than is declared.
    """
    record["tick"], record["missed"] = tick, missed
    record["state"], record["mode"], record["fault"] = verdict.state, verdict.mode, verdict.fault
    for name in ("deadline", "start", "read", "inferred", "written"):
        record[name] = getattr(times, name)
    for name in ("joint_pos", "joint_vel", "joint_torque", "age", "alert"):
        record[name] = getattr(sample, name)
    for name in ("gyro", "gravity", "acceleration", "imu_age", "bus_time", "wire_errors"):
        record[name] = getattr(sample, name)
    if CONTACT_FORCE.name in (record.dtype.names or ()):
        _put(record, CONTACT_FORCE.name, sample.contact_force)
    for name in ("voltage", "temperature", "error_bits", "watchdog_tripped"):
        record[name] = getattr(sample.health, name)
    for name in ("limited_target", "limited_torque", "torque_cap", "reasons"):
        record[name] = getattr(verdict, name)
    record["command"] = command
    inputs = decision.inputs if decision else {}
    record["clock"] = inputs["clock"][0] if "clock" in inputs else np.nan
    wanted = {decision.output: decision.wanted} if decision else {}
    _put(record, "previous_action", inputs.get("previous_action"))
    _put(record, "action", decision.action if decision else None)
    _put(record, "joint_target", wanted.get("joint_target"))
    _put(record, "wanted_torque", wanted.get("joint_torque"))


def _put(record: np.void | np.ndarray, name: str, value: np.ndarray | None) -> None:
    """An array from outside, as it is or not at all: no shape of it may end a run."""
    if value is None or value.shape != record[name].shape:
        value = np.full(record[name].shape, np.nan)
    record[name] = value
