"""Step rules: what becomes of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1, in the order of section 2).

    The parameters are gathered into one vector, of which the modules' own become views: a step is
    six operations, however many layers there are, and one takes the gradient's norm.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.parameters = list(parameters)
        self.vector = flatten_parameters(self.parameters)
        self.gradient = torch.zeros_like(self.vector)
        sizes = [p.numel() for p in self.parameters]
        for p, part in zip(self.parameters, self.gradient.split(sizes), strict=True):
            p.grad = part.view_as(p)
        self._mean, self._square = torch.zeros_like(self.vector), torch.zeros_like(self.vector)
        self._steps = 0

    def zero_grad(self) -> None:
        """Begin a step: gradients add up until `step`."""
        self.gradient.zero_()

    def clip(self, largest: float) -> None:
        """Scale the gradient to a norm of `largest` at most."""
        if (norm := float(self.gradient.norm())) > largest:
            self.gradient.mul_(largest / norm)

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters against their gradient."""
        self._steps += 1
        beta1, beta2 = self.BETAS
        self._mean.lerp_(self.gradient, 1 - beta1)
        self._square.mul_(beta2).addcmul_(self.gradient, self.gradient, value=1 - beta2)
        unbias = math.sqrt(1 - beta2**self._steps)
        size = self.learning_rate * unbias / (1 - beta1**self._steps)
        spread = self._square.sqrt().add_(self.EPSILON * unbias)
        self.vector.addcdiv_(self._mean, spread, value=-size)

    def state_dict(self) -> dict[str, Any]:
        """What it has learned of the gradients. The parameters are in their modules' own."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._steps = int(state["steps"])


def flatten_parameters(parameters: Iterable[nn.Parameter]) -> Tensor:
    """One vector of which the parameters become views, in their order. Shape (n,)."""
    several = list(parameters)
    vector = torch.cat([p.detach().flatten() for p in several])
    for p, part in zip(several, vector.split([p.numel() for p in several]), strict=True):
        p.data = part.view_as(p)
    return vector


@torch.no_grad()
def polyak_update(slow: Tensor, fast: Tensor, tau: float) -> None:
    """slow ← τ fast + (1 − τ) slow, in place. Shapes (n,)."""
    slow.lerp_(fast, tau)
