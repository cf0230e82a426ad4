"""The benchmarks: their figures by hand, their records, and our side of a run for real."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import analysis
import everything
import learning
import libraries
import numpy as np
import profiling
import pytest
import records
import report
import session
import speed
import torch
from libraries import Clock, Watch
from records import Point, Run, time_to_return
from rich.console import Console
from session import Session

RUN = Run("learning", "surefoot", "ppo", "HalfCheetah-v5", steps=1000, seed=0)


def points(*scores: float) -> list[Point]:
    """One evaluation every 100 steps and 2 s."""
    return [Point(100 * (i + 1), 2.0 * (i + 1), score) for i, score in enumerate(scores)]


def record(run: Run = RUN, scores: tuple[float, ...] = (), **facts: Any) -> dict[str, Any]:
    """As a session writes it."""
    made = points(*scores)
    whole = {
        "run": records.as_json(run),
        "curve": [list(point) for point in made],
        "steps": made[-1].steps if made else run.steps,
        "seconds": made[-1].seconds if made else 10.0,
        "stopped_early": False,
        "busy": False,
        "others": 0.0,
        "alone": True,
        "torch_threads": 2,
        "versions": {"surefoot": "0.1.0", "stable-baselines3": "2", "sbx-rl": "0"},
        "machine": {"cpu": "a processor"},
        "date": "2026-01-01",
    }
    return whole | facts


def test_the_time_to_a_return_is_when_the_mean_of_the_window_passes():
    curve = points(0, 6, 3, 9, 12)
    # Means of three: 3 after the third, 6 after the fourth, 8 after the fifth.
    assert time_to_return(curve, 3, window=3) == curve[2]
    assert time_to_return(curve, 3.01, window=3) == curve[3]
    assert time_to_return(curve, 8, window=3) == curve[4]
    assert time_to_return(curve, 8.01, window=3) is None
    assert time_to_return(curve[:2], -100, window=3) is None  # no three evaluations yet


def test_the_bootstrap_covers_a_mean_as_often_as_it_says():
    assert analysis.interval_of_mean([7.0]) == (7.0, 7.0)
    # Of two numbers, a mean is drawn as 0, 1 or 2 with probabilities 1/4, 1/2, 1/4.
    assert analysis.interval_of_mean([0.0, 2.0]) == (0.0, 2.0)
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        low, high = analysis.interval_of_mean(generator.normal(5, 2, 40).tolist(), seed)
        hits += low < 5 < high
    assert 88 <= hits <= 99


def test_the_bootstrap_of_a_ratio():
    assert analysis.interval_of_ratio([2.0, 2.0], [8.0]) == (0.25, 0.25)
    low, high = analysis.interval_of_ratio([1.0, 3.0], [4.0])
    assert (low, high) == (0.25, 0.75)  # means of 1, 2 or 3


@pytest.mark.parametrize(
    ("number", "text"),
    [(12345.0, "12 300"), (0.12345, "0.123"), (9.996, "10.00"), (-41.84, "−41.8"), (0.0, "0")],
)
def test_numbers_are_shown_with_three_digits(number: float, text: str):
    assert analysis.near(number) == text


def test_the_clock_stands_still_while_it_is_stopped():
    now = 100.0
    clock = Clock(lambda: now)
    now = 103.0
    with clock.stopped():
        now = 150.0
    now = 151.0
    assert clock() == 4.0


def test_a_watch_evaluates_at_equal_steps_and_stops_at_the_target(capsys: pytest.CaptureFixture):
    now = 0.0

    def evaluate(policy: Any, count: int) -> float:
        nonlocal now
        now += 1000.0  # which the clock must not see
        return 10.0 * count

    run = replace(RUN, steps=3000, evaluate_every=100, warm_up=200)
    watch = Watch(run, evaluate, target=45.0, clock=Clock(lambda: now))
    ended, steps = False, 0
    while not ended:
        steps, now = steps + 50, now + 0.5
        ended = watch.look(steps, 2 * steps, None)
    # Scores 0, 10, …, 90: the mean of these ten is 45, at step 1000 after 10 s.
    assert watch.curve == [Point(100 * (i + 1), 1.0 * (i + 1), 10.0 * i) for i in range(10)]
    result = watch.result()
    # From the end of the warm-up, step 200 at 2 s, to step 1000 at 10 s.
    assert (result["steps_per_second"], result["updates_per_second"]) == (100.0, 200.0)
    assert (result["steps"], result["seconds"], result["stopped_early"]) == (1000, 10.0, True)
    said = [json.loads(line[1:]) for line in capsys.readouterr().out.splitlines()]
    assert said[-1] == {"steps": 1000, "score": 90.0}


def test_a_process_has_the_cores_of_its_run_alone(monkeypatch: pytest.MonkeyPatch):
    pinned: list[list[int]] = []
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {7, 2, 5})
    monkeypatch.setattr("os.sched_setaffinity", lambda process, cores: pinned.append(cores))

    def asked(cores: int, first: int) -> list[str]:
        run = replace(RUN, cores=cores)
        return [json.dumps({"run": records.as_json(run), "target": 3.0, "first_core": first})]

    run, all_of_it = libraries.pinned(asked(cores=2, first=0))
    assert (run.cores, all_of_it["target"]) == (2, 3.0)
    libraries.pinned(asked(cores=1, first=2))
    assert pinned == [[2, 5], [7]]
    with pytest.raises(SystemExit, match="cores: found 4, allowed is at most 3"):
        libraries.pinned(asked(cores=4, first=0))
    with pytest.raises(SystemExit, match="cores: found 4"):
        libraries.pinned(asked(cores=2, first=2))
    assert len(pinned) == 2


def test_records_are_kept_and_found_again(tmp_path: Path):
    path = tmp_path / "results" / "file.json"
    assert records.load(path) == []
    run = replace(RUN, config={"hidden": (64, 64)})
    records.append(path, record(run))
    records.append(path, record(replace(run, seed=1)))
    found = records.load(path)
    assert [each["run"]["seed"] for each in found] == [0, 1]
    assert records.find(found, run) == found[0]  # though JSON has no tuples
    assert records.find(found, replace(run, steps=999)) is None
    assert records.find(found, replace(run, config={"hidden": (64, 65)})) is None


def test_records_of_earlier_settings_are_left_out():
    def of(seed: int, score: float, **settings: Any) -> dict[str, Any]:
        return record(replace(RUN, seed=seed, **settings), scores=(score,))

    earlier = [of(seed, 1.0, cores=1) for seed in range(3)]
    newest = [of(1, 2.0), of(0, 3.0), of(1, 4.0)]  # seed 1 twice
    found = records.of_library([*earlier, *newest], "surefoot")
    assert [each["curve"][0][2] for each in found] == [3.0, 4.0]
    assert records.of_library(newest, "sbx") == []


def test_a_mixture_of_machines_or_versions_is_warned_of():
    def of(library: Any, versions: dict[str, str], **machine: Any) -> dict[str, Any]:
        return record(replace(RUN, library=library), versions=versions, machine=machine)

    ours = of("surefoot", {"surefoot": "0.1.0 (a)", "torch": "2", "python": "3.11"}, cores=2)
    theirs = of("sbx", {"sbx-rl": "0.28", "torch": "2"}, cores=2, python="3.11")  # as once written
    assert records.origin([ours, theirs]) == ("Measured: surefoot 0.1.0 (a); sbx-rl 0.28.",)
    # Another commit of ours is said; other versions and another machine are no fair comparison.
    later = of("surefoot", {"surefoot": "0.1.0 (b)", "torch": "3", "python": "3.11"}, cores=4)
    assert records.origin([ours, theirs, later]) == (
        "Measured: surefoot 0.1.0 (a), 0.1.0 (b); sbx-rl 0.28.",
        "Mixed, not one comparison: cores 2 and 4; torch 2 and 3.",
    )
    # A table warns of the records that are in it, not of those that newer ones replaced.
    other = record(replace(RUN, purpose="speed"), machine={"cpu": "another"})
    other |= {"steps_per_second": 1.0, "updates_per_second": 1.0}
    sbx = other | {"run": {**other["run"], "library": "sbx"}, "machine": {"cpu": "a processor"}}
    mixed = "Mixed, not one comparison: cpu a processor and another."
    assert mixed in speed.tables([other, sbx])[0].notes
    again = other | {"machine": {"cpu": "a processor"}}
    assert mixed not in speed.tables([other, sbx, again])[0].notes


def test_the_conditions_are_told_once_each():
    lone, beside = record(), record(others=None, alone=False, versions={"surefoot": "0.2.0"})
    found = dict(report.conditions([lone, lone, beside]).rows)
    assert found["surefoot"] == "0.1.0, 0.2.0" and found["cpu"] == "a processor"
    assert (found["runs"], found["not known, since two at a time"]) == ("3", "1")


def test_what_is_measured_is_known_by_its_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "commit", lambda: "abc+")
    for library in ("surefoot", "sb3"):  # a peer's time is on our tasks, or in our evaluation
        assert records.versions_of(library)["surefoot"].endswith(" (abc+)")


def test_a_run_that_stopped_at_a_lower_target_is_made_again():
    early = record(scores=(5.0,) * 12, stopped_early=True)
    assert records.find([early], RUN, target=5.0) is early
    assert records.find([early], RUN, target=5.1) is None
    assert records.find([early], RUN) is None
    assert records.find([early | {"stopped_early": False}], RUN, target=5.1) is not None


def test_the_target_is_the_mean_of_the_seeds_last_ten_evaluations():
    one, two = record(scores=(100.0, *(2.0,) * 10)), record(scores=(4.0,) * 10)
    assert learning.target_of([one, two]) == 3.0
    assert learning.target_of([]) is None


def comparison(
    ours: tuple[float, ...], theirs: tuple[float, ...], seeds: int = 3
) -> analysis.Table:
    """The table of some equal seeds of each library, Stable-Baselines3's return being 10."""
    runs = {"sb3": (10.0,) * 10, "surefoot": ours, "sbx": theirs}
    made = [
        record(replace(RUN, library=name, seed=seed), scores)
        for name, scores in runs.items()
        for seed in range(seeds)
    ]
    table, differences = learning.tables(made)
    assert differences is learning.DIFFERENCES
    return table


