"""Several processes learn what one with all their environments does, and end together."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from surefoot.control import distributed, train
from surefoot.control.checkpoint import load, load_policy
from surefoot.control.metrics import Metrics
from surefoot.control.networks import Normaliser
from surefoot.control.ppo import PPOConfig
from surefoot.control.sac import SACConfig
from surefoot.models.errors import UsageError
from toys import Point

N = 4  # environments of a rank
CONFIG = PPOConfig(num_envs=N, horizon=8, epochs=3, num_minibatches=3, hidden=(16,))


class Walker(gymnasium.Env):
    """A point that drifts from where its seed put it, until it is far or its time is over."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.place, self.left = self.np_random.uniform(-1, 1), self.np_random.integers(2, 6)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple:
        self.place += 0.5 * float(action[0])
        self.left -= 1
        return self._seen(), -(self.place**2), abs(self.place) > 1.2, self.left == 0, {}

    def _seen(self) -> np.ndarray:
        return np.array([self.place, self.left], np.float32)


def walkers(mode: AutoresetMode) -> Callable[[int], VectorEnv]:
    return lambda n: SyncVectorEnv([Walker] * n, autoreset_mode=mode)


ENVIRONMENTS: dict[str, Callable[[int], VectorEnv | str]] = {
    "same step": walkers(AutoresetMode.SAME_STEP),
    "next step": walkers(AutoresetMode.NEXT_STEP),
    "Pendulum-v1": lambda n: "Pendulum-v1",
    "with a state": Point,
}


@dataclasses.dataclass
class Outcome:
    """What a rank has to tell of a session."""

    parameters: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    metrics: list[Metrics] = dataclasses.field(default_factory=list)
    exactly: bool | None = None
    error: str = ""  # class and words of what ended it


def session(
    folder: Path,
    env: str,
    config: PPOConfig | SACConfig = CONFIG,
    iterations: int = 6,
    at: Callable[[int], None] | None = None,
    every: int = 3,
    rows: int = 2 * N * CONFIG.horizon,
    timeout: float = 60.0,
    **options: Any,
) -> Outcome:
    """Train, and call `at` with the number of each iteration."""
    torch.set_num_threads(1)
    distributed.TIMEOUT = timedelta(seconds=timeout)
    outcome = Outcome()

    def on_iteration(metrics: Metrics) -> None:
        outcome.metrics.append(metrics)
        if at is not None:
            at(metrics.iteration)

    world = ENVIRONMENTS[env](config.num_envs)
    options = {"steps": iterations * rows, "checkpoint_every": every, **options}
    try:
        trained = train.train(world, config, folder, on_iteration=on_iteration, **options)
    except (UsageError, distributed.RankLost, KeyboardInterrupt) as error:
        outcome.error = f"{type(error).__name__}: {error}"
        return outcome
    outcome.parameters, outcome.exactly = trained.policy.state_dict(), trained.resumed_exactly
    return outcome


def agree_on_tensors(offset: float) -> float | str:
    """What rank 1 has instead of 1 after taking over rank 0's."""
    tensor = torch.full((3,), 1.0 + offset * int(os.environ["RANK"]))
    with distributed.group():
        try:
            distributed.broadcast_state({"a": {"b": tensor}, "c": [0]})
        except distributed.RanksApart as error:
            return str(error)
    return float(tensor[0])


def interrupt_at(update: int) -> Callable[[int], None]:
    return _AtRank(1, update, "interrupt")


def die_at(update: int) -> Callable[[int], None]:
    return _AtRank(1, update, "die")


def hang_at(update: int, until: Path) -> Callable[[int], None]:
    return _AtRank(1, update, "hang", until)


@dataclasses.dataclass
class _AtRank:
    rank: int
    update: int
    what: str
    until: Path = Path()

    def __call__(self, update: int) -> None:
        if (distributed.rank(), update) != (self.rank, self.update):
            return
        if self.what == "interrupt":
            raise KeyboardInterrupt
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while not self.until.exists():
            time.sleep(0.05)


