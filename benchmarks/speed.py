"""PPO and SAC at the same hyperparameters: environment steps and updates a second, by library.

The libraries take turns (A B C A B C), each time in a fresh process; the table has the medians. The
clock starts after the first rollout with its update (PPO) or the first thousand steps (SAC), so
that compiling, which SBX does there, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from analysis import Table, median_range, near, verdict
from records import RESULTS, Algorithm, Library, Record, Run, by_library, origin
from session import Session, measure_and_print

TASK = "HalfCheetah-v5"
GOALS = {"ppo": 1.5, "sac": 1.2}  # times SBX's speed
ALGORITHMS: tuple[Algorithm, ...] = ("ppo", "sac")
LIBRARIES: tuple[Library, ...] = ("sb3", "sbx", "surefoot")
NAMES: dict[Library, str] = {"sb3": "Stable-Baselines3", "sbx": "SBX", "surefoot": "Surefoot"}

PPO_ROLLOUT = 8 * 2048
PPO_PEER = {
    "n_envs": 8,
    "n_steps": 2048,
    "batch_size": 64,
    "n_epochs": 10,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}
PPO_OURS = {
    "num_envs": 8,
    "horizon": 2048,
    "num_minibatches": PPO_ROLLOUT // 64,
    "epochs": 10,
    "learning_rate": 3e-4,
    "final_learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip": 0.2,
    "entropy_coefficient": 0.0,
    "max_grad_norm": 0.5,
    "hidden": (64, 64),
    "initial_std": 1.0,
    "mirror": False,
}
SAC_PEER = {
    "learning_rate": 3e-4,
    "buffer_size": 1_000_000,
    "learning_starts": 100,
    "batch_size": 256,
    "tau": 0.005,
    "gamma": 0.99,
    "train_freq": 1,
    "gradient_steps": 1,
    "ent_coef": "auto",
}
SAC_OURS = {
    "num_envs": 1,
    "updates_per_step": 1,
    "learning_rate": 3e-4,
    "buffer_size": 1_000_000,
    "learning_starts": 100,
    "batch_size": 256,
    "tau": 0.005,
    "gamma": 0.99,
    "n_step": 1,
    "temperature": "automatic",
    "hidden": (256, 256),
    "layer_norm": False,
    "normalise": False,
    "mirror": False,
}
CONFIGS = {
    ("ppo", "surefoot"): PPO_OURS,
    ("ppo", "sb3"): PPO_PEER,
    ("ppo", "sbx"): PPO_PEER,
    ("sac", "surefoot"): SAC_OURS,
    ("sac", "sb3"): SAC_PEER,
    ("sac", "sbx"): SAC_PEER,
}

DIFFERENCES = Table(
    "What still differs at these hyperparameters",
    ("", "Surefoot", "Stable-Baselines3", "SBX"),
    (
        (
            "float32 matrix products",
            "PPO full, SAC rounded to bfloat16 where the CPU can",
            "full",
            "full",
        ),
        ("OpenMP's idle threads", "sleep", "library's default", "library's default"),
        ("PPO: activation", "ELU", "tanh", "tanh"),
        ("PPO: observations, returns", "normalised", "as they are", "as they are"),
        ("PPO: advantages normalised over", "the rollout", "the minibatch", "the minibatch"),
        ("PPO: gradient's norm bounded for", "actor, critic each", "both together", "each"),
        ("PPO: last actor layer", "small", "small", "as the others"),
        ("PPO: π_old of the first epoch", "computed anew, exactly", "from the rollout", "from it"),
        ("PPO: value of a step", "of all steps after the rollout", "in each step", "in each step"),
        ("Adam's ε", "1e-8", "PPO 1e-5, SAC 1e-8", "PPO 1e-5, SAC 1e-8"),
        ("SAC: both critics", "one batched product", "one after the other", "one vmapped product"),
        ("SAC: actions before learning", "the first policy's", "uniform", "uniform"),
        ("SAC: σ clipped to", "e^−5 … e²", "e^−20 … e²", "e^−20 … e²"),
        ("SAC: temperature learned", "with the policy", "before the critics", "after the policy"),
        ("steps between looks at the clock", "256 (SAC)", "1 (SAC)", "1 (SAC)"),
    ),
)


@dataclass(frozen=True)
class Arguments:
    """PPO and SAC at the same hyperparameters on HalfCheetah-v5, steps and updates a second."""

    results: Path = RESULTS / "long.json"
    """File of the records; what is in it is not measured again."""
    rounds: int = 5
    """How often each library has its turn."""
    rollouts: int = 4
    """PPO's rollouts of 16 384 steps that are timed, after the first one."""
    sac_steps: int = 4096
    """SAC's steps that are timed, after the first 1024."""
    cores: int = 2
    """Cores of the machine, for each library."""


