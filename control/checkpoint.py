"""Checkpoints: everything that a run is, in one file that is either the old one or the new one."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models.errors import UsageError, first_line
from ..models.task import Mirror, Reflection
from .policy import Gaussian, SquashedGaussian

Policy = Gaussian | SquashedGaussian

FORMAT = 5
_NUMPY = "__numpy__"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` so that a crash at any moment leaves the old file or the new one whole.

    Args:
        path: of the checkpoint; its folder exists.
        state: dicts, lists and tuples of tensors, arrays, numbers, strings and None.
    """
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        torch.save({"format": FORMAT, "state": _encode(state)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names of a folder's files are on disk: new ones, renamed ones."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: Path) -> dict[str, Any]:
    """What `save` was given. Runs no code from the file, so a stranger's checkpoint is safe.

    Raises:
        UsageError: there is no such file, or it is not a whole checkpoint of this format.
    """
    if not path.is_file():
        raise UsageError(f"{path}: found nothing, allowed is the checkpoint of a run")
    if not zipfile.is_zipfile(path):  # what torch takes for older formats may raise anything
        raise UsageError(f"{path}: not a whole checkpoint: no archive, or one that was cut off")
    try:
        table = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise UsageError(f"{path}: not a whole checkpoint: {first_line(error)}") from None
    found = table.get("format") if isinstance(table, dict) else None
    if found != FORMAT:
        raise UsageError(f"{path}: found format {found}, allowed is {FORMAT}")
    return _decode(table["state"])


def policy_state(policy: Policy) -> dict[str, Any]:
    """A policy's parameters, its normaliser, and what it takes to build it again."""
    return {
        "kind": type(policy).__name__,
        "obs_dim": policy.obs_dim,
        "action_dim": policy.action_dim,
        "hidden": policy.hidden,
        "mirrored": policy.reflect_obs is not None,
        "parameters": policy.state_dict(),
    }


def load_policy(path: Path) -> Policy:
    """The policy of a checkpoint, without the rest of the run.

    Raises:
        UsageError: as `load`.
    """
    state = load(path)["policy"]
    obs_dim, action_dim = state["obs_dim"], state["action_dim"]
    mirror = None
    if state["mirrored"]:  # its index and sign are among the parameters
        mirror = Mirror(_identity(obs_dim), _identity(0), _identity(action_dim))
    if state["kind"] == "Gaussian":
        policy = Gaussian(obs_dim, action_dim, state["hidden"], mirror=mirror)
    else:
        box = torch.zeros(action_dim)  # its bounds are among the parameters, too
        policy = SquashedGaussian(obs_dim, box, box, state["hidden"], mirror=mirror)
    policy.load_state_dict(state["parameters"])
    return policy


def transfer(earlier: Policy, policy: Policy) -> None:
    """Give `policy` what `earlier` has learned: network, σ, normaliser. Its mirror stays its own.

    Raises:
        UsageError: they are of different kinds or sizes, or act in different Boxes.
    """
    theirs, ours = policy_state(earlier), policy_state(policy)
    for what in ("kind", "obs_dim", "action_dim", "hidden"):
        found, wanted = theirs[what], ours[what]
        if found != wanted:
            raise UsageError(f"earlier policy: found {what} {found}, allowed is {wanted}")
    kept = {name: values for name, values in policy.state_dict().items() if "reflect" in name}
    given = {name: values for name, values in earlier.state_dict().items() if "reflect" not in name}
    for name in ("low", "high"):
        if name in given and not torch.equal(given[name], policy.state_dict()[name]):
            raise UsageError(
                f"earlier policy: found actions from {given['low'].tolist()} to "
                f"{given['high'].tolist()}, allowed is the task's own Box"
            )
    policy.load_state_dict(given | kept)


def _identity(n: int) -> Reflection:
    return Reflection(np.arange(n), np.ones(n, np.float32))


def _encode(value: Any) -> Any:
    """Arrays as tagged tensors, numpy's numbers as Python's: torch loads these without code."""
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encode(item) for item in value)
    if isinstance(value, np.ndarray):
        return {_NUMPY: torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape)}
    return value.item() if isinstance(value, np.generic) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_NUMPY}:
            return value[_NUMPY].numpy()
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_decode(item) for item in value)
    return value
