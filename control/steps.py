"""Step rules: what becomes of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) of parameters that are gathered into one vector.

    The modules keep their parameters, as views into it; one kernel updates them all, and one takes
    the norm of a group's gradient.
    """

    def __init__(self, *groups: Iterable[nn.Parameter], learning_rate: float) -> None:
        parameters = [list(group) for group in groups]
        self.vector = gather_parameters(p for group in parameters for p in group)
        self.gradient = self.vector.grad = torch.zeros_like(self.vector)
        self.groups = self.gradient.split([sum(p.numel() for p in group) for group in parameters])
        flat = [p for group in parameters for p in group]
        for p, part in zip(flat, self.gradient.split([p.numel() for p in flat]), strict=True):
            p.grad = part.view_as(p)
        self.parameters = flat
        self._adam = torch.optim.Adam([self.vector], learning_rate, fused=True)

    def zero_grad(self) -> None:
        """Begin a step: gradients add up until `step`."""
        self.gradient.zero_()

    def clip(self, largest: float) -> None:
        """Scale the gradient of each group to a norm of `largest` at most."""
        for gradient in self.groups:
            gradient.mul_((largest / (gradient.norm() + 1e-6)).clamp_(max=1.0))

    def step(self, learning_rate: float | None = None) -> None:
        """Move the parameters, with another learning rate from here on if one is given."""
        if learning_rate is not None:
            self._adam.param_groups[0]["lr"] = learning_rate
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Moments, number of steps, learning rate."""
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._adam.load_state_dict(state)


def gather_parameters(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """One vector of which the parameters become views, in their order. Shape (n,)."""
    several = list(parameters)
    vector = torch.cat([p.detach().flatten() for p in several])
    for p, part in zip(several, vector.split([p.numel() for p in several]), strict=True):
        p.data = part.view_as(p)
    return nn.Parameter(vector, requires_grad=several[0].requires_grad)


@torch.no_grad()
def follow(slow: Tensor, fast: Tensor, tau: float) -> None:
    """slow ← τ fast + (1 − τ) slow, in place. Shapes (n,)."""
    slow.lerp_(fast, tau)
