"""A log of the simulated robot, replayed through its policy and through the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeLog
from loop_bench import STAND_TICKS, Bench
from surefoot.deploy.controller import Controller
from surefoot.deploy.log.format import tick_dtype
from surefoot.deploy.log.reader import RunLog, read_log
from surefoot.deploy.verdict import Fault, State
from surefoot.deploy.workstation.replay import (
    OTHER_MACHINE_TOLERANCE,
    logged_robot,
    replay_policy,
    replay_sim,
)
from surefoot.hardware.interface import Mode
from surefoot.models.errors import PolicyError, UsageError
from surefoot.models.provenance import processor, versions
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot, parse_robot
from tiny_policy import tiny_policy

ROBOT = load_robot("quadruped")
PERIOD = ROBOT.control_period


@pytest.fixture(scope="module")
def log(run_log: Path) -> RunLog:
    return read_log(run_log)


def with_ticks(log: RunLog, ticks: np.ndarray) -> RunLog:
    return replace(log, ticks=ticks)


def flip(log: RunLog, field: str, bit: int, joint: int = 5) -> RunLog:
    """The log with one bit of one number changed, halfway through RUN."""
    ticks = log.ticks.copy()
    row = int(np.flatnonzero(ticks["state"] == State.RUN)[25])
    ticks[field].view(np.uint32)[row, joint] ^= np.uint32(1 << bit)
    return with_ticks(log, ticks)


# --- through the policy -----------------------------------------------------------------------


def test_the_policy_gives_what_was_logged_bit_by_bit(log: RunLog):
    replay = replay_policy(log, ROBOT)
    # A second of RUN; the tick that goes over from STAND asks no policy.
    assert replay.ticks == replay.identical == 50
    assert (log.ticks["state"] == State.RUN).sum() == 51
    assert replay.same_machine and replay.agrees
    assert replay.largest_difference == replay.tolerance == 0.0


@pytest.mark.parametrize("field", ["action", "joint_target"])
def test_a_flipped_last_bit_of_an_output_is_found(log: RunLog, field: str):
    replay = replay_policy(flip(log, field, bit=0), ROBOT)
    assert replay.identical == replay.ticks - 1
    assert 0.0 < replay.largest_difference < 1e-6
    assert not replay.agrees


def test_a_flipped_sign_of_an_input_is_found(log: RunLog):
    replay = replay_policy(flip(log, "joint_pos", bit=31), ROBOT)
    assert replay.identical == replay.ticks - 1
    assert not replay.agrees


@pytest.mark.parametrize("field", ["action", "joint_target"])
def test_a_nan_in_the_log_is_a_difference(log: RunLog, field: str):
    ticks = log.ticks.copy()
    row = int(np.flatnonzero(ticks["state"] == State.RUN)[25])
    ticks[field][row, 5] = np.nan
    replay = replay_policy(with_ticks(log, ticks), ROBOT)
    assert replay.identical == replay.ticks - 1
    assert replay.largest_difference == np.inf
    assert not replay.agrees


@pytest.mark.parametrize("key", ["processor", "onnxruntime"])
def test_on_another_machine_a_tolerance_holds(log: RunLog, key: str):
    versions = {**log.metadata["versions"], key: "another"}
    other = replace(log, metadata={**log.metadata, "versions": versions})
    replay = replay_policy(other, ROBOT)
    assert not replay.same_machine
    assert replay.tolerance == OTHER_MACHINE_TOLERANCE
    assert replay.agrees
    assert replay_policy(flip(other, "action", bit=0), ROBOT).agrees
    assert not replay_policy(flip(other, "joint_target", bit=20), ROBOT).agrees


def test_a_policy_with_a_state_is_replayed_from_the_state_it_began_with(make_log: MakeLog):
    stateful = tiny_policy(initial_state=[0.0, 0.1])
    replay = replay_policy(read_log(make_log(stateful, seconds=0.4)), ROBOT)
    assert replay.ticks == 20
    assert replay.agrees


# --- what a policy remembers, that no log holds -----------------------------------------------

STATEFUL = tiny_policy(initial_state=[0.0, 8.0])


def recorded(*runs: Sequence[int], policy: bytes = STATEFUL, dropped: int = 0) -> RunLog:
    """A log of decisions on drawn inputs at these ticks, each run from its beginning."""
    controller, rng, rows = Controller(policy, ROBOT), np.random.default_rng(0), []
    names = [name for name in controller.input_names if name != "state"]
    for run in runs:
        controller.reset()
        for tick in run:
            row = np.zeros((), tick_dtype(12, 3))
            row["tick"], row["state"], row["wanted_torque"] = tick, State.RUN, np.nan
            for name in names:
                row[name] = rng.standard_normal(row[name].shape)
            decision = controller.decide({name: np.atleast_1d(row[name]) for name in names}, tick)
            row["action"], row["joint_target"] = decision.action, decision.wanted
            rows.append(row)
    return log_of(rows, policy, dropped)


def log_of(rows: list[np.ndarray], policy: bytes, dropped: int = 0) -> RunLog:
    metadata = {"versions": {"processor": processor(), **versions("onnxruntime")}}
    return RunLog(
        Path("run.mcap"), ROBOT.joint_names, ("vx", "vy", "yaw_rate"), (), np.array(rows), (),
        metadata, {"policy.onnx": policy}, complete=True, dropped=dropped,
    )  # fmt: skip


def test_skipped_ticks_are_no_gap_in_a_log():
    # After 8 the memory is older than `hold_after` and begins anew.
    replay = replay_policy(recorded([*range(5), 6, 7, 8, 12, 13]), ROBOT)
    assert (replay.ticks, replay.not_compared, replay.agrees) == (10, 0, True)


def test_a_run_with_gaps_in_its_memory_is_replayed():
    """One tick without a sensor value, three of them, and two that are skipped."""
    bench = Bench()
    bench.policy = Controller(STATEFUL, ROBOT)  # type: ignore[assignment]

    def blind(yes: bool) -> None:
        gyro = {"gyro": np.full(3, np.nan)} if yes else {}
        bench.robot.spoil = lambda sample: replace(sample, **gyro)

    for first, ticks in ((10, 1), (20, 3)):
        bench.at[STAND_TICKS + first] = lambda: blind(True)
        bench.at[STAND_TICKS + first + ticks] = lambda: blind(False)
    bench.at[STAND_TICKS + 5] = lambda: bench.clock.pass_by(0.07)
    assert bench.run(duration=1.0).fault is Fault.NONE
    replay = replay_policy(log_of(bench.log.records, STATEFUL), ROBOT)
    assert (replay.ticks, replay.not_compared, replay.agrees) == (50 - 1 - 3 - 2, 0, True)


def test_a_policy_with_a_state_is_compared_up_to_the_first_gap():
    log = recorded(range(10))
    lossy = replace(with_ticks(log, np.delete(log.ticks, 6)), dropped=1)
    replay = replay_policy(lossy, ROBOT)
    assert (replay.ticks, replay.not_compared, replay.agrees) == (6, 3, True)
    # Nor is anything known where its first decision is missing.
    with pytest.raises(UsageError, match="to compare: a gap in the log comes before"):
        replay_policy(replace(with_ticks(log, log.ticks[1:]), dropped=1), ROBOT)


def test_a_gap_hides_no_difference_before_it():
    log = flip(recorded(range(40)), "action", bit=0)
    replay = replay_policy(replace(with_ticks(log, np.delete(log.ticks, 30)), dropped=1), ROBOT)
    assert (replay.ticks, replay.identical, replay.not_compared) == (30, 29, 9)


def test_a_policy_without_a_state_is_compared_behind_a_gap():
    log = recorded(range(10), policy=tiny_policy())
    replay = replay_policy(replace(with_ticks(log, np.delete(log.ticks, 6)), dropped=1), ROBOT)
    assert (replay.ticks, replay.not_compared, replay.agrees) == (9, 0, True)


def test_each_run_in_a_log_begins_with_an_empty_memory():
    log = recorded(range(4), range(6), range(3))
    assert replay_policy(log, ROBOT).agrees
    lossy = replace(with_ticks(log, np.delete(log.ticks, 6)), dropped=1)  # of the second run
    replay = replay_policy(lossy, ROBOT)
    assert (replay.ticks, replay.not_compared, replay.agrees) == (4 + 2 + 3, 3, True)


def test_a_decision_that_is_no_number_at_all_is_compared_too():
    log = recorded(range(10))
    ticks = log.ticks.copy()
    for name in ("action", "joint_target"):
        ticks[name][6] = np.nan
    replay = replay_policy(with_ticks(log, ticks), ROBOT)
    assert (replay.ticks, replay.identical, replay.largest_difference) == (10, 9, np.inf)
    # It is what the policy gives if a sensor says no number; and then it is not remembered.
    blind = recorded(range(10))
    blind.ticks["gyro"][6] = np.nan
    again = recorded_again(blind)
    assert np.isnan(again.ticks["action"][6]).all()
    assert replay_policy(again, ROBOT).identical == 10


def recorded_again(log: RunLog) -> RunLog:
    """With what the policy makes of the log's inputs for its decisions."""
    controller, ticks = Controller(STATEFUL, ROBOT), log.ticks.copy()
    names = [name for name in controller.input_names if name != "state"]
    for row in ticks:
        inputs = {name: np.atleast_1d(row[name]) for name in names}
        decision = controller.decide(inputs, int(row["tick"]))
        row["action"], row["joint_target"] = decision.action, decision.wanted
    return with_ticks(log, ticks)


