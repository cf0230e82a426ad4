"""The figures of a run from its ticks, and the judging of a walk by the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from surefoot.deploy.log.format import tick_dtype
from surefoot.deploy.log.summary import CHUNK, Spread, Tally, faults, summarise
from surefoot.deploy.verdict import Fault, State
from surefoot.deploy.workstation.judge_walk import judge_walk
from surefoot.hardware.interface import Mode
from surefoot.hardware.truth import Truth

NAMES = ("hip", "knee")
PERIOD = 0.02


def a_run() -> Any:
    """Enabling takes 0.5 s; then 4 ticks of which the policy decides the last two; then off."""
    ticks = np.zeros(6, tick_dtype(len(NAMES), 3))
    ticks["start"] = ticks["deadline"] = 7.0 + np.array([0.0, 0.52, 0.54, 0.56, 0.58, 0.60])
    ticks["read"] = ticks["inferred"] = ticks["start"] + 0.003
    ticks["inferred"][3:5] += [0.001, 0.002]
    ticks["written"] = ticks["inferred"] + 0.001
    ticks["written"][0] += 0.5
    ticks["bus_time"] = [0.002, 0.5, 0.004, 0.004, 0.004, 0.004]
    ticks["mode"] = [Mode.TRACK] * 5 + [Mode.OFF]
    ticks["state"] = [State.STAND] * 3 + [State.RUN] * 2 + [State.FAULT]
    ticks["fault"][4:] = Fault.TILT
    return ticks


def test_the_figures_of_a_run():
    figures = summarise(a_run(), NAMES)
    assert (figures.ticks, figures.duration) == (6, pytest.approx(0.6))
    assert list(figures.states) == ["STAND", "RUN", "FAULT"]
    assert figures.states["STAND"].seconds == pytest.approx(0.56)
    # The tick that enables torque is no measure of the others: 3 + 1 ms, 3 + 2 + 1 ms at most.
    assert figures.period and figures.period.max == pytest.approx(PERIOD)
    assert figures.busy and figures.busy.p50 == pytest.approx(0.004)
    assert figures.busy.max == pytest.approx(0.006)
    assert figures.bus and figures.bus.max == pytest.approx(0.004)
    assert figures.infer and figures.infer.p50 == pytest.approx(0.0015), "where it was asked"


def test_the_figures_of_nothing():
    figures = summarise(a_run()[:0], NAMES)
    assert (figures.ticks, figures.duration, figures.states) == (0, 0.0, {})
    assert figures.period is figures.infer is figures.busy is figures.bus is None
    assert faults(a_run()[:0]) == []
    one = summarise(a_run()[:1], NAMES)
    assert (one.ticks, one.period, one.busy) == (1, None, None)


def test_a_spread_leaves_out_what_was_not_measured():
    assert Spread.of(np.array([np.nan, 1.0, np.inf, 3.0])) == Spread(2.0, 2.98, 3.0)
    assert Spread.of(np.array([np.nan])) is None


def test_a_fault_is_told_once_with_its_time():
    assert faults(a_run()) == [{"tick": 0, "time": pytest.approx(0.58), "fault": "TILT"}]
    from_the_start = a_run()[4:]
    assert faults(from_the_start) == [{"tick": 0, "time": 0.0, "fault": "TILT"}]


def test_a_tally_keeps_every_tick():
    ticks = np.zeros(2 * CHUNK + 1, tick_dtype(len(NAMES), 3))
    ticks["start"] = np.arange(len(ticks))
    ticks["reasons"][:, 1] = np.arange(len(ticks)) % 7
    tally = Tally(len(NAMES))
    assert len(tally.ticks) == 0
    for index in range(len(ticks)):
        tally.add(ticks[index : index + 1].reshape(()))
    assert summarise(tally.ticks, NAMES) == summarise(ticks, NAMES)


# --- the judge --------------------------------------------------------------------------------


def a_circle(seconds: float, speed: float = 0.3, turn: float = 0.5) -> Truth:
    """The truth of a robot that walks a circle from the time 7 s on."""
    time = 7.0 + np.arange(0, seconds, PERIOD)
    rows, since = len(time), time - 7.0
    x, y = np.sin(turn * since), 1.0 - np.cos(turn * since)
    return Truth(
        time=time,
        base_position=speed / turn * np.column_stack((x, y, np.zeros(rows))),
        base_quaternion=np.tile([1.0, 0.0, 0.0, 0.0], (rows, 1)),
        linear_velocity=np.tile([speed, 0.0, 0.0], (rows, 1)),
        angular_velocity=np.tile([0.0, 0.0, turn], (rows, 1)),
        joint_pos=np.zeros((rows, 2)),
        joint_torque=np.tile([3.0, 4.0], (rows, 1)),
    )


def ticks_of(truth: Truth) -> Any:
    ticks = np.zeros(len(truth.time), tick_dtype(len(NAMES), 3))
    ticks["start"], ticks["state"] = truth.time, State.RUN
    ticks["command"] = [0.4, 0.0, 0.5]
    return ticks


def test_a_walk_is_judged_by_the_truth():
    truth = a_circle(seconds=4.01)
    walk = judge_walk(ticks_of(truth), truth)
    # 4 s at 0.3 m/s; a chord of a stride is shorter than its arc by less than 1 %.
    assert walk.path == pytest.approx(1.2, rel=0.01)
    # Chord of 2 rad on a radius of 0.6 m: 2 · 0.6 · sin(1) = 1.0098 m.
    assert walk.distance == pytest.approx(1.0098, abs=1e-3)
    assert not walk.fell and walk.largest_tilt == 0.0
    assert walk.torque_rms == pytest.approx(np.sqrt(12.5))
    assert walk.mean_error == pytest.approx({"vx": -0.1, "vy": 0.0, "yaw_rate": 0.0}, abs=1e-6)
    assert walk.rmse == pytest.approx({"vx": 0.1, "vy": 0.0, "yaw_rate": 0.0}, abs=1e-6)


def test_what_follows_a_new_command_is_no_error():
    truth = a_circle(seconds=4.0)
    ticks = ticks_of(truth)
    ticks["command"][100:150, 0] = 9.0  # for a second: never settled
    walk = judge_walk(ticks, truth)
    assert walk.rmse and walk.rmse["vx"] == pytest.approx(0.1)
    short = a_circle(seconds=0.9)
    walk = judge_walk(ticks_of(short), short)
    assert walk.rmse is walk.mean_error is None
    assert walk.torque_rms == pytest.approx(np.sqrt(12.5))


def test_a_fall_is_seen():
    truth = a_circle(seconds=2.0)
    truth.base_quaternion[50] = [np.cos(0.55), np.sin(0.55), 0.0, 0.0]  # rolled by 1.1 rad
    walk = judge_walk(ticks_of(truth), truth)
    assert walk.fell and walk.largest_tilt == pytest.approx(1.1)


def test_who_never_ran_did_not_walk():
    truth = a_circle(seconds=2.0)
    ticks = ticks_of(truth)
    ticks["state"] = State.STAND
    for walk in (judge_walk(ticks, truth), judge_walk(ticks_of(truth), truth.between(0.0, 1.0))):
        assert walk.fell and (walk.path, walk.rmse, walk.largest_tilt) == (0.0, None, None)
