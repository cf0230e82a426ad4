"""Why isn't it learning? A run's figures beside their healthy ranges, with plain advice.

The ranges are rules of thumb, from runs that learned and runs that did not: a figure outside says
where to look first, not that a run has failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from . import ppo, sac
from .metrics import Metrics
from .ppo import PPOConfig
from .sac import SACConfig

RECENT = 0.1  # of the iterations, those whose mean is looked at


@dataclass(frozen=True)
class Check:
    """One figure. Where it is below `low` or above `high`, the advice for that side."""

    figure: str
    value: float
    low: float = -math.inf
    high: float = math.inf
    too_low: str = ""
    too_high: str = ""

    @property
    def advice(self) -> str:
        """What to try; empty where the figure is healthy."""
        if not math.isfinite(self.value):
            return "Learning has diverged: lower --learning-rate; look for NaN in the observations."
        if self.value < self.low:
            return self.too_low
        return self.too_high if self.value > self.high else ""


def checks(config: PPOConfig | SACConfig, metrics: Sequence[Metrics]) -> list[Check]:
    """All there is to look at, as means over the last tenth of the iterations; none of none."""
    if not metrics:
        return []
    recent = metrics[-max(1, round(RECENT * len(metrics))) :]
    if all(m.episode_return is None for m in metrics):  # then the others say nothing yet
        words = "None has ended yet: give it more time, or fewer --num-envs."
        return [Check("episodes that ended", 0, low=1, too_low=words)]
    return [
        *_of_episodes(metrics, recent),
        *_of_algorithm(config, [m for m in recent if not m.critic_only]),
        *_of_terms(recent),
        *_of_ends(recent),
    ]


def _of_episodes(metrics: Sequence[Metrics], recent: Sequence[Metrics]) -> Iterable[Check]:
    returns = [m.episode_return for m in metrics if m.episode_return is not None]
    if len(returns) >= 2 and metrics[0].iteration == 1:  # not where a resumed run goes on
        tenth = max(1, round(RECENT * len(returns)))
        first, last = returns[:tenth], returns[-tenth:]
        gain = float(np.mean(last) - np.mean(first))
        noise = 2 * math.sqrt((np.var(first) + np.var(last)) / tenth)
        words = "No better than at the start: see below; if all is well there, give it more time."
        yield Check("episode return, since the start", gain, low=noise, too_low=words)
    if (length := _mean(recent, lambda m: m.episode_length)) is not None:
        yield Check("episode length [steps]", length)
    if (share := _mean(recent, lambda m: m.saturation)) is not None:
        words = "Actions lie at the bounds of their Box: lower --initial-std; look at the Box."
        yield Check("actions at their bounds", share, high=0.3, too_high=words)


def _of_algorithm(config: PPOConfig | SACConfig, recent: Sequence[Metrics]) -> Iterable[Check]:
    if not recent:
        words = "The critic is still warming up (--critic-warm-up): the policy is as it was."
        yield Check("updates of the policy", 0, low=1, too_low=words)
    elif isinstance(config, PPOConfig):
        yield from _of_ppo(config, recent)
    else:
        yield from _of_sac(config, recent)


def _of_ppo(config: PPOConfig, recent: Sequence[Metrics]) -> Iterable[Check]:
    mean = _means([m.diagnostics for m in recent])
    yield Check(
        "explained variance",
        mean["explained_variance"],
        low=0.5,
        too_low="The critic hardly predicts the returns: does it see what the reward depends on? "
        "More --epochs, a wider --hidden.",
    )
    yield Check(
        "KL of an update [nat]",
        mean["kl"],
        low=0.001,
        high=0.06,
        too_low="Updates hardly change the policy: raise --learning-rate or --epochs.",
        too_high="Updates change the policy too much: lower --learning-rate or --epochs.",
    )
    yield Check(
        "clipped",
        mean["clip_fraction"],
        low=0.01,
        high=0.5,
        too_low="Hardly a sample reaches the clip: raise --learning-rate or --epochs.",
        too_high="Most samples are clipped: lower --learning-rate or --epochs.",
    )
    yield Check(
        "σ of actions",
        mean["std"],
        low=0.05,
        high=1.5 * config.initial_std,
        too_low="It no longer explores: raise --entropy-coefficient.",
        too_high="The noise grows: lower --entropy-coefficient; or the reward hardly depends on "
        "the actions.",
    )
    yield Check("entropy [nat]", mean["entropy"])


def _of_sac(config: SACConfig, recent: Sequence[Metrics]) -> Iterable[Check]:
    learned = [m for m in recent if m.diagnostics.critic_loss is not None]
    if not learned:
        return
    mean = _means([m.diagnostics for m in learned])
    yield Check(
        "explained variance",
        mean["explained_variance"],
        low=0.5,
        too_low="The critics do not fit their targets: lower --learning-rate, try --layer-norm.",
    )
    # What the rewards and the bonus for entropy could add up to, if they went on for ever.
    bonus = abs(mean["temperature"] * mean["entropy"])
    horizon = 1 / max(1 - config.gamma, 1e-6)
    most = (max(abs(m.reward) for m in learned) + bonus) * horizon
    yield Check(
        "Q, of what there is to earn",
        mean["q"] / max(most, 1e-9),
        high=2.0,
        too_high="The critics promise more than there is: --layer-norm, a lower --learning-rate.",
    )
    words = "The temperature has not brought it to its target yet: more time, or another start."
    if config.temperature == "automatic":
        over = mean["entropy_over_target"]
        yield Check("entropy over its target [nat]", over, -2.0, 5.0, words, words)
    else:
        yield Check("entropy [nat]", mean["entropy"])
    yield Check("temperature α", mean["temperature"])


def _of_terms(recent: Sequence[Metrics]) -> Iterable[Check]:
    """Rewards by term, and how much of what is earned the penalties take."""
    terms = {name: _mean_of(recent, name) for name in _names(recent, "reward/")}
    yield from (Check(name, value) for name, value in terms.items())
    earned = sum(value for value in terms.values() if value > 0)
    if earned > 0 and len(terms) > 1:
        largest = min(terms, key=lambda name: terms[name])
        taken = -sum(value for value in terms.values() if value < 0) / earned
        words = (
            f"Penalties take most of what is earned: weaken the largest, {largest}, in the task's "
            "RewardWeights (sim/gaits.py, sim/reach.py)."
        )
        yield Check("penalties, of what is earned", taken, high=0.8, too_high=words)


def _of_ends(recent: Sequence[Metrics]) -> Iterable[Check]:
    """What ended the episodes, as parts of them."""
    ends = {name: _mean_of(recent, name) for name in _names(recent, "end/")}
    yield from (Check(name, share) for name, share in ends.items())
    if "end/time_limit" in ends:
        words = (
            "Most episodes end early. If that is failing: less noise at first (--initial-std), "
            "easier starts, more time."
        )
        yield Check("ended early", 1 - ends["end/time_limit"], high=0.5, too_high=words)


def _names(recent: Sequence[Metrics], prefix: str) -> list[str]:
    return list(dict.fromkeys(n for m in recent for n in m.episode if n.startswith(prefix)))


def _mean_of(recent: Sequence[Metrics], name: str) -> float:
    """Of a statistic of the episodes, each episode counting the same."""
    pairs = [(m.episode[name], m.episodes) for m in recent if name in m.episode]
    return float(np.average([v for v, _ in pairs], weights=[n for _, n in pairs]))


def _mean(recent: Sequence[Metrics], of: Callable[[Metrics], float | None]) -> float | None:
    values = [value for m in recent if (value := of(m)) is not None]
    return float(np.mean(values)) if values else None


def _means(diagnostics: Sequence[ppo.Diagnostics | sac.Diagnostics]) -> dict[str, float]:
    tables = [asdict(one) for one in diagnostics]
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]}