def _be_rank(rank: int, world: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1"}


def _with_port(port: int, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    os.environ["MASTER_PORT"] = str(port)
    return call(*args, **options)


class Ranks:
    """W processes as torchrun starts them, kept for many sessions: it takes long to start one."""

    def __init__(self, world: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pools = [
            ProcessPoolExecutor(1, spawn, initializer=_be_rank, initargs=(rank, world))
            for rank in range(world)
        ]

    def __call__(self, call: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
        """What each rank returns; None where it died."""
        futures = self.begin(call, *args, **options)
        wait(futures)
        return [None if future.exception() else future.result() for future in futures]

    def begin(self, call: Callable[..., Any], *args: Any, **options: Any) -> list[Future[Any]]:
        each = options.pop("each", [{}] * len(self.pools))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [
            pool.submit(_with_port, port, call, *args, **options, **own)
            for pool, own in zip(self.pools, each, strict=True)
        ]

    def close(self) -> None:
        for pool in self.pools:
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown()


@contextlib.contextmanager
def ranks(world: int) -> Iterator[Ranks]:
    group = Ranks(world)
    try:
        yield group
    finally:
        group.close()


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    with ranks(2) as group:
        yield group


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `session` sets in this process."""
    monkeypatch.setattr(distributed, "TIMEOUT", distributed.TIMEOUT)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def learned(folder: Path) -> dict[str, Any]:
    """All of a checkpoint but its time."""
    state = load(folder / "checkpoint.pt")
    del state["progress"]["elapsed"]
    return state


def leaves(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What lies in nested dicts and lists, with the path to it."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from leaves(value, f"{name}/{index}")
    else:
        yield name, state


def assert_equal(a: Any, b: Any) -> None:
    for (name, x), (other, y) in zip(leaves(a), leaves(b), strict=True):
        assert name == other
        assert np.array_equal(x, y), name


def assert_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """Within 1e-5 of each tensor's largest number."""
    assert a.keys() == b.keys()
    for name in a:
        scale = float(b[name].abs().max()) if b[name].numel() else 0.0
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-5 * scale, msg=name)


# --- alone ------------------------------------------------------------------------------------


def test_alone_nothing_is_computed_and_nothing_drawn_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "3")  # not all that torchrun sets
    with distributed.group():
        assert (distributed.rank(), distributed.world_size(), distributed.threads()) == (0, 1, 0)
        x = torch.rand(3, 2)
        assert distributed.all_gather(x) is x
        assert distributed.average(x, []) is x
        assert distributed.local_rows(x, 2) == (x, 1.0)
        assert distributed.all_gather_objects("a") == ["a"]
        noise = distributed.randn((3, 2), torch.Generator().manual_seed(1))
        assert torch.equal(noise, torch.randn(3, 2, generator=torch.Generator().manual_seed(1)))
        assert not torch.distributed.is_initialized()


def test_one_process_of_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch):
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with distributed.group():
        assert not torch.distributed.is_initialized()


def test_other_machines_cannot_be_met_at_this_one_s_inside(monkeypatch: pytest.MonkeyPatch):
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"}
    for name, value in {**variables, "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    words = "GLOO_SOCKET_IFNAME: found none, and this host's name means 127.0.1.1; allowed is"
    with pytest.raises(UsageError, match=words), distributed.group():
        pass
    assert not torch.distributed.is_initialized()


def test_own_rows_are_those_of_a_rank_s_columns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    # (T, W·N) = (3, 2·2) numbered     0 1 2 3      of rank 0: 0 1    of rank 1: 0 1
    #                                  4 5 6 7                 2 3               2 3
    #                                  8 9 10 11               4 5               4 5
    batch = torch.tensor([11, 4, 2, 9, 0, 10])
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    rows, part = distributed.local_rows(batch, num_envs=2)
    assert (rows.tolist(), part) == ([2, 5, 0], 0.5)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    rows, part = distributed.local_rows(batch, num_envs=2)
    assert (rows.tolist(), part) == ([5, 0, 4], 0.5)
    rows, part = distributed.local_rows(torch.tensor([0, 1, 4]), num_envs=2)  # all of them rank 0's
    assert (len(rows), part) == (1, 0.0)


# --- two are as good as one with twice the environments -----------------------------------------

CASES = [
    ("same step", CONFIG),
    ("next step", CONFIG),
    ("Pendulum-v1", dataclasses.replace(CONFIG, horizon=36)),  # 200 steps are an episode
    # Minibatches of two or three rows: often one of the ranks has none of them.
    ("same step", dataclasses.replace(CONFIG, horizon=2, num_minibatches=7)),
    ("next step", dataclasses.replace(CONFIG, num_envs=1, horizon=8, num_minibatches=6)),
]


@pytest.mark.parametrize(("env", "config"), CASES)
def test_two_ranks_learn_what_one_does_with_twice_the_environments(
    env: str, config: PPOConfig, two: Ranks, tmp_path: Path
):
    rows = 2 * config.num_envs * config.horizon
    first, second = two(session, tmp_path / "two", env, config, rows=rows, seed=3)
    both = dataclasses.replace(config, num_envs=2 * config.num_envs)
    whole = session(tmp_path / "one", env, both, rows=rows, seed=3)
    assert [first.error, second.error, whole.error] == ["", "", ""]
    assert_equal(first.parameters, second.parameters)
    assert_close(first.parameters, whole.parameters)
    found, wanted = learned(tmp_path / "two"), learned(tmp_path / "one")
    for part in ("policy", "value"):  # with the critic's normalisers, and the returns'
        assert_close(dict(tensors(found[part])), dict(tensors(wanted[part])))
    assert torch.equal(found["generator"], wanted["generator"])
    progress = {"iterations": 6, "steps": 6 * rows, "warm_up": 0}
    assert found["progress"] == wanted["progress"] == progress
    for mine, yours in zip(first.metrics, whole.metrics, strict=True):
        assert_same_metrics(mine, yours)
    assert_equal(
        [without_time(m) for m in first.metrics], [without_time(m) for m in second.metrics]
    )

    # It is no small step that they agree on.
    other = session(tmp_path / "other", env, both, rows=rows, seed=4)
    with pytest.raises(AssertionError):
        assert_close(other.parameters, whole.parameters)


def tensors(state: Any) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, x.double()) for name, x in leaves(state) if isinstance(x, torch.Tensor))


