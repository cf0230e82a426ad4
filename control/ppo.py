"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), clipped variant.

for iteration = 1, 2, … do
    run policy π_old in N environments for T steps               rollout.collect
    compute advantage estimates Â_1 … Â_TN                       returns.gae
    optimise L_clip + c2 S[π], and −L_value, by K epochs of minibatches
    π_old ← π
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models.errors import UsageError
from .diagnostics import (
    Clock,
    Iteration,
    all_finite,
    explained_variance,
    ratio_statistics,
    saturation,
)
from .distributed import all_gather, average, local_rows, sum_gradients, world_size
from .envs import Envs
from .losses import clipped_surrogate, squared_error
from .policy import Gaussian, Value
from .returns import gae
from .rollout import Rollout, collect, empty_rollout
from .steps import Adam


@dataclass(frozen=True)
class PPOConfig:
    """What PPO learns with."""

    num_envs: int = 256
    """Environments stepped together."""
    horizon: int = 12
    """Steps of each environment between updates."""
    epochs: int = 5
    """Passes over the data of an update."""
    num_minibatches: int = 4
    """Gradient steps a pass."""
    gamma: float = 0.97
    """Discount γ a step."""
    gae_lambda: float = 0.95
    """Trace decay λ."""
    clip: float = 0.2
    """Bound ε of the probability ratio's change."""
    learning_rate: float = 6e-4
    """Adam's step size at the start."""
    final_learning_rate: float = 5e-5
    """And at the end of the budget; linear in between."""
    entropy_coefficient: float = 0.005
    """Weight of the entropy bonus."""
    max_grad_norm: float = 1.0
    """Bound of the gradient's norm, of policy and value function each."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers, of policy and value function each."""
    initial_std: float = 0.5
    """Standard deviation of the first policy's actions."""
    mirror: bool = True
    """The policy is averaged over the task's left-right symmetry, where it has one; --no-mirror
    leaves that out."""
    critic_warm_up: int = 10
    """Updates of the value function alone, where a run begins from an earlier policy."""


@dataclass(frozen=True)
class Learner:
    """All that an update changes, and the random numbers that it and the policy draw."""

    config: PPOConfig
    policy: Gaussian
    value: Value
    policy_optimiser: Adam
    value_optimiser: Adam
    generator: torch.Generator
    rollout: Rollout  # filled anew in each iteration

    @classmethod
    def of(cls, envs: Envs, config: PPOConfig, seed: int) -> Learner:
        """An untrained one for `envs`. Raises UsageError for minibatches of less than two steps."""
        rows = world_size() * config.num_envs * config.horizon  # of all ranks
        if rows < 2 * config.num_minibatches:
            raise UsageError(
                f"num_minibatches: found {config.num_minibatches}, allowed is {rows // 2} or fewer"
            )
        generator = torch.Generator().manual_seed(seed)
        mirror = envs.mirror if config.mirror else None
        policy = Gaussian(
            envs.obs_dim, envs.action_dim, config.hidden, config.initial_std, mirror, generator
        )
        value = Value(envs.privileged_dim, config.hidden, generator)
        return cls(
            config,
            policy,
            value,
            Adam(policy.parameters(), config.learning_rate),
            Adam(value.parameters(), config.learning_rate),
            generator,
            empty_rollout(config.horizon, envs),
        )

    def iterate(
        self, envs: Envs, progress: float, clock: Clock, critic_only: bool = False
    ) -> Iteration[Diagnostics]:
        """Collect with the policy, then improve it, `progress` (0 to 1) through the budget."""
        began, rollout = clock(), self.rollout
        first, last = self.config.learning_rate, self.config.final_learning_rate
        learning_rate = first + (last - first) * min(progress, 1.0)
        collect(envs, self.policy, self.value, rollout, self.generator)
        collected = clock()
        diagnostics = update(self, rollout, learning_rate, critic_only)
        learned, rewards = clock(), all_gather(rollout.reward)
        valid, actions = all_gather(rollout.valid), all_gather(rollout.action)
        beyond = None if envs.bounds is None else saturation(actions, *envs.bounds)
        return Iteration(
            steps=rewards.numel(),
            gradient_steps=self.config.epochs * self.config.num_minibatches,
            reward=float(rewards[valid].mean()),
            saturation=beyond,
            learning_rate=learning_rate,
            collect_time=collected - began,
            learn_time=learned - collected,
            diagnostics=diagnostics,
        )

    def is_finite(self) -> bool:
        """Whether all that is learned still is."""
        return all_finite(self.policy_optimiser.vector, self.value_optimiser.vector)

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds beside policy and random state, each with its `state_dict`."""
        return {
            "value": self.value,
            "policy_optimiser": self.policy_optimiser,
            "value_optimiser": self.value_optimiser,
        }


@dataclass(frozen=True)
class Diagnostics:
    """How an update went: means over its last epoch, then what holds after it."""

    policy_loss: float
    value_loss: float  # in units of the returns' variance
    kl: float  # estimate of KL(π_old ‖ π) [nat]
    clip_fraction: float  # of ratios outside 1 ± ε
    entropy: float  # [nat]
    std: float  # of the actions, mean
    explained_variance: float  # of the returns by the values before the update; 1 is perfect


def update(
    learner: Learner, rollout: Rollout, learning_rate: float, critic_only: bool = False
) -> Diagnostics:
    """Improve policy and value function on fresh data, then absorb its statistics."""
    config, policy, value = learner.config, learner.policy, learner.value
    optimisers = [learner.value_optimiser]
    if not critic_only:
        optimisers.append(learner.policy_optimiser)
    for optimiser in optimisers:
        optimiser.learning_rate = learning_rate
    advantages = advantages_of(rollout, config)
    samples = samples_of(learner, rollout, advantages)
    figures, parts = [], []
    for epoch in range(config.epochs):
        rows = advantages.rows[torch.randperm(len(advantages.rows), generator=learner.generator)]
        chosen = [
            local_rows(batch, config.num_envs)
            for batch in rows.tensor_split(config.num_minibatches)
        ]
        batches = samples.gather([where for where, _ in chosen])
        if epoch == 0:
            # A matrix product of another size may round otherwise: recomputed in these very
            # minibatches, π_old makes the first ratio exactly 1.
            with torch.no_grad():
                for (where, _), batch in zip(chosen, batches, strict=True):
                    batch.log_prob.copy_(policy.log_prob(batch.features, batch.action))
                    samples.log_prob[where] = batch.log_prob
        for (_, part), batch in zip(chosen, batches, strict=True):
            log_prob, surrogate, error = gradient_step(learner, optimisers, batch, part)
            if epoch == config.epochs - 1:
                statistics = ratio_statistics(log_prob, batch.log_prob, config.clip)
                figures.append(torch.stack((surrogate.mean(), error.mean(), *statistics)))
                parts.append(part)

    fresh = rollout.valid.flatten()
    if not critic_only:
        policy.normaliser.update(rollout.obs.flatten(0, 1)[fresh])
    value.update(rollout.privileged.flatten(0, 1)[fresh], advantages.target[fresh])
    return Diagnostics(
        *average(torch.stack(figures), parts).mean(0).tolist(),
        entropy=float(policy.entropy().detach()),
        std=float(policy.log_std.detach().exp().mean()),
        explained_variance=advantages.explained_variance,
    )


def gradient_step(
    learner: Learner, optimisers: list[Adam], batch: Samples, part: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step up L_clip + c2 S[π] and down L_value, on `part` of all ranks' minibatch.

    Returns:
        ln π(a|s), the surrogate's loss and the value's, before the step, detached. Shape (B,) each.
    """
    config, policy, value = learner.config, learner.policy, learner.value
    log_prob = policy.log_prob(batch.features, batch.action)
    surrogate = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, config.clip)
    error = squared_error(value.standard(batch.critic_features), batch.target)
    # The gradient of mean surrogate + mean error − c2 entropy, of all ranks' rows.
    mean = torch.full_like(error, part / len(error))
    for optimiser in optimisers:
        optimiser.zero_grad()
    torch.autograd.backward(
        (surrogate, error, policy.entropy()),
        (mean, mean, torch.tensor(-config.entropy_coefficient * part)),
    )
    for optimiser in optimisers:
        sum_gradients(optimiser)
        optimiser.clip(config.max_grad_norm)
        optimiser.step()
    return log_prob.detach(), surrogate.detach(), error.detach()


