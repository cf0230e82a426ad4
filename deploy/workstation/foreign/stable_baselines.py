"""Stable-Baselines3's PPO and SAC, with VecNormalize's statistics, as modules for export."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import Space
from torch import Tensor, nn

from ....models.errors import UsageError, first_line
from ....models.observation import Phase, width
from ....models.task import DeployableTask
from .files import BROKEN, import_library, plain, table_of
from .policy import Foreign, columns_of

OFF_CIRCLE = 0.1  # the statistics in a file may be some steps younger than its last observations
# The module of the policy's class and a setting that only this algorithm has → the algorithm.
ALGORITHMS = {
    ("stable_baselines3.common.policies", "clip_range"): "PPO",
    ("stable_baselines3.sac.policies", "target_entropy"): "SAC",
}
# Not needed to predict: schedules may be functions of another Python, buffers take memory.
LEFT_OUT = {
    **{"learning_rate": 0.0, "lr_schedule": None, "clip_range": 0.1, "clip_range_vf": None},
    **{"buffer_size": 1, "replay_buffer_class": None, "replay_buffer_kwargs": {}},
    **{"optimize_memory_usage": False, "action_noise": None, "n_steps": 1},
}


class BoundedTask(DeployableTask, Protocol):
    """A task for export whose actions lie in a Box."""

    @property
    def single_action_space(self) -> Space[Any]:
        """The actions of one environment."""
        ...


class VecNormaliser(nn.Module):
    """Stable-Baselines3's VecNormalize: clip((obs − mean) / √(var + ε), ± clip), in float64."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: np.ndarray, var: np.ndarray, epsilon: float, clip: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(np.asarray(mean, np.float64)))
        self.register_buffer("scale", torch.from_numpy(np.sqrt(np.asarray(var) + epsilon)))
        self.clip = clip

    def forward(self, obs: Tensor) -> Tensor:
        """Shape (N, D) → (N, D), float32."""
        return ((obs.double() - self.mean) / self.scale).clamp(-self.clip, self.clip).float()

    def undo(self, obs: np.ndarray) -> np.ndarray:
        """What was normalised, where it was not clipped. Shape (N, D)."""
        return obs * self.scale.numpy() + self.mean.numpy()


class Bounds(nn.Module):
    """Actions in their Box: clipped to it, or squashed by tanh and then scaled."""

    low: Tensor
    high: Tensor

    def __init__(self, low: np.ndarray, high: np.ndarray, squash: bool) -> None:
        super().__init__()
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))
        self.squash = squash

    def forward(self, action: Tensor) -> Tensor:
        """Shape (N, n) → (N, n)."""
        if self.squash:
            return self.low + 0.5 * (action.tanh() + 1.0) * (self.high - self.low)
        return torch.minimum(torch.maximum(action, self.low), self.high)


def find_statistics(model: Path, given: Path | None) -> Path | None:
    """The file that VecNormalize saved: the given one, or the one that lies beside the model.

    Its name there is vecnormalize.pkl, vec_normalize.pkl, or that of Stable-Baselines3's
    CheckpointCallback, as rl_model_vecnormalize_1000_steps.pkl beside rl_model_1000_steps.zip.

    Raises:
        UsageError: the given one is no file, or there are several to choose from.
    """
    if given is not None:
        if not given.is_file():
            raise UsageError(f"--vecnormalize: there is no file {given}")
        return given
    checkpoint = re.sub(r"_(\d+_steps)$", r"_vecnormalize_\1", model.stem)
    names = ("vecnormalize.pkl", "vec_normalize.pkl", f"{checkpoint}.pkl")
    found = [model.with_name(name) for name in names if model.with_name(name).is_file()]
    if len(found) > 1:
        several = ", ".join(path.name for path in found)
        raise UsageError(f"{model}: found {several} beside it, allowed is one, or --vecnormalize")
    return found[0] if found else None


def load_stable_baselines(path: Path, task: BoundedTask, statistics: Path | None) -> Foreign:
    """PPO or SAC of Stable-Baselines3. Unpickling the two files runs code that is in them.

    Args:
        path: of the zip that `model.save` wrote.
        task: it was trained on.
        statistics: the file that `VecNormalize.save` wrote; None where it had no such wrapper.

    Raises:
        UsageError: the files are broken, fit neither task nor each other, or hold what is not
            handled: another algorithm, spaces that are no flat Boxes, a policy class of one's own.
    """
    data, version = _read_data(path)
    algorithm = _require_handled(path, data, task)
    library = import_library("stable_baselines3", "stable-baselines3")
    loader = getattr(library, algorithm)
    try:
        model = loader.load(path, device="cpu", custom_objects=LEFT_OUT)
    except BROKEN as error:
        raise UsageError(
            f"{path}: Stable-Baselines3 {library.__version__} cannot load it: {first_line(error)}"
        ) from None
    if model.action_space != task.single_action_space:
        raise UsageError(
            f"{path}: found actions in {model.action_space}, "
            f"allowed is the task's {task.single_action_space}"
        )
    wrapper = None if statistics is None else _load_statistics(statistics, task)
    normaliser = _normaliser(wrapper)
    _require_own_statistics(path, model, task, statistics, normaliser)

    policy, box = model.policy, model.action_space
    if algorithm == "PPO":
        parts = (policy.pi_features_extractor, policy.mlp_extractor.policy_net, policy.action_net)
    else:
        parts = (policy.actor.features_extractor, policy.actor.latent_pi, policy.actor.mu)
    bounds = Bounds(box.low, box.high, policy.squash_output)
    actor = nn.Sequential(*([normaliser] if normaliser else []), *parts, bounds)

    def predict(obs: np.ndarray) -> np.ndarray:
        return model.predict(wrapper.normalize_obs(obs) if wrapper else obs, deterministic=True)[0]

    training = {
        "library": "stable-baselines3",
        "version": version,
        "algorithm": algorithm.lower(),
        "config": _settings(data),
        "seed": data.get("seed"),
        "steps": data.get("num_timesteps"),
        "vecnormalize": normaliser is not None,
        "checked_with": library.__version__,
    }
    return Foreign(actor, predict, training)