def without_time(metrics: Metrics) -> dict[str, Any]:
    table = dataclasses.asdict(metrics)
    timed = ("elapsed", "collect_time", "learn_time", "steps_per_second")
    return {name: x for name, x in table.items() if name not in timed}


def assert_same_metrics(a: Metrics, b: Metrics) -> None:
    for (name, x), (_, y) in zip(leaves(without_time(a)), leaves(without_time(b)), strict=True):
        assert x == (None if y is None else pytest.approx(y, rel=1e-4, abs=1e-5)), name


@pytest.mark.slow
def test_three_ranks_give_the_same_bits_again_and_on_each(tmp_path: Path):
    with ranks(3) as three:
        once = three(session, tmp_path / "once", "next step", rows=3 * N * CONFIG.horizon)
        again = three(session, tmp_path / "again", "next step", rows=3 * N * CONFIG.horizon)
    whole = session(
        tmp_path / "whole",
        "next step",
        dataclasses.replace(CONFIG, num_envs=3 * N),
        rows=3 * N * CONFIG.horizon,
    )
    assert len(once[0].metrics) == 6
    for outcome in (*once, *again):
        assert_equal(outcome.parameters, once[0].parameters)
    assert_close(once[0].parameters, whole.parameters)


def update(rows: list[list[float]]) -> tuple[list[float], list[float], float]:
    """A normaliser's mean, variance and count after a rank's own rows."""
    normaliser = Normaliser(1)
    with distributed.group():
        normaliser.update(torch.tensor(rows).reshape(-1, 1))
    return normaliser.mean.tolist(), normaliser.variance.tolist(), float(normaliser.count)


