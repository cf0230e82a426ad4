"""From the one ONNX file back to a policy that can go on learning. Workstation only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.numpy_helper import to_array
from torch import Tensor

from ...control.checkpoint import Policy
from ...control.networks import SMALLEST_STD
from ...control.policy import Gaussian, SquashedGaussian
from ...models.errors import PolicyError
from ...models.observation import describe
from ...models.task import DeployableTask
from ..contract import Contract
from ..controller import open_session, read_contract, read_policy


def reopen(path: Path, task: DeployableTask) -> Policy:
    """The policy in the file that `surefoot train` made, for the task that it goes on with.

    What is in the graph comes back as it was. The normaliser's spread is computed back from its
    scale, and its count is that of the steps trained; σ is in the contract.

    Raises:
        PolicyError: no such file, another library's policy, other observations or actions.
    """
    model = read_policy(path)
    contract = read_contract(open_session(model))
    _require_task(path, contract, task)
    graph = onnx.load_from_string(model).graph
    found = {i.name.removeprefix("actor."): torch.tensor(to_array(i)) for i in graph.initializer}
    training = contract.training
    if training.get("algorithm") not in ("ppo", "sac"):
        raise PolicyError(
            f"{path}: trained by {training.get('algorithm')}, allowed is Surefoot's ppo or sac"
        )
    hidden = tuple(training["config"]["hidden"])
    width = found["normaliser.shift"].numel()
    joints = len(contract.joints)
    if training["algorithm"] == "ppo":
        policy: Policy = Gaussian(width, joints, hidden)
        std = training.get("std", [training["config"]["initial_std"]] * joints)
        found["log_std"] = torch.tensor(std).log()
    else:
        policy = SquashedGaussian(width, found["low"], found["high"], hidden)
    found |= _statistics(found, training["steps"])
    policy.load_state_dict({name: found[name] for name in policy.state_dict()})
    return policy


def _require_task(path: Path, contract: Contract, task: DeployableTask) -> None:
    terms = json.loads(json.dumps(describe(task.terms)))  # in JSON, a tuple is a list
    scale = np.asarray(task.action_scale).tolist()
    ours = (terms, scale, task.output, list(task.commands))
    if (contract.terms, contract.action_scale, contract.output, contract.commands) != ours:
        raise PolicyError(f"{path}: its observations or actions are not those of the task")


def _statistics(found: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """The normaliser's, of which the graph holds what it divides by."""
    spread = 1 / found["normaliser.scale"].double() - SMALLEST_STD
    return {
        "normaliser.mean": found["normaliser.shift"].double(),
        "normaliser.variance": spread.clamp_min(0).square(),
        "normaliser.count": torch.tensor(float(steps), dtype=torch.float64),
    }