def plan(arguments: Arguments) -> list[Run]:
    """The runs, in their order."""
    return [
        _run(algorithm, library, turn, arguments)
        for algorithm in ALGORITHMS
        for turn in range(arguments.rounds)
        for library in LIBRARIES
    ]


def _run(algorithm: Algorithm, library: Library, turn: int, arguments: Arguments) -> Run:
    ppo = algorithm == "ppo"
    warm_up = PPO_ROLLOUT if ppo else 1024
    timed = arguments.rollouts * PPO_ROLLOUT if ppo else arguments.sac_steps
    return Run(
        purpose="speed",
        library=library,
        algorithm=algorithm,
        task=TASK,
        steps=warm_up + timed,
        seed=turn,
        config=CONFIGS[algorithm, library],
        warm_up=warm_up,
        cores=arguments.cores,
    )


def tables(records: list[Record]) -> list[Table]:
    """Steps and updates a second, as medians over the rounds, and their ratios."""
    speeds = [record for record in records if record["run"]["purpose"] == "speed"]
    made = []
    for algorithm in ("ppo", "sac"):
        here = [record for record in speeds if record["run"]["algorithm"] == algorithm]
        if here:
            made.append(_table(algorithm, by_library(here, LIBRARIES)))
    return [*made, DIFFERENCES] if made else []


def _table(algorithm: str, compared: dict[Library, list[Record]]) -> Table:
    speeds = {
        library: median_range([record["steps_per_second"] for record in records])
        for library, records in compared.items()
    }
    rows = []
    for library, records in compared.items():
        if not records:
            continue
        middle, low, high = speeds[library]
        updates, _, _ = median_range([record["updates_per_second"] for record in records])
        ratios = [f"{middle / speeds[peer][0]:.2f}" for peer in ("sb3", "sbx")]
        threads = str(records[-1]["torch_threads"]) if library != "sbx" else "XLA's own"
        span = f"{near(low)} to {near(high)}"
        rows.append(
            (NAMES[library], threads, near(middle), span, near(updates), *ratios, _flag(records))
        )
    goal = GOALS[algorithm]
    ratio = speeds["surefoot"][0] / speeds["sbx"][0]
    runs = min(len(compared["surefoot"]), len(compared["sbx"]))
    found = verdict(ratio >= goal, runs)
    notes = [f"Goal: {goal:g} × SBX; measured {ratio:.2f} ×: {found}."]
    measured = [record for records in compared.values() for record in records]
    notes += origin(measured)
    if any(record["busy"] for record in measured):
        notes.append("Busy rounds: others used the machine meanwhile; no fair figures.")
    return Table(
        f"{algorithm.upper()} on {TASK} at the same hyperparameters",
        ("library", "threads", "steps/s", "from, to", "updates/s", "× SB3", "× SBX", "rounds"),
        tuple(rows),
        tuple(notes),
    )


def _flag(records: list[Record]) -> str:
    """How many rounds, and in how many of them others used the machine."""
    busy = sum(record["busy"] for record in records)
    return f"{len(records)}" + (f", {busy} busy" if busy else "")


def measure(arguments: Arguments, session: Session) -> None:
    """Make the runs that are missing."""
    for run in plan(arguments):
        session.perform(run)


def main(arguments: Arguments) -> int:
    """Measure what is missing, and print the tables."""
    call = partial(measure, arguments)
    return measure_and_print(arguments.results, plan(arguments), call, tables)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments)))
