"""Before the start: what refuses it, and what an operator is told to do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from kinematic_robot import silence
from safety_bench import (
    DOWN,
    JUMP,
    KNEE,
    ROBOT,
    STEADY,
    Bench,
    N,
    alerting,
    spoiled,
)
from surefoot.deploy.preflight import advice, listen, preflight
from surefoot.deploy.verdict import Fault, State

REFUSALS = {
    f"front_left_knee: found {KNEE + 1:.2f} rad, allowed is {KNEE:.2f} ± 0.35 rad, the rest pose": (
        lambda s: replace(s, joint_pos=s.joint_pos + JUMP)
    ),
    "rear_right_knee: no reading yet": lambda s: silence(s, [11], math.inf),
    "imu: last reading 500.0 ms ago, allowed is 30 ms": spoiled(imu_age=0.5),
    "imu: found 20 Hz, allowed is at least 160 Hz, 0.8 of imu.rate: set the IMU's output rate": (
        spoiled(imu_rate=20.0)
    ),
    "imu: found nan Hz, allowed is at least 160 Hz, 0.8 of imu.rate: set the IMU's output rate": (
        spoiled(imu_rate=math.nan)
    ),
    "tilt: found 3.14 rad, allowed is at most 0.90 rad": spoiled(gravity=-DOWN),
    "front_left_hip_pitch: hardware error, its status not read yet": spoiled(
        alert=np.eye(N, dtype=bool)[1]
    ),
    "front_left_hip_pitch: hardware error 0x04 (OVERHEATING): reboot it": (
        lambda s: alerting(s, 1, 0x04)
    ),
    "all 12 motors: found torque on, allowed is off": lambda s: replace(
        s, health=replace(s.health, torque_on=np.ones(N, bool))
    ),
    "rear_left_knee: found torque on, allowed is off": lambda s: replace(
        s, health=replace(s.health, torque_on=np.eye(N, dtype=bool)[8])
    ),
    # In the rest pose as far as that goes, and outside the joint's range.
    "front_left_knee: found -2.95 rad, allowed is -2.70 to -0.30 rad, its range": lambda s: replace(
        s, joint_pos=np.where(np.arange(N) == 2, -2.95, s.joint_pos)
    ),
    "all 12 motors: voltage and temperature read 3.0 s ago, allowed is 2 s": lambda s: replace(
        s, health=replace(s.health, age=np.full(N, 3.0))
    ),
    "gyro[2]: found nan, allowed is a finite number": spoiled(gyro=np.array([0, 0, np.nan])),
    "front_left_hip_roll: found 9.1 V, allowed is at least 10.0 V": lambda s: replace(
        s, health=replace(s.health, voltage=np.where(np.arange(N) == 0, 9.1, 12.0))
    ),
    "front_left_hip_roll: found 90.0 °C, allowed is at most 70.0 °C": lambda s: replace(
        s, health=replace(s.health, temperature=np.where(np.arange(N) == 0, 90.0, 30.0))
    ),
    "contact_force: found shape (3,), allowed is (0,) or (0,)": spoiled(contact_force=np.zeros(3)),
    "voltage: not known yet of 12 motors": lambda s: replace(
        s, health=replace(s.health, voltage=np.full(N, np.nan))
    ),
}


@pytest.mark.parametrize("finding", REFUSALS)
def test_preflight_names_what_it_found(finding: str):
    bench = Bench()
    assert bench.monitor.preflight(bench.robot.read()) == []
    bench.robot.spoil = REFUSALS[finding]
    assert preflight(ROBOT, bench.robot.read()) == [finding]
    bench.monitor.start()  # the operator says yes all the same, or long after
    verdict = bench.tick()
    assert (verdict.state, verdict.fault) == (State.FAULT, Fault.START_REFUSED)
    assert finding in verdict.message
    bench.ticks(5)
    assert bench.robot.commands == []


def test_a_limp_joint_on_the_end_of_its_range_may_start():
    bench = Bench()
    bench.robot.joint_pos = np.where(np.arange(N) == 2, -2.72, ROBOT.rest_pose)
    assert preflight(ROBOT, bench.robot.read()) == []


def test_listening_begins_afresh_and_finds_what_one_sample_does_not_show():
    bench = Bench()
    sample, seen = listen(ROBOT, bench.robot, bench.clock)
    assert (bench.robot.refreshes, seen) == (1, [])
    assert bench.robot.reads >= 5 * N
    assert sample.time == bench.clock.now()
    bench.robot.spoil = spoiled(acceleration=STEADY)
    _, seen = listen(ROBOT, bench.robot, bench.clock)
    assert len(seen) == 1 and "imu: the same acceleration" in seen[0]
    bench.robot.spoil = spoiled(encoder_jump=np.ones(N, bool))
    _, seen = listen(ROBOT, bench.robot, bench.clock)
    assert seen == ["all 12 motors: implausible readings, two in a row or more"]


def test_a_refused_start_comes_with_advice():
    bench = Bench()
    assert advice(ROBOT, bench.robot.read()) == ""
    bench.robot.joint_pos = ROBOT.default_pose.copy()
    assert advice(ROBOT, bench.robot.read()).startswith("Lay the robot in its rest pose by hand")
    bench.robot.spoil = lambda s: replace(s, health=replace(s.health, torque_on=np.ones(N, bool)))
    assert "surefoot release" in advice(ROBOT, bench.robot.read())