def test_a_run_under_tighter_limits_is_replayed_bit_by_bit(make_log: MakeLog):
    text = ROBOT.toml.replace("torque_limit = 2.0", "torque_limit = 1.2")
    text = text.replace("rate_limit = 16.0", "rate_limit = 8.0")
    log = read_log(make_log(robot=parse_robot(text, ROBOT.directory), seconds=0.4))
    assert log.ticks["torque_cap"].max() == np.float32(1.2)
    robot = logged_robot(log, ROBOT.directory)
    assert robot.rate_limit[0] == 8.0
    replay = replay_policy(log, robot)
    assert replay.ticks == replay.identical == 20
    assert replay_sim(log, robot).rms.max() < REPRODUCED


def test_a_dry_run_is_replayed_too(make_log: MakeLog):
    log = read_log(make_log(dry_run=True, seconds=0.2))
    assert replay_policy(log, ROBOT).agrees
    assert not replay_sim(log, ROBOT).moving.any()


def test_a_log_without_policy_says_so(make_log: MakeLog):
    log = read_log(make_log(attach=("robot.toml",), seconds=0.1))
    with pytest.raises(UsageError, match=r"run\.mcap: found no policy\.onnx in it, only robot"):
        replay_policy(log, ROBOT)


def test_a_log_without_robot_says_so(log: RunLog, tmp_path: Path):
    bare = replace(log, attachments={})
    with pytest.raises(UsageError, match=r"found no robot\.toml in it, only nothing"):
        logged_robot(bare, tmp_path)


