"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), clipped variant.

for iteration = 1, 2, … do
    run policy π_old in N environments for T steps               rollout.collect
    compute advantage estimates Â_1 … Â_TN                       returns.gae
    optimise L_clip + c1 L_value − c2 S[π] by K epochs of minibatches
    π_old ← π
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from .diagnostics import Clock, Iteration, explained_variance, ratio_statistics
from .distributed import average, gather, own, sum_gradients
from .envs import Envs
from .losses import clipped_surrogate, squared_error
from .policy import Gaussian, Value
from .returns import gae
from .rollout import Rollout, collect, empty_rollout


@dataclass(frozen=True)
class PPOConfig:
    """What PPO learns with."""

    num_envs: int = 512
    """Environments stepped together."""
    horizon: int = 24
    """Steps of each environment between updates."""
    epochs: int = 5
    """Passes over the data of an update."""
    minibatches: int = 4
    """Gradient steps a pass."""
    gamma: float = 0.99
    """Discount γ a step."""
    gae_lambda: float = 0.95
    """Trace decay λ."""
    clip: float = 0.2
    """Bound ε of the probability ratio's change."""
    learning_rate: float = 1e-3
    """Adam's step size at the start."""
    final_learning_rate: float = 5e-4
    """And at the end of the budget; linear in between."""
    entropy_coefficient: float = 0.005
    """Weight of the entropy bonus."""
    value_coefficient: float = 1.0
    """Weight of the value loss, in units of the returns' variance."""
    max_grad_norm: float = 1.0
    """Bound of the gradient's norm, of policy and value function each."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers, of policy and value function each."""
    initial_std: float = 0.5
    """Standard deviation of the first policy's actions."""
    mirror: bool = True
    """Average the policy over the task's left-right symmetry, where it has one."""


@dataclass(frozen=True)
class Learner:
    """All that an update changes, and the random numbers that it and the policy draw."""

    config: PPOConfig
    policy: Gaussian
    value: Value
    optimiser: torch.optim.Adam
    generator: torch.Generator
    rollout: Rollout  # filled anew in each iteration

    @classmethod
    def of(cls, envs: Envs, config: PPOConfig, seed: int) -> Learner:
        """An untrained one for `envs`."""
        generator = torch.Generator().manual_seed(seed)
        mirror = envs.mirror if config.mirror else None
        policy = Gaussian(
            envs.obs_dim, envs.action_dim, config.hidden, config.initial_std, mirror, generator
        )
        value = Value(envs.privileged_dim, config.hidden, generator)
        parameters = [*policy.parameters(), *value.parameters()]
        optimiser = torch.optim.Adam(parameters, fused=True)
        return cls(config, policy, value, optimiser, generator, empty_rollout(config.horizon, envs))

    def iterate(self, envs: Envs, progress: float, clock: Clock) -> Iteration[Diagnostics]:
        """Collect with the policy, then improve it, `progress` (0 to 1) through the budget."""
        began, rollout = clock(), self.rollout
        first, last = self.config.learning_rate, self.config.final_learning_rate
        learning_rate = first + (last - first) * min(progress, 1.0)
        collect(envs, self.policy, self.value, rollout, self.generator)
        collected = clock()
        diagnostics = update(self, rollout, self.config, learning_rate)
        learned, rewards = clock(), gather(rollout.reward)
        times = collected - began, learned - collected
        reward = float(rewards[gather(rollout.valid)].mean())
        return Iteration(rewards.numel(), reward, learning_rate, *times, diagnostics)

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds beside policy and random state, each with its `state_dict`."""
        return {"value": self.value, "optimiser": self.optimiser}


@dataclass(frozen=True)
class Diagnostics:
    """How an update went; means over its gradient steps unless said otherwise."""

    policy_loss: float
    value_loss: float  # in units of the returns' variance
    kl: float  # estimate of KL(π_old ‖ π), mean over the last epoch [nat]
    clip_fraction: float  # of ratios outside 1 ± ε, mean over the last epoch
    entropy: float  # [nat]
    std: float  # of the actions, mean
    explained_variance: float  # of the returns by the values before the update; 1 is perfect


def update(
    learner: Learner, rollout: Rollout, config: PPOConfig, learning_rate: float
) -> Diagnostics:
    """Improve policy and value function on fresh data, then absorb its statistics."""
    policy, value, optimiser = learner.policy, learner.value, learner.optimiser
    for group in optimiser.param_groups:
        group["lr"] = learning_rate

    ends = rollout.terminated, rollout.done
    advantage = gae(
        rollout.reward, rollout.value, rollout.next_value, *ends, config.gamma, config.gae_lambda
    )
    target = advantage + rollout.value
    valid = gather(rollout.valid)
    spread, centre = torch.std_mean(gather(advantage)[valid], correction=0)
    explained = explained_variance(gather(rollout.value)[valid], gather(target)[valid])
    advantage, target = ((advantage - centre) / (spread + 1e-8)).flatten(), target.flatten()
    rows = valid.flatten().nonzero().squeeze(1)  # of all ranks; each learns from its own of them

    # The normalisers are frozen until the last epoch is over: what they feed is computed once.
    privileged, obs = rollout.privileged.flatten(0, 1), rollout.obs.flatten(0, 1)
    action = rollout.action.flatten(0, 1)
    with torch.no_grad():
        features, critic_features = policy.features(obs), value.normaliser(privileged)
    variance_scale = value.returns.scale.square()
    old_log_prob = rollout.log_prob.view(-1)

    def log_prob_of(batch: Tensor) -> Tensor:
        return policy.log_prob(features.index_select(1, batch), action.index_select(0, batch))

    history, parts = [], []
    for epoch in range(config.epochs):
        order = rows[torch.randperm(len(rows), generator=learner.generator)]
        batches = [own(batch, config.num_envs) for batch in order.tensor_split(config.minibatches)]
        parts += [part for _, part in batches]
        if epoch == 0:
            # A matrix product of another size may round otherwise: recomputed in these very
            # minibatches, π_old makes the first ratio exactly 1.
            with torch.no_grad():
                for batch, _ in batches:
                    old_log_prob[batch] = log_prob_of(batch)
        for batch, part in batches:
            log_prob = log_prob_of(batch)
            old = old_log_prob[batch]
            policy_loss = clipped_surrogate(log_prob, old, advantage[batch], config.clip).mean()
            v = value.value(critic_features.index_select(0, batch))
            value_loss = squared_error(v, target[batch]).mean() * variance_scale
            entropy = policy.entropy()
            loss = (
                policy_loss
                + config.value_coefficient * value_loss.squeeze()
                - config.entropy_coefficient * entropy
            )
            optimiser.zero_grad()
            loss.backward()
            sum_gradients(optimiser, part)
            clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            clip_grad_norm_(value.parameters(), config.max_grad_norm)
            optimiser.step()
            statistics = ratio_statistics(log_prob, old, config.clip)
            losses = policy_loss.detach(), value_loss.detach().squeeze()
            history.append(torch.stack((*losses, *statistics)))

    fresh = rollout.valid.flatten()
    policy.normaliser.absorb(obs[fresh])
    value.absorb(privileged[fresh], target[fresh])
    table = average(torch.stack(history), parts)
    last = table[-config.minibatches :].mean(0)
    return Diagnostics(
        policy_loss=float(table[:, 0].mean()),
        value_loss=float(table[:, 1].mean()),
        kl=float(last[2]),
        clip_fraction=float(last[3]),
        entropy=float(policy.entropy().detach()),
        std=float(policy.log_std.detach().exp().mean()),
        explained_variance=explained,
    )
