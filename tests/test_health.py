"""The panel that says why a policy does not learn."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
from rich.console import Console
from surefoot.cli.tables import health_panel
from surefoot.control import ppo, sac
from surefoot.control.health import Check, checks
from surefoot.control.metrics import Metrics
from surefoot.control.ppo import PPOConfig
from surefoot.control.sac import SACConfig

WELL = ppo.Diagnostics(0.0, 0.1, 0.01, 0.2, 8.0, 0.4, 0.9)
WELL_SAC = sac.Diagnostics(0.1, -5.0, 5.0, 0.9, -5.5, 0.5, 0.1)


def metrics(diagnostics: Any = WELL, **changes: Any) -> Metrics:
    usual = Metrics(
        iteration=1,
        steps=100,
        elapsed=1.0,
        progress=0.5,
        steps_per_second=100.0,
        collect_time=0.5,
        learn_time=0.5,
        learning_rate=1e-3,
        episodes=2,
        episode_return=10.0,
        episode_length=50.0,
        reward=1.0,
        saturation=0.0,
        diagnostics=diagnostics,
        episode={"end/time_limit": 1.0},
    )
    return dataclasses.replace(usual, **changes)


def advised(config: Any, *seen: Metrics) -> set[str]:
    return {check.figure for check in checks(config, seen) if check.advice}


def test_a_healthy_run_needs_no_advice():
    rising = [metrics(episode_return=float(r)) for r in range(20)]
    assert advised(PPOConfig(), *rising) == set()
    assert (
        advised(SACConfig(), *(dataclasses.replace(m, diagnostics=WELL_SAC) for m in rising))
        == set()
    )


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"explained_variance": 0.1}, "explained variance"),
        ({"kl": 0.3}, "KL of an update [nat]"),
        ({"kl": 1e-5}, "KL of an update [nat]"),
        ({"clip_fraction": 0.8}, "clipped"),
        ({"clip_fraction": 0.0}, "clipped"),
        ({"std": 0.01}, "σ of actions"),
        ({"std": 0.9}, "σ of actions"),
        ({"kl": math.nan}, "KL of an update [nat]"),
    ],
)
def test_what_is_wrong_with_ppo_is_named(change: dict[str, float], figure: str):
    assert advised(PPOConfig(), metrics(dataclasses.replace(WELL, **change))) == {figure}


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        # At γ = 0.99, rewards of 1 and a bonus of 0.1 · 5.5 add up to 155: twice that is too much.
        ({"q": 320.0}, "Q, of what there is to earn"),
        ({"explained_variance": -1.0}, "explained variance"),
        ({"entropy_over_target": -4.0}, "entropy over its target [nat]"),
    ],
)
def test_what_is_wrong_with_sac_is_named(change: dict[str, float], figure: str):
    assert advised(SACConfig(), metrics(dataclasses.replace(WELL_SAC, **change))) == {figure}


def test_sac_before_its_first_gradient_step_has_no_figures_of_it():
    found = checks(SACConfig(), [metrics(sac.Diagnostics())])
    assert "explained variance" not in {check.figure for check in found}


def test_only_the_last_tenth_counts_and_the_return_is_compared_with_the_first():
    early = [metrics(saturation=0.9, episode_return=50.0) for _ in range(18)]
    late = [metrics(saturation=0.1, episode_return=20.0) for _ in range(2)]
    found = {check.figure: check for check in checks(PPOConfig(), early + late)}
    assert found["actions at their bounds"].value == pytest.approx(0.1)
    assert found["episode return, since the start"].value == pytest.approx(-30.0)
    assert found["episode return, since the start"].advice


def test_penalties_and_early_ends_are_weighed():
    one = metrics(
        episodes=1,
        episode={"reward/track": 1.0, "reward/torque": -0.7, "reward/slip": -0.2,
                 "end/fall": 1.0, "end/time_limit": 0.0},
    )  # fmt: skip
    three = dataclasses.replace(one, episodes=3, episode={**one.episode, "reward/torque": -0.9})
    found = {check.figure: check for check in checks(PPOConfig(), [one] * 10 + [one, three] * 1)}
    # The last tenth of twelve is the last one: (0.9 + 0.2) / 1.0
    assert found["penalties, of what is earned"].value == pytest.approx(1.1)
    advice = found["penalties, of what is earned"].advice
    assert "reward/torque" in advice and "sim/gaits.py" in advice
    assert found["ended early"].advice and found["end/fall"].value == 1.0


def test_noise_is_no_progress_and_a_resumed_run_has_no_start():
    flat = [metrics(episode_return=float(10 + (-1) ** i)) for i in range(40)]
    assert "episode return, since the start" in advised(PPOConfig(), *flat)
    late = [dataclasses.replace(m, iteration=100) for m in flat]
    assert advised(PPOConfig(), *late) == set()


def test_before_an_episode_has_ended_that_is_what_is_said():
    ill = dataclasses.replace(WELL, explained_variance=-1.0, kl=0.3)
    none = metrics(ill, episode_return=None, episodes=0, episode={})
    (only,) = checks(PPOConfig(), [none] * 3)
    assert only.figure == "episodes that ended" and "more time" in only.advice


def test_a_policy_that_waits_for_its_critic_is_not_blamed():
    still = dataclasses.replace(WELL, kl=0.0, clip_fraction=0.0, explained_variance=-1.0)
    assert advised(PPOConfig(), metrics(still, critic_only=True)) == {"updates of the policy"}


def test_nothing_seen_is_nothing_said():
    assert checks(PPOConfig(), []) == []


def test_the_panel_has_the_advice_in_words():
    out = io.StringIO()
    found = [Check("clipped", 0.8, 0.01, 0.5, "raise", "lower --learning-rate"), Check("σ", 0.3)]
    Console(file=out, width=80).print(health_panel(found))
    text = out.getvalue()
    assert "0.01 to 0.5" in text and "clipped: lower --learning-rate" in text
    out = io.StringIO()
    Console(file=out, width=80).print(health_panel(found[1:]))
    assert "All within their healthy ranges" in out.getvalue()
