"""Parts of networks: a running normaliser, a mirror, layers. Float32, batches first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.task import Reflection
from . import distributed

CLIP = 10.0  # of normalised inputs [standard deviations]
SMALLEST_STD = 1e-2  # keeps an input that never moved in training from exploding later


class Normaliser(nn.Module):
    """(x − mean) / std with running statistics, clipped to ±10.

    Statistics change only in `update`: between collecting data and the last use of it they are
    frozen, so that a policy is the same function all the while. Accumulated in float64.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, size: int, smallest_std: float = SMALLEST_STD) -> None:
        super().__init__()
        self.smallest_std = smallest_std
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised. Shape (..., size)."""
        return ((x - self.shift) * self.scale).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Merge a batch, of all ranks, into the statistics. `x`: shape (..., size).

        Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for
        computing sample variances".
        """
        x = x.reshape(-1, len(self.mean)).double()
        rows, mean, variance = distributed.moments(x)
        if rows == 0:
            return
        count = self.count + rows
        delta = mean - self.mean
        weight = rows / count
        self.variance.mul_(1 - weight).add_(variance * weight)
        self.variance.add_(delta.square() * weight * (1 - weight))
        self.mean.add_(delta * weight)
        self.count.copy_(count)
        self.shift.copy_(self.mean)
        self.scale.copy_(1 / (self.variance.sqrt() + self.smallest_std))


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


def mlp(
    sizes: Sequence[int],
    last_gain: float,
    generator: torch.Generator | None = None,
    activation: type[nn.ELU] | type[nn.ReLU] = nn.ELU,
) -> nn.Sequential:
    """Linear layers with an activation between them; orthogonal weights, zero biases.

    A small `last_gain` makes the first policy act near its default pose.
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        last = index == len(sizes) - 2
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2), generator)
        nn.init.zeros_(linear.bias)
        # In place, the gradient comes from the output without another exponential.
        layers += [linear] if last else [linear, activation(inplace=True)]
    return nn.Sequential(*layers)


class TwinMLP(nn.Module):
    """Two networks of the same shape as one: each layer is one batched product.

    Linear layers with ReLU between them and, if asked, layer normalisation before each ReLU
    (Ba et al. 2016, arXiv:1607.06450); orthogonal weights, zero biases.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        layer_norm: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.gains, self.offsets = nn.ParameterList(), nn.ParameterList()
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            last = index == len(sizes) - 2
            weight = torch.empty(2, inputs, outputs)
            for one in weight:
                nn.init.orthogonal_(one, 1.0 if last else math.sqrt(2), generator)
            self.weights.append(weight)
            self.biases.append(torch.zeros(2, 1, outputs))
            if layer_norm and not last:
                self.gains.append(torch.ones(2, 1, outputs))
                self.offsets.append(torch.zeros(2, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """What each of the two makes of the same inputs. Shape (B, n) → (2, B, m)."""
        x = x.expand(2, *x.shape)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if len(self.gains) and index < last:
                x = functional.layer_norm(x, x.shape[-1:])
                x = torch.addcmul(self.offsets[index], x, self.gains[index])
            if index < last:
                x = x.relu_()
        return x