def test_the_comparison_says_whether_the_goal_is_reached():
    reached = comparison((10.0,) * 10, (0.0,) * 60 + (10.0,) * 10)
    # Ours after ten evaluations, 20 s; theirs after seventy, 140 s: 1/7.
    assert "measured 0.14" in reached.notes[-1]
    assert reached.notes[-1].endswith(": reached.")
    assert [row[2] for row in reached.rows] == ["20.0", "140", "20.0"]
    late = comparison((0.0,) * 10 + (10.0,) * 10, (0.0,) * 60 + (10.0,) * 10)
    assert "measured 0.29" in late.notes[-1]
    missed = comparison((0.0,) * 70 + (10.0,) * 10, (0.0,) * 60 + (10.0,) * 10)
    assert "measured 1.14" in missed.notes[-1]
    assert missed.notes[-1].endswith(": not reached.")
    few = comparison((10.0,) * 10, (0.0,) * 60 + (10.0,) * 10, seeds=2)
    assert few.notes[-1].endswith(": too few runs.")


def test_the_comparison_claims_nothing_for_a_run_that_ended_short():
    ours_short = comparison((9.0,) * 20, (10.0,) * 10)
    assert "not reached, 3 of our 3 runs" in ours_short.notes[-1]
    assert dict(zip(ours_short.columns, ours_short.rows[2], strict=True))["mean"] == "≥ 40.0"
    theirs_short = comparison((10.0,) * 10, (9.0,) * 40)  # 20 s against more than 80 s
    assert "≤ 0.25, SBX ended short" in theirs_short.notes[-1]
    assert theirs_short.notes[-1].endswith(": reached.")
    unclear = comparison((10.0,) * 10, (9.0,) * 20)  # 20 s against more than 40 s
    assert unclear.notes[-1].endswith("not shown to be reached.")


