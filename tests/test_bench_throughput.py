"""The benchmark of stepping robots: its figures by hand, and that what it takes apart is there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import iteration
import numpy as np
import pytest
import records
import stepping
import throughput
from mujoco.batch import Batch
from parts import Stopwatch
from records import Run
from rich.console import Console
from session import Session
from stepping import BLOCK, WARM_UP, Pair
from surefoot.control.ppo import PPOConfig
from surefoot.sim.tasks import make_task

ARGUMENTS = throughput.Arguments(rounds=1, steps=6 * BLOCK, num_envs=2)
RUN = throughput.plan(ARGUMENTS)[0]


def test_speeds_are_medians_of_blocks_after_the_warm_up():
    drawn = []
    took = iter([9.0] * WARM_UP + [2.0, 1.0, 5.0])  # [s], of 10 periods of two robots

    def environment(actions: np.ndarray) -> float:
        drawn.append(actions)
        return next(took)

    found = stepping.measure(Pair(environment, lambda actions: 0.8, 4, 0.005), RUN)
    assert found["blocks"] == 3
    assert found["steps_per_second"] == 20 / 2.0
    assert found["bare_steps_per_second"] == 20 / 0.8
    assert found["ratio"] == pytest.approx(0.8 / 2.0)
    assert drawn[0].shape == (BLOCK, 2, 12) and drawn[0].dtype == np.float32
    assert np.std(drawn) == pytest.approx(stepping.SPREAD, rel=0.05)
    assert found["peak_memory"] > 2**20


def test_the_peak_of_memory_is_of_the_program_alone():
    """A session that has read much starts one that has not, by fork and exec."""
    little = "from records import peak_memory; print(peak_memory())"
    # Its first word is the virtual environment's Python, or it would be outside of it.
    words = f"[sys.executable, '-c', {little!r}]"
    much = f"import os, sys; x = b'x' * 2**29; os.execv(sys.executable, {words})"
    done = subprocess.run(
        [sys.executable, "-c", much], cwd=records.HERE, capture_output=True, text=True, check=True
    )
    assert 2**22 < int(done.stdout) < 2**28


def test_the_bare_robots_do_what_those_of_the_environment_did(monkeypatch: pytest.MonkeyPatch):
    made: dict[str, Any] = {}

    def make_nominal(*args: Any, **options: Any) -> Any:
        made["env"] = make_task(*args, **options, randomisation=())
        return made["env"]

    def make_batch(*args: Any) -> Any:
        made["batch"] = Batch(*args)
        return made["batch"]

    monkeypatch.setattr("surefoot.sim.tasks.make_task", make_nominal)
    monkeypatch.setattr(stepping, "Batch", make_batch)
    pair = stepping.surefoot_pair(replace(RUN, config={"num_envs": 3}, cores=1))
    drawn = np.random.default_rng(0).standard_normal((2, BLOCK, 3, 12)).astype(np.float32)
    for actions in 0.2 * drawn:
        assert pair.environment(actions) > 0
        assert pair.bare(actions) > 0
        assert np.array_equal(made["batch"].bind("qpos"), made["env"].robots.qpos)
    assert (made["env"].ticks == 2 * BLOCK).all()  # nobody fell
    assert pair.substeps * pair.timestep == pytest.approx(0.02)


def stepped(library: Any, speed: float, bare: float, turn: int = 0, **facts: Any) -> dict[str, Any]:
    """As a session writes a turn."""
    return {
        "run": records.as_json(replace(RUN, library=library, seed=turn)),
        "steps_per_second": speed,
        "bare_steps_per_second": bare,
        "ratio": speed / bare,
        "substeps": 4,
        "timestep": 0.005,
        "peak_memory": 2**30,
        "busy": False,
        "versions": {"surefoot": "0.1.0"},
        "machine": {"cpu": "one"},
        **facts,
    }


def iterated(
    num_envs: int, parts: dict[str, float], whole: float, memory: int, turn: int = 0
) -> dict[str, Any]:
    """As a session writes the parts of an iteration."""
    run = Run(
        "iteration",
        "surefoot",
        "ppo",
        "walk go1",
        steps=1,
        seed=turn,
        config=asdict(PPOConfig(num_envs=num_envs)),
    )
    return {
        "run": records.as_json(run),
        "parts": parts,
        "whole": whole,
        "torch_threads": 2,
        "peak_memory": memory,
        "busy": False,
        "versions": {"surefoot": "0.1.0"},
        "machine": {"cpu": "one"},
    }


def verdicts(found: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    tables = throughput.tables(list(found))
    return [row[1:] for table in tables if table.title.startswith("Goals") for row in table.rows]


def test_the_goals_say_whether_they_are_reached():
    turns = range(3)
    ours = [stepped("surefoot", speed, 100.0, i) for i, speed in enumerate((86.0, 90.0, 84.0))]
    theirs = [stepped("envpool", 40.0, 80.0, i, substeps=5) for i in turns]
    gib = 2**30
    small = [iterated(1024, {"policy": 1.0}, 2.0, (1 + i) * gib, i) for i in turns]
    assert verdicts([*ours, *theirs, *small]) == [
        ("≥ 0.85", "0.860", "reached"),
        ("≥ 2", "2.15", "reached"),
        ("–", "1.72", "for scale"),  # 86 × 4 steps of the physics, of 40 × 5
        ("–", "1.07", "for scale"),
        ("–", "2.00", "for scale"),
        ("< 4", "3.00", "reached"),  # the most, not the median
    ]
    slow = [stepped("surefoot", 79.0, 100.0, i) for i in turns]
    large = [iterated(1024, {"policy": 1.0}, 2.0, (2 + i) * gib, i) for i in turns]
    missed = [row[2] for row in verdicts([*slow, *theirs, *large]) if row[2] != "for scale"]
    assert missed == ["not reached"] * 3
    # Without EnvPool, and without an iteration, nothing is said of them.
    assert verdicts(ours) == [("≥ 0.85", "0.860", "reached")]


def test_few_runs_get_no_verdict():
    ours = [stepped("surefoot", 90.0, 100.0, i) for i in range(2)]
    theirs = [stepped("envpool", 40.0, 80.0)]
    found = verdicts([*ours, *theirs, iterated(1024, {"policy": 1.0}, 2.0, 2**30)])
    assert {row[2] for row in found} == {"too few runs", "for scale"}


def test_the_parts_of_an_iteration_are_summed_by_group():
    parts = {"physics: Batch.step": 5.0, "environment: reward": 1.0, "update: Adam": 2.0}
    made = [iterated(size, {**parts, "policy": 1.0}, 10.0, 2**30) for size in (1024, 512)]
    (table,) = throughput.tables(made)
    assert table.columns == ("part", "µs a step, 512", "%", "µs a step, 1024", "%")
    found = {row[0]: row[1:3] for row in table.rows}
    assert found["the rest"] == ("1.00", "10.0")
    assert found["together: physics"] == ("5.00", "50.0")
    assert found["together: environment's Python"] == ("1.00", "10.0")
    assert found["together: learner"] == ("2.00", "20.0")
    assert found["together: rollout: policy, values, storing"] == ("1.00", "10.0")
    assert found["together: the rest"] == ("1.00", "10.0")  # of nobody knows what: nobody's
    assert found["all of it"] == ("10.0", "100.0")
    assert table.rows[0][0] == "physics: Batch.step"  # the largest first


def test_the_parts_are_those_of_the_middle_run():
    made = [iterated(512, {"policy": t / 2}, t, 2**30, i) for i, t in enumerate((50.0, 10.0, 20.0))]
    (table,) = throughput.tables(made)
    assert dict(row[:2] for row in table.rows)["policy"] == "10.0"
    assert table.notes[0].startswith("512 environments: 50 000 steps/s, 20 000 to 100 000 in 3 ")


def test_an_environment_is_taken_apart_without_a_difference():
    plain, apart = (make_task("walk", 2, "go1", nthread=1) for _ in range(2))
    watch = Stopwatch()
    iteration.wrap_environment(watch, apart)
    plain.reset(seed=1)
    apart.reset(seed=1)
    actions = np.full((2, 12), 0.3, np.float32)
    for _ in range(3):
        assert np.array_equal(plain.step(actions)[0], apart.step(actions)[0])
    labels = {label for _, _, label in iteration.PARTS_OF_ENVIRONMENT}
    assert set(watch.seconds) == labels
    often = labels - {"environment: statistics"}  # where an episode ends
    assert all(watch.seconds[label] > 0 for label in often)


def test_without_envpool_one_line_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(throughput, "has_envpool", lambda: False)
    monkeypatch.setattr(Session, "_measure", lambda self, run, *_: stepped(run.library, 1.0, 1.0))
    console = Console(record=True, width=100)
    planned = throughput.plan(ARGUMENTS)
    with Session(tmp_path / "r.json", planned, console) as session:
        throughput.measure(ARGUMENTS, session)
    assert "EnvPool is not installed" in console.export_text()
    assert {run.library for run in planned} == {"surefoot"}


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_run_in_a_process_of_its_own(index: int):
    planned = throughput.plan(ARGUMENTS)
    if planned[1].library != "envpool" and index == 1:
        pytest.skip("EnvPool is not installed")
    run = replace([planned[0], planned[1], planned[-1]][index], cores=1)
    run = replace(run, config={**run.config, "num_envs": 4})
    script = {"throughput": "stepping.py", "iteration": "iteration.py"}[run.purpose]
    asked = json.dumps({"run": records.as_json(run), "first_core": 0})
    words = [sys.executable, str(records.HERE / script), asked]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1][1:])["result"]
    if run.purpose == "iteration":
        assert sum(result["parts"].values()) < result["whole"]
        assert result["parts"][iteration.PHYSICS] > 0
        return
    assert result["steps_per_second"] > 0 and result["bare_steps_per_second"] > 0
    assert result["substeps"] * result["timestep"] == pytest.approx(0.02)
