"""`surefoot train`: from nothing to a policy, its figures and its file."""

from __future__ import annotations

import json as jsonlib
import math
import subprocess
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..control.ppo import PPOConfig
from ..control.train import Metrics, train
from ..deploy.export import add_evaluation
from ..deploy.log_format import POLICY_FILE
from ..models.errors import UsageError
from ..sim.randomisation import TRAINING, describe
from ..sim.walk import WalkEnv
from .evaluate import measure
from .export import export_run
from .tables import evaluation_table

DEFAULT_MINUTES = 4.0


@dataclass(frozen=True)
class Arguments:
    """Learn a policy in simulation; ends with policy.onnx and its evaluation."""

    task: Annotated[Literal["walk"], tyro.conf.Positional]
    """What to learn."""
    robot: str = "quadruped"
    """Name of a robot that Surefoot ships, or the path of a robot.toml."""
    minutes: float | None = None
    """Budget of training time [min]; 4 if neither this nor --steps is given."""
    steps: int | None = None
    """Budget of environment steps; with both, the first one spent ends it."""
    seed: int = 0
    """Of everything random. The same seed and steps give the same policy."""
    run: Path | None = None
    """The run's folder; a new one under runs/ if not given."""
    resume: bool = False
    """Go on from the checkpoint in --run, with the budget counted from its start."""
    episodes: int = 256
    """Episodes of the evaluation at the end, under each condition; 0 leaves it out."""
    json: bool = False
    """End with one JSON object on the last line."""
    ppo: Annotated[PPOConfig, tyro.conf.arg(name="")] = field(default_factory=PPOConfig)


def run(arguments: Arguments) -> int:
    """Train, export, evaluate."""
    console = Console()
    if arguments.resume and arguments.run is None:
        raise UsageError("--resume: found no --run, give the folder of a run")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = arguments.run or Path("runs") / f"{arguments.task}-{stamp}"
    minutes = arguments.minutes
    if minutes is None and arguments.steps is None:
        minutes = DEFAULT_MINUTES
    _require_possible(arguments, folder)
    env = WalkEnv(arguments.ppo.num_envs, arguments.robot)
    about = {
        "task": arguments.task,
        "robot": arguments.robot,
        "randomisation": describe(TRAINING),
        "commit": _commit(),
    }
    console.print(f"Training in [bold]{folder}[/bold]: tensorboard --logdir {folder}")
    watch = _Watch(console)
    with watch.live:
        trained = train(
            env,
            arguments.ppo,
            folder,
            minutes=minutes,
            steps=arguments.steps,
            seed=arguments.seed,
            resume=arguments.resume,
            on_update=watch.update,
            about=about,
        )
    if trained.resumed_exactly is False:
        console.print("The environments do not expose their state: their episodes restarted.")
    policy = folder / POLICY_FILE
    export_run(folder, policy)
    result = {
        "run": str(folder),
        "policy": str(policy),
        "steps": trained.steps,
        "seconds": round(trained.elapsed, 1),
    }
    if arguments.episodes:
        figures = measure(policy, arguments.robot, arguments.episodes, arguments.seed, console)
        add_evaluation(policy, figures)
        console.print(evaluation_table(figures, f"{policy}"))
        result["evaluation"] = figures
    console.print(
        f"{trained.steps / 1e6:.2f} M steps in {trained.elapsed:.0f} s. "
        f"Next: surefoot deploy {policy} --robot {arguments.robot} --emulated",
        highlight=False,
        soft_wrap=True,
    )
    if arguments.json:
        print(jsonlib.dumps(result))
    return 0


def _require_possible(arguments: Arguments, folder: Path) -> None:
    """Raise UsageError for figures that nothing can be learned with."""
    if arguments.minutes is not None and not 0 < arguments.minutes < math.inf:
        raise UsageError(f"--minutes: found {arguments.minutes}, allowed is a number > 0")
    if arguments.episodes < 0:
        raise UsageError(f"--episodes: found {arguments.episodes}, allowed is 0 or more")
    counts = {"steps": 1 if arguments.steps is None else arguments.steps}
    names = ("num_envs", "horizon", "epochs", "minibatches")
    counts.update({name: getattr(arguments.ppo, name) for name in names})
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"--{name.replace('_', '-')}: found {count}, allowed is 1 or more")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--run: found a file {folder}, allowed is a folder")


def _commit() -> str:
    """The repository's commit, with + where the tree differs from it; '' outside a repository."""
    here = Path(__file__).parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class _Watch:
    """A bar with the time left over the figures that matter; into a file, a line for each tenth."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._task = self._bar.add_task("training", total=1.0)
        self._returns: float | None = None
        self._falls: float | None = None
        self._told = 0.0
        self.live = Live(self._bar, console=console, refresh_per_second=4)

    def update(self, metrics: Metrics) -> None:
        if metrics.episode_return is not None:
            self._returns = metrics.episode_return
            self._falls = metrics.episode.get("end/fall", self._falls)
        figures = self._figures(metrics)
        self._bar.update(self._task, completed=metrics.progress)
        if self._console.is_terminal:
            grid = Table.grid(padding=(0, 3))
            grid.add_row(*(f"[dim]{name}[/dim]" for name in figures))
            grid.add_row(*figures.values())
            self.live.update(Group(self._bar, grid))
        elif metrics.progress >= self._told + 0.1:
            self._told = metrics.progress
            words = ", ".join(f"{name} {value}" for name, value in figures.items())
            self._console.print(f"{metrics.progress:4.0%}  {words}", soft_wrap=True)

    def _figures(self, metrics: Metrics) -> dict[str, str]:
        d = metrics.diagnostics
        return {
            "steps": f"{metrics.steps / 1e6:.2f} M",
            "steps/s": f"{metrics.steps_per_second / 1e3:.1f} k",
            "reward a step": f"{metrics.reward:.3f}",
            "episode return": "-" if self._returns is None else f"{self._returns:.0f}",
            "episodes that fall": "-" if self._falls is None else f"{self._falls:.0%}",
            "σ": f"{d.std:.2f}",
            "KL": f"{d.kl:.4f}",
            "clipped": f"{d.clip_fraction:.0%}",
            "explained": f"{d.explained_variance:.2f}",
        }