def test_a_normaliser_merges_the_ranks_rows_even_where_one_has_none(two: Ranks):
    # 1, 3, 8: mean 4, variance (9 + 1 + 16) / 3.
    found = two(update, each=[{"rows": [[1.0], [3.0]]}, {"rows": [[8.0]]}])
    assert found == [([4.0], [pytest.approx(26 / 3)], 3.0)] * 2
    # 1, 3: mean 2, variance 1.
    assert two(update, each=[{"rows": []}, {"rows": [[1.0], [3.0]]}]) == [([2.0], [1.0], 2.0)] * 2
    assert two(update, each=[{"rows": []}] * 2) == [([0.0], [1.0], 0.0)] * 2


def test_ranks_take_over_what_rounding_did_and_no_more(two: Ranks):
    assert two(agree_on_tensors, 1e-6) == [1.0, 1.0]
    for words in two(agree_on_tensors, 0.5):
        assert words == "ranks: found learned numbers 5.0e-01 apart, allowed is 0.001"


# --- sessions ---------------------------------------------------------------------------------


def test_two_ranks_killed_and_resumed_are_two_never_stopped(tmp_path: Path, two: Ranks):
    whole = two(session, tmp_path / "whole", "with a state")
    with ranks(2) as mortal:
        survivor, dead = mortal(session, tmp_path / "cut", "with a state", at=die_at(5))
    assert dead is None
    assert survivor.error.startswith("RankLost: rank 0 of 2: lost the other ranks (")
    assert "the last checkpoint is whole" in survivor.error
    assert survivor.error.count("\n") == 0
    assert load(tmp_path / "cut" / "checkpoint.pt")["progress"]["iterations"] == 3
    resumed = two(session, tmp_path / "cut", "with a state", resume=True)
    assert [outcome.exactly for outcome in resumed] == [True, True]
    assert_equal(learned(tmp_path / "cut"), learned(tmp_path / "whole"))
    assert_equal(resumed[1].parameters, whole[1].parameters)


def test_ctrl_c_on_one_rank_stops_all_after_the_same_update(tmp_path: Path, two: Ranks):
    two(session, tmp_path / "whole", "with a state")
    stopped = two(session, tmp_path / "cut", "with a state", at=interrupt_at(4))
    assert [outcome.error for outcome in stopped] == ["Stopped: ", "Stopped: "]
    assert load(tmp_path / "cut" / "checkpoint.pt")["progress"]["iterations"] == 4
    two(session, tmp_path / "cut", "with a state", resume=True)
    assert_equal(learned(tmp_path / "cut"), learned(tmp_path / "whole"))


def test_environments_without_a_state_begin_other_episodes_on_each_rank(tmp_path: Path, two: Ranks):
    two(session, tmp_path, "next step", at=interrupt_at(4))
    resumed = two(session, tmp_path, "next step", resume=True)
    assert [outcome.exactly for outcome in resumed] == [False, False]
    assert_equal(resumed[0].parameters, resumed[1].parameters)


def test_a_silent_rank_is_given_up(tmp_path: Path, two: Ranks):
    over = tmp_path / "over"
    options = {"at": hang_at(2, until=over), "timeout": 3.0}
    waiting, silent = two.begin(session, tmp_path / "run", "with a state", **options)
    assert waiting.result().error.startswith("RankLost: rank 0 of 2: lost the other ranks (")
    over.touch()
    assert silent.result().error.startswith("RankLost: rank 1 of 2: lost the other ranks (")


def test_rank_0_alone_reads_and_writes_the_folder(tmp_path: Path, two: Ranks):
    folders = [{"folder": tmp_path / "first"}, {"folder": tmp_path / "second"}]
    two(session, env="with a state", iterations=3, each=folders)
    found = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert found[:2] == ["checkpoint.pt", "config.json"]
    assert len(found) == 3  # TensorBoard's events, once
    assert json.loads((tmp_path / "first" / "config.json").read_text())["processes"] == 2
    assert not (tmp_path / "second").exists()
    resumed = two(session, env="with a state", each=folders, resume=True)
    assert [len(outcome.metrics) for outcome in resumed] == [3, 3]
    assert load_policy(tmp_path / "first" / "checkpoint.pt").obs_dim == 1


