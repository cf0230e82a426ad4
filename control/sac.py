"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), algorithm 1.

for each iteration
    for each environment step
        a ~ π(·|s), s' ~ p(·|s, a), D ← D ∪ {(s, a, r, s')}      replay.add
    for each gradient step                                       update
        θ_i ← θ_i − λ ∇ J_Q(θ_i)       both critics, towards r + γ (min Q̄_i(s', a') − α ln π(a'|s'))
        φ ← φ − λ ∇ J_π(φ)             the policy, down α ln π(a|s) − min Q_i(s, a)
        α ← α − λ ∇ J(α)               the temperature, towards the target entropy
        θ̄_i ← τ θ_i + (1 − τ) θ̄_i      the target critics
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.errors import UsageError
from .diagnostics import Clock, Iteration, all_finite, explained_variance, saturation
from .envs import Envs
from .losses import soft_target, squared_error, temperature_loss
from .networks import TwinMLP
from .policy import SquashedGaussian, TwinQ, twin_values
from .replay_buffer import Batch, ReplayBuffer
from .steps import Adam, flatten_parameters, polyak_update

ITERATION = 256  # environment steps between two looks of the session,
ITERATION_ROWS = 32  # but no fewer steps of all environments than these
SATURATED = 0.99  # of the Box: an action beyond this is at its bound


@dataclass(frozen=True)
class SACConfig:
    """What SAC learns with."""

    num_envs: int = 1
    """Environments stepped together."""
    updates_per_step: int = 1
    """Gradient steps for each step of all the environments."""
    batch_size: int = 256
    """Transitions of a gradient step."""
    buffer_size: int = 1_000_000
    """Transitions remembered."""
    learning_starts: int = 5_000
    """Environment steps of the first policy, before anything is learned."""
    gamma: float = 0.99
    """Discount γ a step."""
    n_step: int = 1
    """Rewards summed before the critics' bootstrap; 3 suits locomotion."""
    tau: float = 0.005
    """Part τ of the critics that their targets take over in a gradient step."""
    learning_rate: float = 3e-4
    """Adam's step size, of critics, policy and temperature."""
    temperature: Literal["automatic", "fixed", "annealed"] = "automatic"
    """Learn α towards the target entropy, keep it, or lower it exponentially over the budget."""
    initial_temperature: float = 1.0
    """Temperature α at the start."""
    final_temperature: float = 0.01
    """And at the end of the budget, where it is annealed."""
    target_entropy: float | None = None
    """Entropy that an automatic temperature holds [nat]; minus the number of actions if not given.
    Of actions in units of their Box, −1 to 1."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers, of policy and critics each."""
    initial_std: float = 1.0
    """Spread σ of the first policy about the middle of the Box, in half widths before tanh: 1 is
    nearly uniform; a robot that falls at once needs less."""
    layer_norm: bool = False
    """Normalise the layers of the critics: steadier with many updates a step."""
    normalise: bool = True
    """Normalise observations by running statistics."""
    hindsight: int = 0
    """Of k + 1 replayed transitions, k are given a goal reached later; 4 is usual, 0 leaves it."""
    mirror: bool = True
    """The policy is averaged over the task's left-right symmetry, where it has one; --no-mirror
    leaves that out."""
    critic_warm_up: int = 20
    """Iterations, of 256 steps or so, in which the critics alone learn, where a run begins from an
    earlier policy."""


@dataclass(frozen=True)
class Diagnostics:
    """How an iteration's last gradient step went; None before the first one."""

    critic_loss: float | None = None  # sum of the two, in units of the rewards' squares
    actor_loss: float | None = None
    q: float | None = None  # mean of both critics on replayed transitions
    explained_variance: float | None = None  # of the critics' targets by their mean; 1 is perfect
    entropy: float | None = None  # of actions in units of the Box [nat]
    entropy_over_target: float | None = None  # [nat]
    temperature: float | None = None  # α