def test_the_speed_table_has_medians_and_ratios():
    speeds = {"sb3": (100, 90, 400), "sbx": (200, 210, 190), "surefoot": (330, 310, 300)}
    made = [
        record(
            replace(RUN, purpose="speed", library=library, seed=seed),
            steps_per_second=float(number),
            updates_per_second=2.0 * number,
        )
        for library, numbers in speeds.items()
        for seed, number in enumerate(numbers)
    ]
    table = speed.tables(made)[0]
    ours = dict(zip(table.columns, table.rows[2], strict=True))
    assert (ours["steps/s"], ours["from, to"], ours["updates/s"]) == ("310", "300 to 330", "620")
    assert (ours["× SB3"], ours["× SBX"]) == ("3.10", "1.55")
    assert table.notes[0] == "Goal: 1.5 × SBX; measured 1.55 ×: reached."
    made[0]["busy"] = True
    assert "Busy rounds" in speed.tables(made)[0].notes[-1]


def test_tables_as_markdown():
    table = analysis.Table("Title", ("name", "number"), (("a", "1.5"), ("b", "≥ 2")), ("Note.",))
    lines = ["### Title", "", "| name | number |", "| --- | ---: |", "| a | 1.5 |", "| b | ≥ 2 |"]
    assert table.as_markdown() == "\n".join([*lines, "", "Note.", ""])


