"""What a training session tells of each iteration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from torch.utils.tensorboard import SummaryWriter

from . import ppo, sac


@dataclass(frozen=True)
class Metrics:
    """One iteration, for whoever watches."""

    iteration: int  # so far: PPO's updates, a few steps with theirs of SAC
    steps: int  # environment steps so far
    elapsed: float  # training time so far, that before a resume included [s]
    progress: float  # of the budget, 0 to 1
    steps_per_second: float  # of this one, collecting and learning together
    collect_time: float  # [s]
    learn_time: float  # [s]
    learning_rate: float
    episodes: int  # that ended during it
    episode_return: float | None  # mean of those; None if there were none
    episode_length: float | None  # mean of those [steps]
    reward: float  # mean of a step
    saturation: float | None  # part of the actions at or beyond their Box's bounds
    diagnostics: ppo.Diagnostics | sac.Diagnostics
    critic_only: bool = False  # the policy did not learn in this one
    episode: dict[str, float] = field(default_factory=dict)  # means of `infos["statistics"]`


def write(writer: SummaryWriter, metrics: Metrics, algorithm: str) -> None:
    """Add a point to each of TensorBoard's curves, over the environment steps."""
    curves: dict[str, float | None] = {
        "episode/return": metrics.episode_return,
        "episode/length": metrics.episode_length,
        "train/reward": metrics.reward,
        "train/saturation": metrics.saturation,
        "train/learning_rate": metrics.learning_rate,
        "time/steps_per_second": metrics.steps_per_second,
        "time/collect": metrics.collect_time,
        "time/learn": metrics.learn_time,
        **{f"{algorithm}/{name}": x for name, x in asdict(metrics.diagnostics).items()},
        **metrics.episode,
    }
    for name, number in curves.items():
        if number is not None:
            writer.add_scalar(name, number, metrics.steps)
