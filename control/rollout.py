"""Fresh data of the policy: arrays of T steps of N environments, time along the first axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .envs import Envs
from .policy import Gaussian, Value


@dataclass(frozen=True)
class Rollout:
    """T steps of N environments. Tensors are float32 and (T, N) unless said otherwise."""

    obs: Tensor  # acted on. Shape (T, N, D)
    privileged: Tensor  # the critic's, beside `obs`. Shape (T, N, P)
    action: Tensor  # as sampled, before any clipping. Shape (T, N, A)
    log_prob: Tensor  # of `action` under the policy that drew it
    reward: Tensor
    terminated: Tensor  # stops the bootstrap. bool
    done: Tensor  # stops the trace. bool
    value: Tensor  # V(`privileged`)
    next_value: Tensor  # V of the true next observation
    valid: Tensor  # False where the step only reset an environment. bool


def empty_rollout(horizon: int, envs: Envs) -> Rollout:
    """Room for `horizon` steps, to be filled again and again by `collect`."""
    shape = (horizon, envs.num_envs)

    def flags() -> Tensor:
        return torch.zeros(shape, dtype=torch.bool)

    return Rollout(
        obs=torch.zeros(*shape, envs.obs_dim),
        privileged=torch.zeros(*shape, envs.privileged_dim),
        action=torch.zeros(*shape, envs.action_dim),
        log_prob=torch.zeros(shape),
        reward=torch.zeros(shape),
        terminated=flags(),
        done=flags(),
        value=torch.zeros(shape),
        next_value=torch.zeros(shape),
        valid=flags(),
    )


@torch.no_grad()
def collect(
    envs: Envs, policy: Gaussian, value: Value, rollout: Rollout, generator: torch.Generator
) -> None:
    """Fill `rollout` with steps of `policy` from where the environments stand.

    Nothing is learned meanwhile, so values are computed for all steps at once at the end: V(s_t)
    is V of the next observation of step t − 1, except where the episode ended there.
    """
    horizon = len(rollout.reward)
    ended: list[tuple[int, Tensor, Tensor]] = []  # step, environments, their final observations
    for t in range(horizon):
        rollout.obs.numpy()[t] = envs.obs
        rollout.privileged.numpy()[t] = envs.privileged
        rollout.action[t], rollout.log_prob[t] = policy.sample(rollout.obs[t], generator)
        step = envs.step(rollout.action[t].numpy())
        rollout.reward.numpy()[t] = step.reward
        rollout.terminated.numpy()[t] = step.terminated
        rollout.done.numpy()[t] = step.done
        rollout.valid.numpy()[t] = step.valid
        if step.done.any():
            where = step.done.nonzero()[0]
            final = torch.from_numpy(step.next_privileged[where]).float()
            ended.append((t, torch.from_numpy(where), final))

    rollout.value.copy_(value(rollout.privileged.flatten(0, 1)).view_as(rollout.value))
    rollout.next_value[:-1] = rollout.value[1:]
    rollout.next_value[-1] = value(torch.tensor(envs.privileged, dtype=torch.float32))
    if ended:
        final_value = value(torch.cat([final for _, _, final in ended]))
        sizes = [len(final) for _, _, final in ended]
        for (t, where, _), v in zip(ended, final_value.split(sizes), strict=True):
            rollout.next_value[t, where] = v