def _read_data(path: Path) -> tuple[dict[str, Any], str]:
    """The JSON in the zip, and the library's version; nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
            version = archive.read("_stable_baselines3_version").decode().strip()
    except BROKEN as error:
        raise UsageError(
            f"{path}: not a whole model of Stable-Baselines3: {first_line(error)}"
        ) from None
    return data, version


def _require_handled(path: Path, data: Mapping[str, Any], task: DeployableTask) -> str:
    """The algorithm's name. Raises UsageError for what Surefoot cannot take."""
    module = table_of(data.get("policy_class")).get("__module__")
    names = [name for (home, key), name in ALGORITHMS.items() if home == module and key in data]
    if not names:
        raise UsageError(
            f"{path}: found a policy of {module}, allowed is the MlpPolicy of "
            "Stable-Baselines3's PPO or SAC"
        )
    space = table_of(data.get("observation_space"))
    kind, shape = str(space.get(":type:")).split(".")[-1].strip("'>"), space.get("_shape")
    columns = columns_of(task)
    if (kind, shape) != ("Box", [columns]):
        raise UsageError(
            f"{path}: found observations in a {kind} of shape {shape}, "
            f"allowed is the task's Box of shape [{columns}]"
        )
    return names[0]


def _load_statistics(path: Path, task: DeployableTask) -> Any:
    """The VecNormalize in a file, without its environments."""
    expected = import_library("stable_baselines3.common.vec_env", "stable-baselines3").VecNormalize
    try:
        with path.open("rb") as file:
            found = pickle.load(file)
    except BROKEN as error:
        raise UsageError(f"{path}: not a whole VecNormalize: {first_line(error)}") from None
    if not isinstance(found, expected):
        raise UsageError(f"{path}: found a {type(found).__name__}, allowed is a VecNormalize")
    shape = (columns_of(task),)
    if found.observation_space.shape != shape:
        raise UsageError(
            f"{path}: found statistics of shape {found.observation_space.shape}, "
            f"allowed is the task's {shape}"
        )
    return found


def _normaliser(wrapper: Any) -> VecNormaliser | None:
    if wrapper is None or not wrapper.norm_obs:  # it may have normalised rewards only
        return None
    rms = wrapper.obs_rms
    return VecNormaliser(rms.mean, rms.var, wrapper.epsilon, wrapper.clip_obs)


def _require_own_statistics(
    path: Path,
    model: Any,
    task: DeployableTask,
    statistics: Path | None,
    normaliser: VecNormaliser | None,
) -> None:
    """Raise UsageError where the model was trained with statistics and has none here, or converse.

    The file holds the last observations as the network saw them: undone, sine and cosine of the
    task's clock are on the unit circle.
    """
    obs = model._last_obs
    if obs is None:  # never trained
        return
    raw = normaliser.undo(obs) if normaliser else obs
    if off_circle(task, raw) <= OFF_CIRCLE:
        return
    if normaliser is None:
        raise UsageError(
            f"{path}: found a network that saw normalised observations, allowed is "
            "--vecnormalize with the file that VecNormalize.save wrote beside it"
        )
    raise UsageError(
        f"{statistics}: found statistics that {path.name} was not trained with, "
        "allowed are those of the same run, or none there"
    )


def off_circle(task: DeployableTask, obs: np.ndarray) -> float:
    """How far the task's clocks, as sine and cosine in `obs` (N, D), are from the unit circle."""
    starts = [
        width(task.terms[:i], task.robot, len(task.commands))
        for i, term in enumerate(task.terms)
        if type(term) is Phase
    ]
    radii = [np.linalg.norm(obs[:, start : start + 2], axis=1) for start in starts]
    return float(np.mean(np.abs(np.array(radii) - 1.0))) if radii else 0.0


def _settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that the JSON holds in words: plain values, the network, schedules."""
    aside = {"seed", "num_timesteps", "start_time", "verbose"}
    settings = {
        key: plain(value)
        for key, value in data.items()
        if isinstance(value, str | int | float) and not (key.startswith("_") or key in aside)
    }
    kwargs = table_of(data.get("policy_kwargs"))
    network = {key: plain(value) for key, value in kwargs.items() if not key.startswith(":")}
    if clip := table_of(data.get("clip_range")).get("value_schedule"):
        settings["clip_range"] = clip
    return settings | {"policy_kwargs": network}
