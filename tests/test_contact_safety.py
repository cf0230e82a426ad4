"""Contact sensors that fail: the motors still obey, so the robot lies down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kinematic_robot import KinematicRobot
from loop_bench import ROBOT, Bench, ReadOnly
from safety_bench import alerting
from surefoot.deploy.log.summary import RunSummary
from surefoot.deploy.log.writer import LogWriter
from surefoot.deploy.loop import Log, run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import Fault, State
from surefoot.hardware.interface import Sample
from surefoot.models.errors import UsageError
from surefoot.models.robot_file import load_robot

SENSING = replace(ROBOT, contact_sensors=load_robot("biped").contact_sensors)
FAILS = 100.0 + SENSING.safety.stand_time + 0.4  # in RUN, on the clock [s]
MOST = SENSING.contact_sensors[0].range


def go(
    force: np.ndarray,
    alert_at: float = np.inf,
    fails: float = FAILS,
    log: Log | None = None,
) -> tuple[Bench, RunSummary]:
    """A run whose contact sensors give `force` from `fails` on."""
    bench = Bench()
    bench.robot = KinematicRobot(SENSING, bench.clock)
    bench.monitor = SafetyMonitor(SENSING, bench.robot)

    def spoil(sample: Sample) -> Sample:
        felt = force if sample.time > fails else np.zeros(4)
        sample = replace(sample, contact_force=felt)
        return alerting(sample, 2, 0x20) if sample.time > alert_at else sample

    bench.robot.spoil = spoil
    summary = run(
        SENSING, ReadOnly(bench.robot), bench.policy, bench.monitor,
        Schedule.constant([0.0, 0.0, 0.0]), 1.0, bench.clock, log=log or bench.log,
        on_tick=bench.on_tick,
    )  # fmt: skip
    return bench, summary


@pytest.mark.parametrize(
    "force",
    [
        np.array([np.nan, 0, 0, 0]),
        np.full(4, 1.2 * MOST),
        np.full(4, -1e30),
        np.zeros(3),
        np.zeros(5),
        np.zeros(1),
    ],
    ids=("nan", "beyond its range", "far beyond", "three", "five", "one"),
)
def test_forces_that_are_none_lie_the_robot_down(force: np.ndarray):
    bench, summary = go(force)
    assert summary.fault is Fault.NON_FINITE
    assert "contact" in summary.cause
    assert bench.states == ["STAND", "RUN", "HOLD", "LIE", "DAMP", "FAULT"]


def test_forces_within_the_range_and_its_noise_are_no_fault():
    assert go(np.full(4, 1.05 * MOST))[1].fault is Fault.NONE


def test_a_failing_contact_sensor_stops_no_lying_down():
    bench, summary = go(np.full(4, np.nan), fails=100.0 + SENSING.safety.stand_time + 1.5)
    assert bench.states == ["STAND", "RUN", "LIE", "DAMP", "OFF"]
    assert summary.fault is Fault.NONE


def test_a_failing_contact_sensor_hides_no_motor():
    bench, summary = go(np.full(4, np.nan), alert_at=FAILS)
    assert summary.fault is Fault.MOTOR_ALERT
    assert State.HOLD not in {verdict.state for verdict in bench.verdicts}


def test_a_log_without_the_contact_sensors_names_begins_no_run(tmp_path: Path):
    log = LogWriter(tmp_path / "run.mcap", ROBOT.joint_names, ["vx", "vy", "yaw rate"])
    with pytest.raises(UsageError, match="and 0 contact sensors, allowed is one for 12 joints, a"):
        go(np.zeros(4), log=log)
    assert log.close().dropped == 0, "nothing was offered"