@dataclass(frozen=True)
class Learner:
    """All that an update changes, the replay buffer, and the random numbers drawn."""

    config: SACConfig
    policy: SquashedGaussian
    critic: TwinQ
    target: TwinMLP  # Q̄, of the critic's features
    log_temperature: torch.nn.Parameter
    actor_optimiser: Adam  # of the temperature, too, where that is learned
    critic_optimiser: Adam
    target_vector: Tensor  # the target's parameters, as one
    generator: torch.Generator
    replay: ReplayBuffer

    @classmethod
    def of(cls, envs: Envs, config: SACConfig, seed: int) -> Learner:
        """An untrained one for `envs`.

        Raises:
            UsageError: unbounded actions, a temperature of none that must fall, or what
                `ReplayBuffer` refuses.
        """
        if envs.bounds is None:
            box = envs.env.single_action_space
            raise UsageError(f"action space: found {box}, allowed for SAC is a bounded Box")
        for name in ("initial_temperature", "final_temperature"):
            found = getattr(config, name)
            fixed = config.temperature == "fixed"
            if not (found > 0 or (fixed and found == 0)):
                bound = ">= 0" if fixed else "> 0"
                raise UsageError(f"{name}: found {found}, allowed is a number {bound}")
        generator = torch.Generator().manual_seed(seed)
        replay = ReplayBuffer(
            envs, config.buffer_size, config.gamma, config.n_step, config.hindsight
        )
        low, high = (torch.from_numpy(np.asarray(bound)) for bound in envs.bounds)
        mirror = envs.mirror if config.mirror else None
        policy = SquashedGaussian(
            envs.obs_dim, low, high, config.hidden, config.initial_std, mirror, generator
        )
        critic = TwinQ(
            envs.privileged_dim, envs.action_dim, config.hidden, config.layer_norm, generator
        )
        target = copy.deepcopy(critic.network).requires_grad_(False)
        start = math.log(max(config.initial_temperature, 1e-30))  # 0, too, is a temperature
        log_temperature = torch.nn.Parameter(torch.tensor(start))
        learned = list(policy.parameters())
        if config.temperature == "automatic":
            learned.append(log_temperature)
        return cls(
            config,
            policy,
            critic,
            target,
            log_temperature,
            Adam(learned, config.learning_rate),
            Adam(critic.parameters(), config.learning_rate),
            flatten_parameters(target.parameters()),
            generator,
            replay,
        )

    def iterate(
        self, envs: Envs, progress: float, clock: Clock, critic_only: bool = False
    ) -> Iteration[Diagnostics]:
        """Act, remember and learn for a few steps, `progress` (0 to 1) through the budget."""
        config, replay = self.config, self.replay
        began, learn_time = clock(), 0.0
        if config.temperature == "annealed":
            first, last = config.initial_temperature, config.final_temperature
            self.log_temperature.data.fill_(math.log(first * (last / first) ** min(progress, 1.0)))
        rows = max(ITERATION_ROWS, ITERATION // envs.num_envs)
        rewards, actions, losses, updates = [], [], None, 0
        for _ in range(rows):
            obs, privileged = envs.obs.copy(), envs.privileged.copy()
            action = self._act(obs)
            step = envs.step(self.policy.to_box(action).numpy())
            replay.add(obs, privileged, action, step)
            rewards.append(step.reward[step.valid])
            actions.append(action)
            if replay.time * envs.num_envs > config.learning_starts:
                started = clock()
                for _ in range(config.updates_per_step):
                    losses = update(
                        self, replay.sample(config.batch_size, self.generator), critic_only
                    )
                updates += config.updates_per_step
                learn_time += clock() - started
        if config.normalise:  # frozen until here
            seen, seen_privileged = replay.recent(rows)
            if not critic_only:
                self.policy.normaliser.update(seen)
            self.critic.normaliser.update(seen_privileged)
        return Iteration(
            steps=rows * envs.num_envs,
            gradient_steps=updates,
            reward=float(np.concatenate(rewards).mean()) if any(map(len, rewards)) else 0.0,
            saturation=saturation(torch.cat(actions), -SATURATED, SATURATED),
            learning_rate=config.learning_rate,
            collect_time=clock() - began - learn_time,
            learn_time=learn_time,
            diagnostics=Diagnostics() if losses is None else losses.summary(self.target_entropy),
        )

    @property
    def target_entropy(self) -> float:
        """What an automatic temperature holds [nat]: −1 an action, if nothing else is asked."""
        wanted = self.config.target_entropy
        return -float(self.policy.action_dim) if wanted is None else wanted

    def is_finite(self) -> bool:
        """Whether all that is learned still is."""
        return all_finite(self.actor_optimiser.vector, self.critic_optimiser.vector)

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds beside policy and random state, each with its `state_dict`."""
        return {
            "critic": self.critic,
            "target": self.target,
            "temperature": torch.nn.ParameterList([self.log_temperature]),
            "actor_optimiser": self.actor_optimiser,
            "critic_optimiser": self.critic_optimiser,
        }

    @torch.no_grad()
    def _act(self, obs: np.ndarray) -> Tensor:
        """Actions of the policy, in units of the Box. Shape (N, A)."""
        noise = torch.randn(len(obs), self.policy.action_dim, generator=self.generator)
        features = self.policy.features(torch.as_tensor(obs, dtype=torch.float32))
        mean, log_std = self.policy.distribution(features)
        return torch.addcmul(mean, noise, log_std.exp()).tanh()


class Losses(NamedTuple):
    """What a gradient step met, without gradient."""

    errors: Tensor  # of both critics, half squared. Shape (2, B)
    costs: Tensor  # of the policy: α ln π − min Q. Shape (B,)
    q: Tensor  # of both critics, on replayed transitions. Shape (2, B)
    wanted: Tensor  # what they should have been. Shape (B,)
    log_prob: Tensor  # of actions drawn anew. Shape (B,)
    temperature: Tensor  # α. Shape ()

    def summary(self, target_entropy: float) -> Diagnostics:
        """The batch's figures, as numbers."""
        entropy = -float(self.log_prob.mean())
        return Diagnostics(
            critic_loss=float(self.errors.mean(1).sum()),
            actor_loss=float(self.costs.mean()),
            q=float(self.q.mean()),
            explained_variance=explained_variance(self.q.mean(0), self.wanted),
            entropy=entropy,
            entropy_over_target=entropy - target_entropy,
            temperature=float(self.temperature),
        )


def update(learner: Learner, batch: Batch, critic_only: bool = False) -> Losses:
    """One gradient step of critics, policy, temperature and target critics."""
    config, policy, critic = learner.config, learner.policy, learner.critic
    noise = torch.randn(2, *batch.action.shape, generator=learner.generator)
    temperature = learner.log_temperature.detach().exp()
    with torch.no_grad():
        features, next_features = (
            critic.normaliser(x) for x in (batch.privileged, batch.next_privileged)
        )
        next_action, next_log_prob = policy.sample(policy.features(batch.next_obs), noise[0])
        next_q = twin_values(learner.target, next_features, next_action)
        wanted = soft_target(batch.reward, batch.discount, next_q, next_log_prob, temperature)

    q = twin_values(critic.network, features, batch.action)
    errors = squared_error(q, wanted)
    share = torch.full_like(wanted, 1 / len(wanted))  # of each sample in a mean
    learner.critic_optimiser.zero_grad()
    errors.backward(share.expand_as(errors))
    learner.critic_optimiser.step()

    action, log_prob = policy.sample(policy.features(batch.obs), noise[1])
    costs = temperature * log_prob - twin_values(critic.network, features, action).amin(0)
    if not critic_only:
        losses = [costs]
        if config.temperature == "automatic":
            goal = learner.target_entropy
            losses.append(temperature_loss(learner.log_temperature, log_prob, goal))
        learner.actor_optimiser.zero_grad()
        # The critics take part in the costs, not in this step: theirs are not even computed.
        parameters = learner.actor_optimiser.parameters
        torch.autograd.backward(losses, [share] * len(losses), inputs=parameters)
        learner.actor_optimiser.step()

    polyak_update(learner.target_vector, learner.critic_optimiser.vector, config.tau)
    met = errors, costs, q, wanted, log_prob, temperature
    return Losses(*(tensor.detach() for tensor in met))