def test_a_log_that_never_came_to_run_says_so(log: RunLog):
    standing = with_ticks(log, log.ticks[log.ticks["state"] == State.STAND])
    with pytest.raises(UsageError, match="found no decision of the policy"):
        replay_policy(standing, ROBOT)


def test_a_broken_policy_in_the_log_is_refused(log: RunLog):
    broken = replace(log, attachments={"policy.onnx": b"nothing"})
    with pytest.raises(PolicyError, match="not a policy"):
        replay_policy(broken, ROBOT)


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_log_that_was_cut_off_replays_as_far_as_it_goes(run_log: Path, tmp_path, share: float):
    whole = run_log.read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: int(share * len(whole))])
    log = read_log(cut)
    assert not log.complete
    assert len(log.ticks) < len(read_log(run_log).ticks)
    replay = replay_policy(log, ROBOT)
    assert replay.agrees and replay.ticks == np.isfinite(log.ticks["action"]).all(1).sum() > 0
    assert replay_sim(log, ROBOT).logged.shape == (len(log.ticks), 12)


# --- through the simulation -------------------------------------------------------------------

# The replay starts from the logged pose, settled anew: a little of the start's motion differs.
REPRODUCED = 0.005  # largest RMS of a joint [rad]


def test_the_simulation_reproduces_its_own_log(log: RunLog):
    shares: list[float] = []
    replay = replay_sim(log, ROBOT, on_progress=shares.append)
    ticks = len(log.ticks)
    assert replay.simulated.shape == replay.logged.shape == (ticks, 12)
    assert replay.qpos.shape == (ticks, 19)
    assert np.array_equal(replay.qpos[:, 7:], replay.simulated)
    assert replay.time == pytest.approx(PERIOD * np.arange(ticks))
    assert np.array_equal(replay.moving, np.isin(log.ticks["mode"], (Mode.TRACK, Mode.HOLD)))
    assert replay.moving.any() and not replay.moving.all()
    assert replay.rms.max() < REPRODUCED
    assert (replay.rms <= replay.largest).all()
    assert np.ptp(replay.simulated, axis=0).max() > 0.5  # it did stand up
    assert shares[-1] == 1.0


def test_each_run_of_a_log_is_simulated_from_where_the_robot_lay(log: RunLog):
    once = log.ticks[:60]  # on its way up
    again = once.copy()
    again["start"] += 100.0
    replay = replay_sim(with_ticks(log, np.concatenate((once, again))), ROBOT)
    assert np.array_equal(replay.qpos[:60], replay.qpos[60:])
    assert np.ptp(replay.simulated[60:], axis=0).max() > 0.1
    assert replay.time[60:] == pytest.approx(100.0 + replay.time[:60])


def test_the_simulation_is_deterministic(log: RunLog):
    first, second = replay_sim(log, ROBOT, seed=1), replay_sim(log, ROBOT, seed=1)
    assert np.array_equal(first.qpos, second.qpos)


def test_half_the_stiffness_shows(log: RunLog, tmp_path: Path):
    text = log.attachments["robot.toml"].decode()
    assert text.count("kp = 13.8") == 1
    soft = text.replace("kp = 13.8", "kp = 6.9").encode()
    robot = logged_robot(replace(log, attachments={"robot.toml": soft}), ROBOT.directory)
    assert robot.kp == pytest.approx(ROBOT.kp / 2)
    difference = np.sqrt(np.square(replay_sim(log, robot).rms).mean())
    same = np.sqrt(np.square(replay_sim(log, ROBOT).rms).mean())
    assert difference > 0.02
    assert difference > 5 * same


def test_the_logged_robot_is_the_robot(log: RunLog):
    robot = logged_robot(log, ROBOT.directory)
    assert isinstance(robot, Robot)
    assert (robot.joints, robot.safety, robot.mjcf) == (ROBOT.joints, ROBOT.safety, ROBOT.mjcf)


def test_a_log_without_a_tick_says_so(log: RunLog):
    with pytest.raises(UsageError, match="found no tick"):
        replay_sim(with_ticks(log, log.ticks[:0]), ROBOT)