def test_the_report_leaves_what_is_written_by_hand(tmp_path: Path):
    results, out = tmp_path / "r.json", tmp_path / "RESULTS.md"
    for library in ("sb3", "sbx", "surefoot"):
        records.append(results, record(replace(RUN, library=library), (10.0,) * 12))
    assert report.main(report.Arguments((results,), out)) == 0
    first = out.read_text()
    assert "| Surefoot | 20.0 |" in first
    assert (tmp_path / report.CURVES).stat().st_size > 10_000
    by_hand = first.replace("Nothing is told here yet.", "We tried a larger batch.")
    out.write_text(by_hand)
    assert report.main(report.Arguments((results,), out)) == 0
    assert out.read_text() == by_hand
    with pytest.raises(ValueError, match="found no marks"):
        report.fill("nothing", "made")


def test_the_short_version_ends_within_20_minutes():
    """By the slowest speeds that were measured on two cores, every run as long as it may."""
    speeds, costs, learns = everything.parts(True, Path("none.json"), cores=2)
    planned = [*speed.plan(speeds), *profiling.plan(costs), *learning.plan(learns)]
    beside = [session.seconds(run) for run in planned if run.cores == 1]
    assert len(beside) == 2  # Stable-Baselines3's, each on a core of its own: the longer one counts
    alone = sum(session.seconds(run) for run in planned if run.cores == 2)
    assert 600 < alone + max(beside) < 1200


def test_everything_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results, made, broken = tmp_path / "short.json", [], ["sbx"]

    def measured(
        self: Session, run: Run, target: float | None, first_core: int, alone: bool
    ) -> dict[str, Any] | None:
        made.append((run, target))
        if run.library in broken:
            self.failed.append(run)
            return None
        profiled = {
            "whole": 4.0,
            "parts": {"update": 3.0, "environment": 1.0},
            "updates_per_step": 1.0,
            "update": 3.0,
            "shares": {"matrix products": 1.0},
            "floor": {"mflop": 1.0, "microseconds": 2.0, "gflops": 3.0},
            "environment_alone": 1.0,
            "precision": "medium",
        }
        speeds = {"steps_per_second": 2.0, "updates_per_second": 1.0}
        return record(run, (10.0,) * 12, **speeds, **profiled)

    monkeypatch.setattr(Session, "_measure", measured)
    arguments = everything.Arguments(short=True, results=results)
    failed = everything.main(arguments)
    first, made[:], broken[:] = [run for run, _ in made], [], []
    assert failed == len(first) - len(records.load(results)) > 0
    assert everything.main(arguments) == 0
    assert {run.library for run, _ in made} == {"sbx"}  # only what was missing
    assert len(made) == failed
    made.clear()
    assert everything.main(arguments) == 0
    assert made == []
    assert {run.purpose for run in first} == {"speed", "learning", "profile"}


