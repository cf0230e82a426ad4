"""The replay buffer: n-step returns by hand, reset steps, hindsight, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from surefoot.control.envs import Envs, Step
from surefoot.control.replay_buffer import FOLDER, ReplayBuffer
from surefoot.models.errors import UsageError
from toys import Counter, Point, Reach

GAMMA = 0.5


def envs_of(num_envs: int = 1) -> Envs:
    return Envs(SyncVectorEnv([Counter] * num_envs), seed=0)


def add(
    replay: ReplayBuffer,
    number: float,
    terminated: bool = False,
    truncated: bool = False,
    **others: Any,
) -> None:
    """Append a step of one environment: from `number`, paying `number`, to `number` + 0.5."""
    obs, flag = np.full((1, 1), number, np.float32), np.array([False])
    step = Step(
        obs=obs,
        privileged=obs,
        reward=np.array([number]),
        terminated=flag | terminated,
        truncated=flag | truncated,
        next_obs=obs + 0.5,
        next_privileged=obs + 0.5,
        valid=flag | others.get("valid", True),
    )
    replay.add(obs, obs, torch.full((1, 1), -number), step)


def everything(replay: ReplayBuffer) -> dict[float, tuple[float, float, float]]:
    """Every transition that is ever drawn: obs → reward, discount, next obs."""
    batch = replay.sample(500, torch.Generator().manual_seed(0))
    assert torch.equal(batch.action, -batch.obs)
    columns = (batch.obs[:, 0], batch.reward, batch.discount, batch.next_obs[:, 0])
    return {obs: tuple(rest) for obs, *rest in zip(*(c.tolist() for c in columns), strict=True)}


# --- n steps ----------------------------------------------------------------------------------


def test_three_step_returns_stop_at_a_termination_and_at_a_truncation():
    replay = ReplayBuffer(envs_of(), 100, GAMMA, n=3)
    add(replay, 1)
    add(replay, 2)
    add(replay, 3)
    add(replay, 4, terminated=True)
    add(replay, 5)
    add(replay, 6, truncated=True)
    add(replay, 7)
    add(replay, 8)
    assert everything(replay) == {
        1: (1 + 2 / 2 + 3 / 4, 1 / 8, 3.5),
        2: (2 + 3 / 2 + 4 / 4, 0, 4.5),  # terminated: nothing beyond
        3: (3 + 4 / 2, 0, 4.5),
        4: (4, 0, 4.5),
        5: (5 + 6 / 2, 1 / 4, 6.5),  # cut by its limit after two steps: γ² V of where it was cut
        6: (6, 1 / 2, 6.5),
        7: (7 + 8 / 2, 1 / 4, 8.5),  # the newest: what comes after it isn't known yet
        8: (8, 1 / 2, 8.5),
    }


def test_steps_that_only_reset_are_never_drawn_and_never_summed():
    replay = ReplayBuffer(envs_of(), 100, GAMMA, n=3)
    add(replay, 1)
    add(replay, 2, truncated=True)
    add(replay, 1000, valid=False)
    add(replay, 4)
    assert everything(replay) == {
        1: (1 + 2 / 2, 1 / 4, 2.5),
        2: (2, 1 / 2, 2.5),
        4: (4, 1 / 2, 4.5),
    }


def test_the_oldest_rows_make_room_and_no_window_crosses_the_seam():
    replay = ReplayBuffer(envs_of(), 4, GAMMA, n=2)
    for number in range(1, 7):  # 5 and 6 lie where 1 and 2 lay
        add(replay, number)
    assert len(replay) == 4
    assert everything(replay) == {
        3: (3 + 4 / 2, 1 / 4, 4.5),
        4: (4 + 5 / 2, 1 / 4, 5.5),
        5: (5 + 6 / 2, 1 / 4, 6.5),
        6: (6, 1 / 2, 6.5),  # not followed by 3
    }


@given(
    st.integers(1, 6),
    st.integers(3, 9),
    st.lists(st.sampled_from(["go on", "terminate", "truncate"]), min_size=1, max_size=25),
)
def test_returns_are_those_of_a_walk_along_the_episode(n: int, capacity: int, ends: list[str]):
    replay = ReplayBuffer(envs_of(), capacity, GAMMA, n=n)
    for number, end in enumerate(ends):
        add(replay, number, end == "terminate", end == "truncate")
    held = range(max(0, len(ends) - max(n, capacity)), len(ends))
    for start, (reward, discount, next_obs) in everything(replay).items():
        total, power, at = 0.0, 1.0, int(start)
        assert at in held
        while True:
            total, power = total + power * at, power * GAMMA
            last = ends[at] != "go on" or at == len(ends) - 1 or at - start == n - 1
            if last:
                break
            at += 1
        assert reward == pytest.approx(total)
        assert discount == (0.0 if ends[at] == "terminate" else power)
        assert next_obs == at + 0.5


def test_all_transitions_are_drawn_alike():
    replay = ReplayBuffer(envs_of(), 10, GAMMA)
    for number in range(10):
        add(replay, number, valid=number != 4)
    obs = replay.sample(9000, torch.Generator().manual_seed(0)).obs
    counts = torch.bincount(obs[:, 0].long(), minlength=10)
    assert counts[4] == 0
    # Binomial(9000, 1/9): 1000 ± 30, five of these.
    assert (counts[counts > 0] - 1000).abs().max() < 150


def test_privileged_observations_come_along():
    envs = Envs(Point(3), seed=0)
    replay = ReplayBuffer(envs, 30, GAMMA, n=2)
    for _ in range(8):
        obs, privileged = envs.obs.copy(), envs.privileged.copy()
        replay.add(obs, privileged, torch.zeros(3, 1), envs.step(np.zeros((3, 1), np.float32)))
    batch = replay.sample(200, torch.Generator().manual_seed(0))
    assert torch.equal(batch.privileged[:, :1], batch.obs)
    assert torch.equal(batch.next_privileged[:, :1], batch.next_obs)
    # The clock went on by k ticks, as γ^k says; it was not set back by a reset.
    ticks = batch.next_privileged[:, 1] - batch.privileged[:, 1]
    torch.testing.assert_close(batch.discount, GAMMA**ticks)


# --- hindsight --------------------------------------------------------------------------------


def walk(num_envs: int, steps: int, mode: AutoresetMode, capacity: int = 1000) -> ReplayBuffer:
    envs = Envs(SyncVectorEnv([Reach] * num_envs, autoreset_mode=mode), seed=3)
    replay = ReplayBuffer(envs, capacity, GAMMA, hindsight=4)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        obs = envs.obs.copy()
        action = rng.uniform(-1, 1, (num_envs, 2)).astype(np.float32)
        replay.add(obs, obs, torch.from_numpy(action), envs.step(action))
    return replay


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("capacity", [1000, 120])
def test_relabelled_goals_were_reached_later_in_the_same_episode(
    mode: AutoresetMode, capacity: int
):
    replay = walk(2, 90, mode, capacity)
    batch = replay.sample(1000, torch.Generator().manual_seed(0))
    position, desired = batch.obs[:, :2].numpy(), batch.obs[:, 4:].numpy()
    assert torch.equal(batch.obs[:, 4:], batch.next_obs[:, 4:])
    following = batch.next_obs[:, 2:4].numpy()
    near = np.linalg.norm(following - desired, axis=1) <= 0.1
    np.testing.assert_array_equal(batch.reward.numpy(), np.where(near, 0.0, -1.0))
    assert (batch.discount == GAMMA).all()

    # The episodes as they were, to look each transition up in.
    arrays = {name: array.numpy() for name, array in replay.arrays.items()}
    rows = np.arange(replay.time - len(replay), replay.time) % replay.capacity
    own = 0
    for index in range(1000):
        (row, env), *more = [
            (r, e)
            for r, when in enumerate(rows)
            for e in range(2)
            if arrays["valid"][when, e]
            and np.array_equal(arrays["next_obs"][when, e, :2], following[index])
        ]
        assert not more and np.array_equal(arrays["obs"][rows[row], env, :2], position[index])
        reached = []
        for when in rows[row:]:
            reached.append(arrays["next_obs"][when, env, 2:4])
            if arrays["done"][when, env]:
                break
        if index < 800:  # k of k + 1: the first 4/5 of the batch
            assert any(np.array_equal(desired[index], goal) for goal in reached)
        else:
            own += np.array_equal(desired[index], arrays["obs"][rows[row], env, 4:])
    assert own == 200


def test_future_steps_are_chosen_uniformly():
    replay = walk(1, 25, AutoresetMode.SAME_STEP)  # one whole episode
    batch = replay.sample(20_000, torch.Generator().manual_seed(0))
    first = torch.from_numpy(replay.arrays["obs"].numpy()[0, 0, :2])
    goals = batch.obs[:16_000][(batch.obs[:16_000, :2] == first).all(1)][:, 4:]
    reached = torch.from_numpy(replay.arrays["next_obs"].numpy()[:25, 0, 2:4])
    counts = torch.tensor([int((goals == goal).all(1).sum()) for goal in reached])
    assert counts.sum() == len(goals)
    # About 640 draws in 25 cells: 25.6 ± 5 each, five of these.
    assert counts.min() > 1 and counts.max() < 52


def test_a_goal_environment_s_own_word_on_terminations_is_asked():
    class Ending(Reach):
        def compute_terminated(self, achieved: Any, desired: Any, info: dict) -> np.ndarray:
            return np.linalg.norm(achieved - desired, axis=-1) <= 0.1

    envs = Envs(SyncVectorEnv([Ending]), seed=0)
    replay = ReplayBuffer(envs, 100, GAMMA, hindsight=4)
    for _ in range(20):
        obs = envs.obs.copy()
        replay.add(obs, obs, torch.ones(1, 2), envs.step(np.ones((1, 2), np.float32)))
    batch = replay.sample(100, torch.Generator().manual_seed(0))
    reached = batch.reward[:80] == 0
    assert reached.any() and not reached.all()
    assert torch.equal(batch.discount[:80] == 0, reached)


def test_hindsight_that_makes_no_sense_is_refused():
    reach = Envs(SyncVectorEnv([Reach]), seed=0)
    with pytest.raises(UsageError, match=r"n_step: found 3 together with hindsight, allowed is 1"):
        ReplayBuffer(reach, 100, GAMMA, n=3, hindsight=4)
    with pytest.raises(UsageError, match=r"hindsight: found 4 for an environment without goals"):
        ReplayBuffer(envs_of(), 100, GAMMA, hindsight=4)


# --- on disk ----------------------------------------------------------------------------------


def same(a: ReplayBuffer, b: ReplayBuffer) -> bool:
    """They hold the same rows, and draw the same."""
    rows = np.arange(a.time - len(a), a.time) % a.capacity
    if a.time != b.time or not all(
        np.array_equal(a.arrays[name].numpy()[rows], b.arrays[name].numpy()[rows])
        for name in a.arrays
    ):
        return False
    first, second = (r.sample(300, torch.Generator().manual_seed(1)) for r in (a, b))
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def read(state: dict[str, Any], folder: Path, capacity: int = 8) -> ReplayBuffer:
    replay = ReplayBuffer(envs_of(), capacity, GAMMA, n=2)
    replay.set_state(state, folder)
    return replay


def test_a_buffer_comes_back_from_its_files_and_old_files_go(tmp_path: Path):
    replay = ReplayBuffer(envs_of(), 8, GAMMA, n=2)
    for number in range(40):
        add(replay, number, truncated=number % 5 == 4)
        if number % 3 == 2:
            assert same(read(replay.get_state(tmp_path), tmp_path), replay)
    # 8 rows lie in 4 files of 3 at most, with one more that the checkpoint before needs.
    assert len(list((tmp_path / FOLDER).iterdir())) <= 5


def test_hindsight_goes_on_from_the_files(tmp_path: Path):
    replay = walk(2, 90, AutoresetMode.NEXT_STEP, capacity=120)
    again = walk(2, 0, AutoresetMode.NEXT_STEP, capacity=120)
    again.set_state(replay.get_state(tmp_path), tmp_path)
    assert same(again, replay)


def test_more_rows_than_there_is_room_between_two_checkpoints(tmp_path: Path):
    replay = ReplayBuffer(envs_of(), 8, GAMMA, n=2)
    for number in range(30):
        add(replay, number)
    state = replay.get_state(tmp_path)
    assert same(read(state, tmp_path), replay)
    assert replay.get_state(tmp_path) == state  # nothing new: nothing is written


def test_what_was_written_after_the_checkpoint_is_taken_back(tmp_path: Path):
    replay = ReplayBuffer(envs_of(), 8, GAMMA, n=2)
    for number in range(6):
        add(replay, number)
    state = replay.get_state(tmp_path)
    expected = read(state, tmp_path)
    for number in range(4):
        add(replay, 100 + number)
    replay.get_state(tmp_path)  # and the machine stops before the checkpoint is written
    (half,) = (tmp_path / FOLDER).glob("*6-*10.npz")
    half.write_bytes(half.read_bytes()[:100])  # or even in the middle of this
    again = read(state, tmp_path)
    assert same(again, expected)
    assert not half.exists()
    add(again, 7)
    assert same(read(again.get_state(tmp_path), tmp_path), again)


def test_episodes_that_did_not_go_on_after_a_resume_are_cut(tmp_path: Path):
    replay = ReplayBuffer(envs_of(), 8, GAMMA, n=2)
    add(replay, 1)
    add(replay, 2)
    again = read(replay.get_state(tmp_path), tmp_path)
    again.cut()
    add(again, 10)
    third = read(again.get_state(tmp_path), tmp_path)
    for one in (again, third):
        assert everything(one) == {1: (2, 1 / 4, 2.5), 2: (2, 1 / 2, 2.5), 10: (10, 1 / 2, 10.5)}


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_missing_and_damaged_files_are_refused(tmp_path: Path, damage: str):
    replay = ReplayBuffer(envs_of(), 8, GAMMA)
    for number in range(6):
        add(replay, number)
        state = replay.get_state(tmp_path)
    path = sorted((tmp_path / FOLDER).iterdir())[2]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50])
    message = "found no rows from 2" if damage == "missing" else "not a whole part of a replay"
    with pytest.raises(UsageError, match=message) as error:
        read(state, tmp_path)
    assert "\n" not in str(error.value)