def test_rank_0_s_clock_decides_for_all(tmp_path: Path, two: Ranks):
    # The first rank's seconds are long: 0.1 minutes are over after two of its updates.
    clocks = [{"clock": _Clock(1.0)}, {"clock": _Clock(0.0)}]
    found = two(
        session, tmp_path, "with a state", each=clocks, steps=None, minutes=0.1, iterations=0
    )
    assert [outcome.error for outcome in found] == ["", ""]
    assert [len(outcome.metrics) for outcome in found] == [2, 2]
    assert [outcome.metrics[-1].elapsed for outcome in found] == [8.0, 8.0]


@dataclasses.dataclass
class _Clock:
    tick: float  # [s] a call
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def test_what_ranks_cannot_do_is_refused_on_each_in_one_line(tmp_path: Path, two: Ranks):
    two(session, tmp_path / "two", "with a state", iterations=1)
    session(tmp_path / "one", "with a state", iterations=1)

    def refused(folder: str, *words: str, **options: Any) -> None:
        for outcome in two(session, tmp_path / folder, "with a state", **options):
            assert outcome.error == "UsageError: " + " ".join(words)

    refused("new", "processes: found 2, allowed for sac is 1", config=SACConfig(num_envs=N))
    refused("new", "rank 1: found seed = 5, allowed is rank 0's 0", each=[{}, {"seed": 5}])
    refused("two", f"{tmp_path / 'two'}: found a run, allowed is a new folder, or to resume it")
    refused("one", "resume: found 2 processes, allowed is the run's own 1", resume=True)
    alone = session(tmp_path / "two", "with a state", resume=True)
    assert alone.error == "UsageError: resume: found 1 processes, allowed is the run's own 2"


# --- torchrun ---------------------------------------------------------------------------------

SMALL_WALK = ("--num-envs", "32", "--horizon", "8", "--hidden", "16", "--epochs", "1")
BEGIN = ("walk", "--run", "run", *SMALL_WALK)


def torchrun(cwd: Path, *words: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    # Without --, torchrun takes --run for an abbreviation of its own --run-path.
    command = [*launcher, "--nproc-per-node", "2", "-m", "--", "surefoot", "train"]
    return subprocess.Popen(
        [*command, *words, "--episodes", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torchrun_trains_stops_goes_on_and_exports_once(tmp_path: Path):
    with torchrun(tmp_path, *BEGIN, "--steps", "1e9") as first:
        assert first.stdout is not None
        assert "Training in run" in first.stdout.readline()
        first.send_signal(signal.SIGINT)
        out, err = first.communicate()
    assert "To go on:             torchrun (as before) -m -- surefoot train --resume run" in out
    assert out.count("Saved.") == 1
    assert err.count("surefoot train: stopped") == 2
    assert "Traceback" not in err.split("surefoot train: stopped")[0]
    iterations = load(tmp_path / "run" / "checkpoint.pt")["progress"]["iterations"]
    assert iterations >= 1

    steps = str((iterations + 2) * 2 * 32 * 8)
    with torchrun(tmp_path, "--resume", "run", "--steps", steps) as second:
        out, err = second.communicate()
    assert second.returncode == 0, err
    assert out.count("Going on in run") == 1
    result = json.loads(out.splitlines()[-1])
    assert result["steps"] == int(steps)
    assert list(result["evaluation"]) == ["nominal", "pushes", "randomised", "beyond"]
    assert (tmp_path / "run" / "policy.onnx").is_file()

    with torchrun(tmp_path, *BEGIN, "--steps", steps) as third:
        out, err = third.communicate()
    assert third.returncode != 0
    assert "surefoot train: run: found a run, allowed is a new folder, or --resume run" in err