def test_side_by_side_each_run_has_a_core_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    both, taken = Barrier(2, timeout=60), []

    def measured(self: Session, run: Run, target: None, first_core: int, alone: bool) -> Any:
        taken.append(first_core)
        if run.seed < 2:
            both.wait()  # neither of the first two ends before the other has begun,
            assert sorted(taken) == [0, 1]
            both.wait()  # nor before both have looked
        return record(run, seconds=float(first_core))

    monkeypatch.setattr(Session, "_measure", measured)
    runs = [replace(RUN, seed=seed, cores=1) for seed in range(3)]
    with Session(tmp_path / "results.json", runs, Console(quiet=True)) as session:
        found = session.perform_side_by_side(runs, cores=2)
    assert [each["run"]["seed"] for each in found] == [0, 1, 2]
    kept = records.load(tmp_path / "results.json")
    assert sorted(each["run"]["seed"] for each in kept) == [0, 1, 2]


SMALL = {
    "ppo": {**speed.PPO_OURS, "num_envs": 2, "horizon": 32, "num_minibatches": 2, "epochs": 2},
    "sac": {**speed.SAC_OURS, "batch_size": 16, "hidden": (16, 16), "learning_starts": 448},
}


@pytest.mark.parametrize(("algorithm", "steps"), [("ppo", 128), ("sac", 512)])
def test_what_is_measured_is_what_train_does(algorithm: Any, steps: int, tmp_path: Path):
    from surefoot.control.train import train

    run = Run("learning", "surefoot", algorithm, "InvertedPendulum-v5", steps, 3, SMALL[algorithm])
    seen: list[Any] = []

    def evaluate(policy: Any, count: int) -> float:
        seen.append(policy)
        return 0.0

    watch = Watch(replace(run, evaluate_every=steps), evaluate)
    config = libraries.train_surefoot(watch.run, watch)
    ours = libraries.surefoot_config(run)
    assert config == asdict(ours)
    assert watch.threads == 1  # as `train` sets it for networks so small, and puts back
    trained = train(run.task, ours, tmp_path / "run", steps=steps, seed=3)
    assert watch.last[0] == trained.steps == steps
    for mine, theirs in zip(seen[0].parameters(), trained.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    # PPO: two iterations of 2 epochs × 2 minibatches; SAC: one after each step past the 448th.
    assert watch.last[1] == {"ppo": 8, "sac": 64}[algorithm]


@pytest.mark.slow
@pytest.mark.parametrize("purpose", ["learning", "profile"])
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_run_in_a_process_of_its_own(purpose: Any, algorithm: Any):
    config = SMALL[algorithm]
    run = Run(purpose, "surefoot", algorithm, "InvertedPendulum-v5", 1024, 0, config, warm_up=512)
    run = replace(run, evaluate_every=512, cores=1)
    script = "parts.py" if purpose == "profile" else "libraries.py"
    words = [sys.executable, str(records.HERE / script)]
    asked = json.dumps({"run": records.as_json(run), "target": None, "first_core": 0})
    done = subprocess.run([*words, asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1][1:])["result"]
    if purpose == "learning":
        assert [point[0] for point in result["curve"]] == [512, 1024]
        assert all(1 <= point[2] <= 1000 for point in result["curve"])
        assert result["steps_per_second"] > 0
        return
    assert math.isclose(sum(result["shares"].values()), 1, abs_tol=0.05)
    assert sum(result["parts"].values()) < result["whole"]
    tables = profiling.tables([record(run, **result)])
    names = {"update: derivatives", "update: Adam", "environment", "policy", "together"}
    assert {row[0] for row in tables[0].rows} >= names
    assert 0 < result["floor"]["microseconds"] < result["update"]
