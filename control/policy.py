"""Networks: a running normaliser, a Gaussian policy, a value function. Float32, batches first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..models.task import Mirror, Reflection

CLIP = 10.0  # of normalised inputs [standard deviations]
SMALLEST_STD = 1e-2  # keeps an input that never moved in training from exploding later


class Normaliser(nn.Module):
    """(x − mean) / std with running statistics, clipped to ±10.

    Statistics change only in `absorb`: between collecting data and the last use of it they are
    frozen, so that a policy is the same function all the while. Accumulated in float64.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised. Shape (..., size)."""
        return ((x - self.shift) * self.scale).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def absorb(self, x: Tensor) -> None:
        """Merge a batch into the statistics. `x`: shape (..., size).

        Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for
        computing sample variances".
        """
        x = x.reshape(-1, len(self.mean)).double()
        if len(x) == 0:
            return
        count = self.count + len(x)
        mean = x.mean(0)
        variance = (x - mean).square_().mean(0)
        delta = mean - self.mean
        weight = len(x) / count
        self.variance.mul_(1 - weight).add_(variance * weight)
        self.variance.add_(delta.square() * weight * (1 - weight))
        self.mean.add_(delta * weight)
        self.count.copy_(count)
        self.shift.copy_(self.mean)
        self.scale.copy_(1 / (self.variance.sqrt() + SMALLEST_STD))


class Reflect(nn.Module):
    """A task's `Reflection` on tensors. Shape (..., n) → (..., n)."""

    index: Tensor
    sign: Tensor

    def __init__(self, reflection: Reflection) -> None:
        super().__init__()
        self.register_buffer("index", torch.as_tensor(np.asarray(reflection.index, np.int64)))
        self.register_buffer("sign", torch.as_tensor(np.asarray(reflection.sign, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.index] * self.sign


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
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        action = torch.addcmul(mean, noise, self.log_std.exp())
        return action, gaussian_log_prob(mean, self.log_std, action)

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """ln π(a|s) from `features`. Shapes (1 or 2, B, D), (B, A) → (B,)."""
        return gaussian_log_prob(self.mean(features), self.log_std, action)

    def entropy(self) -> Tensor:
        """Entropy of π(·|s), the same for every s: Σ ln σ + ½ ln 2πe. Shape ()."""
        return gaussian_entropy(self.log_std)


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
        self.returns = Normaliser(1)
        self.network = mlp((obs_dim, *hidden, 1), last_gain=1.0, generator=generator)

    def forward(self, privileged: Tensor) -> Tensor:
        """V(s). Shape (B, P) → (B,)."""
        return self.value(self.normaliser(privileged))

    def value(self, features: Tensor) -> Tensor:
        """V(s) from normalised observations. Shape (B, P) → (B,)."""
        return self.network(features).squeeze(-1) / self.returns.scale + self.returns.shift

    @torch.no_grad()
    def absorb(self, privileged: Tensor, returns: Tensor) -> None:
        """Merge a batch into the statistics. Shapes (B, P), (B,)."""
        self.normaliser.absorb(privileged)
        shift, scale = self.returns.shift.clone(), self.returns.scale.clone()
        self.returns.absorb(returns[:, None])
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        ratio = self.returns.scale / scale
        last.weight.mul_(ratio)
        last.bias.mul_(ratio).add_((shift - self.returns.shift) * self.returns.scale)


def gaussian_log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """ln N(a; μ, σ²), summed over the action: −½ ((a − μ)/σ)² − ln σ − ½ ln 2π.

    Shapes (B, A), (A,), (B, A) → (B,).
    """
    z = (action - mean) * (-log_std).exp()
    constant = log_std.sum() + 0.5 * math.log(2 * math.pi) * len(log_std)
    return -0.5 * z.square().sum(-1) - constant


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Σ (ln σ + ½ ln 2πe). Shape (A,) → ()."""
    return log_std.sum() + 0.5 * math.log(2 * math.pi * math.e) * len(log_std)


def mlp(
    sizes: Sequence[int], last_gain: float, generator: torch.Generator | None = None
) -> nn.Sequential:
    """Linear layers with ELU between them; orthogonal weights, zero biases.

    A small `last_gain` makes the first policy act near its default pose.
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        last = index == len(sizes) - 2
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2), generator)
        nn.init.zeros_(linear.bias)
        # In place, the gradient comes from the output without another exponential.
        layers += [linear] if last else [linear, nn.ELU(inplace=True)]
    return nn.Sequential(*layers)
