"""Policies and value functions: Gaussian and squashed Gaussian, V and twin Q. Batches first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..models.task import Mirror
from . import distributed
from .distributions import gaussian_entropy, gaussian_log_prob, squashed_sample
from .networks import Normaliser, Reflect, TwinMLP, mlp

LOG_STD = (-5.0, 2.0)  # bounds of a state-dependent ln σ


class Gaussian(nn.Module):
    """π(a|s) = N(μ(s), σ²), with σ learned and the same everywhere.

    With a mirror, μ(s) = ½ (f(s) + M_a f(M_s s)): what the robot does in the mirrored situation is
    the mirror image of what it does in this one, so a gait cannot limp. The mirror acts before the
    normaliser. Called, the policy gives its mean action: that is what is exported.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (128, 128),
        std: float = 0.5,
        mirror: Mirror | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.obs_dim, self.action_dim, self.hidden = obs_dim, action_dim, tuple(hidden)
        self.normaliser = Normaliser(obs_dim)
        self.network = mlp((obs_dim, *hidden, action_dim), last_gain=0.01, generator=generator)
        self.log_std = nn.Parameter(torch.full((action_dim,), math.log(std)))
        self.reflect_obs = None if mirror is None else Reflect(mirror.observation)
        self.reflect_action = None if mirror is None else Reflect(mirror.action)

    def forward(self, obs: Tensor) -> Tensor:
        """Mean actions μ(s). Shape (B, D) → (B, A)."""
        return self.mean(self.features(obs))

    def features(self, obs: Tensor) -> Tensor:
        """What the network sees, free of parameters: compute it once for many epochs.

        Shape (B, D) → (1, B, D), or (2, B, D) with the mirror image as the second.
        """
        if self.reflect_obs is None:
            return self.normaliser(obs)[None]
        return self.normaliser(torch.stack((obs, self.reflect_obs(obs))))

    def mean(self, features: Tensor) -> Tensor:
        """Mean actions from `features`. Shape (1 or 2, B, D) → (B, A)."""
        outputs = self.network(features.flatten(0, 1))
        if self.reflect_action is None:
            return outputs
        direct, mirrored = outputs.unflatten(0, (2, -1))
        return 0.5 * (direct + self.reflect_action(mirrored))

    def sample(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Actions drawn from π(·|s), and their ln π(a|s). Shape (B, D) → (B, A), (B,)."""
        mean = self(obs)
        noise = distributed.randn(mean.shape, generator)
        action = torch.addcmul(mean, noise, self.log_std.exp())
        return action, gaussian_log_prob(mean, self.log_std, action)

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """ln π(a|s) from `features`. Shapes (1 or 2, B, D), (B, A) → (B,)."""
        return gaussian_log_prob(self.mean(features), self.log_std, action)

    def entropy(self) -> Tensor:
        """Entropy of π(·|s), the same for every s: Σ ln σ + ½ ln 2πe. Shape ()."""
        return gaussian_entropy(self.log_std)


class SquashedGaussian(nn.Module):
    """π(a|s): a = tanh(u), u ~ N(μ(s), σ(s)²), inside the action Box whatever u is.

    Haarnoja et al. 2018, arXiv:1812.05905, appendix C. Actions here are in units of the Box, −1 its
    low and +1 its high, and so is their density: the target entropy does not depend on the Box, and
    a Box of ±100 learns like one of ±1. `to_box` gives what the environment takes. With a mirror, μ
    is averaged over it as in `Gaussian`, and so is ln σ. Called, the policy gives its deterministic
    action in the Box: that is what is exported.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        obs_dim: int,
        low: Tensor,
        high: Tensor,
        hidden: Sequence[int] = (256, 256),
        std: float = 1.0,
        mirror: Mirror | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.obs_dim, self.action_dim, self.hidden = obs_dim, len(low), tuple(hidden)
        self.register_buffer("low", low.float().clone())
        self.register_buffer("high", high.float().clone())
        self.normaliser = Normaliser(obs_dim)
        sizes = (obs_dim, *hidden, 2 * self.action_dim)
        self.network = mlp(sizes, last_gain=0.01, generator=generator, activation=nn.ReLU)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias[self.action_dim :], math.log(std))
        self.reflect_obs = None if mirror is None else Reflect(mirror.observation)
        self.reflect_action = None if mirror is None else Reflect(mirror.action)

    def forward(self, obs: Tensor) -> Tensor:
        """Deterministic actions in the Box. Shape (B, D) → (B, A)."""
        return self.to_box(self.distribution(self.features(obs))[0].tanh())

    def to_box(self, action: Tensor) -> Tensor:
        """Actions in the Box, from its units: −1 → low, +1 → high. Shape (..., A)."""
        return torch.lerp(self.low, self.high, 0.5 * (action + 1))

    def features(self, obs: Tensor) -> Tensor:
        """What the network sees. Shape (B, D) → (1, B, D), or (2, B, D) with the mirror image."""
        if self.reflect_obs is None:
            return self.normaliser(obs)[None]
        return self.normaliser(torch.stack((obs, self.reflect_obs(obs))))

    def distribution(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """μ and ln σ of u. Shape (1 or 2, B, D) → (B, A), (B, A)."""
        mean, log_std = self.network(features.flatten(0, 1)).chunk(2, dim=-1)
        if self.reflect_action is not None:
            mean, log_std = mean.unflatten(0, (2, -1)), log_std.unflatten(0, (2, -1))
            mean = 0.5 * (mean[0] + self.reflect_action(mean[1]))
            # A spread has no sign to reflect.
            log_std = 0.5 * (log_std[0] + log_std[1][:, self.reflect_action.index])
        return mean, log_std.clamp(*LOG_STD)

    def sample(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions a = tanh(μ + σ · noise) in units of the Box, and ln π(a|s); differentiable.

        Shapes (1 or 2, B, D), standard normal (B, A) → (B, A), (B,).
        """
        mean, log_std = self.distribution(features)
        return squashed_sample(mean, log_std, noise)


class Value(nn.Module):
    """V(s) of the privileged observation. Never exported.

    The network predicts returns in units of their own running statistics, and its last layer is
    corrected when these change so that V stays what it was (van Hasselt et al. 2016, PopArt,
    arXiv:1602.07714): one learning rate fits rewards of any scale.
    """

    def __init__(
        self,
        obs_dim: int,
        hidden: Sequence[int] = (128, 128),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.normaliser = Normaliser(obs_dim)
        self.returns = Normaliser(1, smallest_std=1e-6)
        self.network = mlp((obs_dim, *hidden, 1), last_gain=1.0, generator=generator)

    def forward(self, privileged: Tensor) -> Tensor:
        """V(s). Shape (B, P) → (B,)."""
        units = self.standard(self.normaliser(privileged))
        return units / self.returns.scale + self.returns.shift

    def standard(self, features: Tensor) -> Tensor:
        """V(s) in units of the returns' spread, from normalised observations. (B, P) → (B,)."""
        return self.network(features).squeeze(-1)

    def to_standard(self, returns: Tensor) -> Tensor:
        """Returns in the units of `standard`. Shape (B,)."""
        return (returns - self.returns.shift) * self.returns.scale

    @torch.no_grad()
    def update(self, privileged: Tensor, returns: Tensor) -> None:
        """Merge a batch into the statistics. Shapes (B, P), (B,)."""
        self.normaliser.update(privileged)
        shift, scale = self.returns.shift.clone(), self.returns.scale.clone()
        self.returns.update(returns[:, None])
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        ratio = self.returns.scale / scale
        last.weight.mul_(ratio)
        last.bias.mul_(ratio).add_((shift - self.returns.shift) * self.returns.scale)


class TwinQ(nn.Module):
    """Two estimates of Q(s, a) of the privileged observation. Never exported."""

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        layer_norm: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.normaliser = Normaliser(obs_dim)
        self.network = TwinMLP((obs_dim + action_dim, *hidden, 1), layer_norm, generator)

    def forward(self, privileged: Tensor, action: Tensor) -> Tensor:
        """Q1(s, a) and Q2(s, a), actions in units of the Box. Shapes (B, P), (B, A) → (2, B)."""
        return twin_values(self.network, self.normaliser(privileged), action)


def twin_values(network: TwinMLP, features: Tensor, action: Tensor) -> Tensor:
    """Q1 and Q2 by `TwinQ`'s network or its target, from normalised observations.

    Shapes (B, P), (B, A) → (2, B).
    """
    return network(torch.cat((features, action), dim=-1)).squeeze(-1)
