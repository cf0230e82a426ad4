"""rsl_rl's PPO, its normaliser and actor, as a module for export."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ....models.errors import UsageError, first_line
from ....models.task import DeployableTask
from .files import BROKEN, import_library, plain, table_of
from .policy import Foreign, columns_of

STD_TYPES = {"distribution.std_param": "scalar", "distribution.log_std_param": "log"}


def load_rsl_rl(path: Path, task: DeployableTask, activation: str | None) -> Foreign:
    """The actor of rsl_rl's PPO, a normaliser and an MLP; its mean action. Runs no code.

    Args:
        path: of the file that `runner.save` wrote.
        task: it was trained on.
        activation: rsl_rl's name of it. The file knows it only where it was saved with
            `infos={"config": …}`, the runner's configuration.

    Raises:
        UsageError: the file is no such actor or does not fit the task, or the activation is
            unknown or not the one in the file.
    """
    try:
        table = table_of(torch.load(path, map_location="cpu", weights_only=True))
    except BROKEN as error:
        raise UsageError(f"{path}: not a whole checkpoint: {first_line(error)}") from None
    if "actor_state_dict" not in table:
        raise UsageError(f"{path}: found the layout of an old rsl_rl, allowed is that of 4 and up")
    state = table_of(table["actor_state_dict"])
    std = [kind for key, kind in STD_TYPES.items() if key in state]
    known = ("mlp.", "obs_normalizer.", "distribution.")
    others = sorted({key.split(".")[0] for key in state if not key.startswith(known)})
    weights = [state[key] for key in state if key.startswith("mlp.") and key.endswith(".weight")]
    if others or not std or not weights:
        found = ", ".join(others) or "another distribution"
        raise UsageError(f"{path}: found {found} in the actor, allowed is an MLP with a Gaussian")
    hidden, columns, n = [len(w) for w in weights[:-1]], weights[0].shape[1], len(weights[-1])
    joints = len(task.robot.joints)
    if (columns, n) != (columns_of(task), joints):
        raise UsageError(
            f"{path}: found {columns} observations and {n} actions, "
            f"allowed are the task's {columns_of(task)} and {joints}"
        )
    config = table_of(table_of(table.get("infos")).get("config"))
    activation = _activation(path, config, activation)

    models = import_library("rsl_rl.models", "rsl-rl-lib")
    TensorDict = import_library("tensordict", "tensordict").TensorDict
    try:
        model = models.MLPModel(
            TensorDict({"policy": torch.zeros(1, columns)}, batch_size=[1]),
            {"actor": ["policy"]},
            "actor",
            n,
            hidden,
            activation,
            obs_normalization="obs_normalizer._mean" in state,
            distribution_cfg={"class_name": "GaussianDistribution", "std_type": std[0]},
        ).eval()
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:  # a ValueError: it knows no such activation
        raise UsageError(f"{path}: rsl_rl cannot load it: {first_line(error)}") from None

    @torch.no_grad()
    def predict(obs: np.ndarray) -> np.ndarray:
        rows = TensorDict({"policy": torch.from_numpy(obs)}, batch_size=[len(obs)])
        return model(rows).numpy()

    training = {
        "library": "rsl-rl-lib",
        "algorithm": "ppo",
        "config": plain(config) or {"hidden_dims": hidden},
        "activation": activation,
        "iteration": table.get("iter"),
        "checked_with": importlib.metadata.version("rsl-rl-lib"),
    }
    return Foreign(nn.Sequential(model.obs_normalizer, model.mlp), predict, training)


def _activation(path: Path, config: Mapping[str, Any], given: str | None) -> str:
    """The actor's activation, as the file or the user names it; nothing is guessed."""
    own = table_of(config["actor"]).get("activation", "elu") if "actor" in config else None
    if own is not None and given is not None and own != given:
        raise UsageError(f"--activation: found {given}, allowed is {own}, which {path} holds")
    if own is None and given is None:
        raise UsageError(
            f"{path}: found no name of the activation, which rsl_rl does not save; allowed is "
            "--activation with the one it was trained with (elu is rsl_rl's own default)"
        )
    return str(own or given)