class Advantages(NamedTuple):
    """What a rollout of T steps in N environments is worth."""

    advantage: Tensor  # of mean 0 and spread 1 over all ranks. Shape (T·N,)
    target: Tensor  # return, in units of the reward. Shape (T·N,)
    rows: Tensor  # of all ranks' W·T·N, those that are no reset steps
    explained_variance: float


def advantages_of(rollout: Rollout, config: PPOConfig) -> Advantages:
    """Generalised advantages and returns of a rollout; a reset step's count for nothing."""
    ends = rollout.terminated, rollout.done
    advantage = gae(
        rollout.reward, rollout.value, rollout.next_value, *ends, config.gamma, config.gae_lambda
    )
    target = advantage + rollout.value
    valid = all_gather(rollout.valid)
    spread, centre = torch.std_mean(all_gather(advantage)[valid], correction=0)
    return Advantages(
        advantage=((advantage - centre) / (spread + 1e-8)).flatten(),
        target=target.flatten(),
        rows=valid.flatten().nonzero().squeeze(1),
        explained_variance=explained_variance(
            all_gather(rollout.value)[valid], all_gather(target)[valid]
        ),
    )


def samples_of(learner: Learner, rollout: Rollout, advantages: Advantages) -> Samples:
    """A rollout to learn from, observations normalised once: the normalisers stay as they are
    until the last epoch is over.
    """
    policy, value = learner.policy, learner.value
    return Samples(
        features=policy.features(rollout.obs.flatten(0, 1)),
        critic_features=value.normaliser(rollout.privileged.flatten(0, 1)),
        action=rollout.action.flatten(0, 1),
        log_prob=rollout.log_prob.view(-1),
        advantage=advantages.advantage,
        target=value.to_standard(advantages.target),
    )


class Samples(NamedTuple):
    """B samples to learn from, without time."""

    features: Tensor  # of the policy. Shape (1 or 2, B, D)
    critic_features: Tensor  # Shape (B, P)
    action: Tensor  # Shape (B, A)
    log_prob: Tensor  # ln π_old(a|s). Shape (B,)
    advantage: Tensor  # of mean 0 and spread 1. Shape (B,)
    target: Tensor  # return, in units of the returns' spread. Shape (B,)

    def gather(self, batches: list[Tensor]) -> list[Samples]:
        """Minibatches of the samples whose numbers are given. They lie one behind the other:
        gathering an epoch at once costs a fraction of gathering each by itself.
        """
        index, sizes = torch.cat(batches), [len(batch) for batch in batches]
        features = self.features.index_select(1, index).split(sizes, dim=1)
        others = (column.index_select(0, index).split(sizes) for column in self[1:])
        return [Samples(*columns) for columns in zip(features, *others, strict=True)]
