"""Checkpoints of Stable-Baselines3 and rsl_rl: the same function as there, or one line why not."""

from __future__ import annotations

import base64
import json
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import surefoot
import torch
from gymnasium.spaces import Box
from surefoot.__main__ import main
from surefoot.deploy.controller import Controller
from surefoot.deploy.workstation.foreign import stable_baselines as reader
from surefoot.deploy.workstation.foreign.files import plain
from surefoot.deploy.workstation.foreign.policy import kind_of, require_same
from surefoot.deploy.workstation.foreign.rsl_rl import load_rsl_rl
from surefoot.models.errors import PolicyError
from surefoot.models.robot_file import load_robot
from surefoot.sim.walk import WalkEnv
from torch import nn

pytest.importorskip("stable_baselines3")
pytest.importorskip("rsl_rl")

ROBOT = load_robot("quadruped")
Predict = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def task() -> WalkEnv:
    return WalkEnv(4, nthread=1)


# --- small trainings ----------------------------------------------------------------------------

SMALL: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "learning_rate": lambda left: 1e-3},
    "SAC": {"learning_starts": 8, "batch_size": 8, "buffer_size": 500, "train_freq": 8},
}
STABLE_BASELINES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "PPO, normalised": ("PPO", True, {}),
    "PPO, another network": (
        "PPO",
        False,
        {"policy_kwargs": {"net_arch": {"pi": [24, 8], "vf": [4]}, "activation_fn": nn.ELU}},
    ),
    "PPO, squashed gSDE": (
        "PPO",
        True,
        {"use_sde": True, "policy_kwargs": {"squash_output": True}},
    ),
    "SAC, normalised": ("SAC", True, {"policy_kwargs": {"net_arch": [16, 16]}}),
    "SAC, gSDE": ("SAC", False, {"use_sde": True, "policy_kwargs": {"net_arch": [16]}}),
}


def train_stable_baselines(
    folder: Path, algorithm: str, normalised: bool, settings: dict[str, Any]
) -> Predict:
    """Leaves model.zip, with normalised beside it vecnormalize.pkl; gives the model's own answer.

    The actor's last layer is enlarged, so that actions are of order 1 and some reach their bounds.
    """
    import stable_baselines3
    from stable_baselines3.common.vec_env import VecNormalize
    from surefoot.sim.adapters.stable_baselines import StableBaselinesEnv

    env = StableBaselinesEnv(WalkEnv(4, nthread=1))
    env = VecNormalize(env, clip_obs=3.0) if normalised else env
    learner = getattr(stable_baselines3, algorithm)
    model = learner("MlpPolicy", env, seed=1, device="cpu", **{**SMALL[algorithm], **settings})
    model.learn(128)
    last = model.policy.action_net if algorithm == "PPO" else model.policy.actor.mu
    last = last[0] if isinstance(last, nn.Sequential) else last  # gSDE clips the mean
    with torch.no_grad():
        last.weight.mul_(150.0 if algorithm == "PPO" else 20.0)
    model.save(folder / "model.zip")
    if normalised:
        env.save(str(folder / "vecnormalize.pkl"))

    def predict(obs: np.ndarray) -> np.ndarray:
        seen = env.normalize_obs(obs) if isinstance(env, VecNormalize) else obs
        return model.predict(seen, deterministic=True)[0]

    return predict


RARE = {name: pytest.mark.slow for name in STABLE_BASELINES if "gSDE" in name}
CASES = [
    pytest.param(case, id=name, marks=RARE.get(name, ())) for name, case in STABLE_BASELINES.items()
]


@pytest.fixture(scope="module", params=CASES)
def stable_baselines(request, tmp_path_factory) -> tuple[Path, Predict, bool]:
    folder = tmp_path_factory.mktemp("sb3")
    return folder, train_stable_baselines(folder, *request.param), request.param[1]


def config(activation: str, normalised: bool) -> dict[str, Any]:
    """A runner's configuration."""
    model = {
        "class_name": "MLPModel",
        "hidden_dims": [16, 8],
        "activation": activation,
        "obs_normalization": normalised,
    }
    gaussian = {"class_name": "GaussianDistribution", "std_type": "log" if normalised else "scalar"}
    return {
        "num_steps_per_env": 8,
        "save_interval": 100,
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "algorithm": {"class_name": "PPO", "num_learning_epochs": 1},
        "actor": {**model, "distribution_cfg": gaussian},
        "critic": model,
    }


RSL_RL = {"normalised": ("elu", True), "plain": ("tanh", False)}


@pytest.fixture(scope="module", params=RSL_RL.values(), ids=RSL_RL)
def rsl_rl(request, tmp_path_factory) -> tuple[Path, Predict, str]:
    """A folder with model_2.pt as rsl_rl saves it by itself, and model.pt with the config in it."""
    from rsl_rl.runners import OnPolicyRunner
    from surefoot.sim.adapters.rsl_rl import RslRlEnv
    from tensordict import TensorDict

    activation, normalised = request.param
    folder = tmp_path_factory.mktemp("rsl_rl")
    settings = config(activation, normalised)
    torch.manual_seed(0)
    runner = OnPolicyRunner(RslRlEnv(WalkEnv(4, nthread=1), 0), settings, device="cpu")
    runner.learn(3)
    policy = runner.get_inference_policy()
    with torch.no_grad():
        policy.mlp[-1].weight.mul_(5.0)
    runner.save(str(folder / "model_2.pt"))
    runner.save(str(folder / "model.pt"), infos={"config": settings})

    @torch.no_grad()
    def predict(obs: np.ndarray) -> np.ndarray:
        return policy(TensorDict({"policy": torch.from_numpy(obs)}, batch_size=[len(obs)])).numpy()

    return folder, predict, activation


# --- the same function --------------------------------------------------------------------------


def same_along_a_rollout(policy: Path, predict: Predict, task: WalkEnv) -> np.ndarray:
    """Drive the walk by the exported file, with the original beside it; all actions, flat."""
    controller = Controller(policy, ROBOT)
    obs, _ = task.reset(seed=11)
    actions = []
    for _ in range(80):
        outputs = controller.infer_batch(task.inputs)
        expected = predict(obs)
        assert np.abs(outputs["action"] - expected).max() <= 1e-5
        pose = np.tile([0.0, 0.75, -1.5], 4) + 0.35 * expected
        assert np.abs(outputs["joint_target"] - pose).max() <= 1e-5
        actions.append(expected)
        obs = task.step(outputs["action"])[0]
    return np.concatenate(actions).ravel()


def test_stable_baselines_acts_on_the_robot_as_it_predicts(
    stable_baselines, task, tmp_path, capsys
):
    folder, predict, normalised = stable_baselines
    out = tmp_path / "policy.onnx"
    assert main(["export", str(folder / "model.zip"), "--out", str(out)]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    beside = f" and {folder / 'vecnormalize.pkl'}" if normalised else ", without VecNormalize"
    assert said.startswith(f"Loading {folder / 'model.zip'}{beside}: this runs code")
    sizes = np.abs(same_along_a_rollout(out, predict, task))
    training = Controller(out, ROBOT).contract.training
    clipped_mean = training["algorithm"] == "sac" and training["config"]["use_sde"]  # to ±2
    largest = 4.0 * np.tanh(2.0) if clipped_mean else 4.0  # the Box
    assert sizes.max() == pytest.approx(largest, abs=0.05)
    assert np.mean(sizes < 0.95 * largest) > 0.1  # and much within it
    assert training["library"] == "stable-baselines3"
    assert training["version"] == training["checked_with"]
    assert (training["task"], training["robot"]) == ("walk", "quadruped")
    assert (training["steps"], training["seed"]) == (128, 1)
    assert training["vecnormalize"] == normalised
    assert training["config"]["gamma"] == 0.99
    batch = 32 if training["algorithm"] == "ppo" else 8
    assert training["config"]["batch_size"] == batch


def test_rsl_rl_acts_on_the_robot_as_it_predicts(rsl_rl, task, tmp_path, capsys):
    folder, predict, activation = rsl_rl
    out = tmp_path / "policy.onnx"
    words = ("--out", str(out), "--activation", activation)
    assert main(["export", str(folder / "model_2.pt"), *words]) == 0
    assert capsys.readouterr().err == ""
    sizes = np.abs(same_along_a_rollout(out, predict, task))
    assert 0.2 < np.median(sizes) < 10
    training = Controller(out, ROBOT).contract.training
    assert (training["library"], training["algorithm"]) == ("rsl-rl-lib", "ppo")
    assert (training["activation"], training["iteration"]) == (activation, 2)
    assert (training["task"], training["robot"]) == ("walk", "quadruped")
    assert training["config"] == {"hidden_dims": [16, 8]}


def test_the_configuration_in_the_file_tells_the_activation(rsl_rl, task):
    folder, predict, activation = rsl_rl
    foreign = load_rsl_rl(folder / "model.pt", task, None)
    require_same(replace(foreign, predict=predict), task)
    assert foreign.training["activation"] == activation
    assert foreign.training["config"]["actor"]["activation"] == activation
    assert foreign.training["config"]["num_steps_per_env"] == 8


def test_the_normaliser_by_hand():
    """(3 − 1) / √(3.96 + 0.04) = 1;  (−5 − 1) / 2 = −3 → −2.5."""
    normaliser = reader.VecNormaliser(np.array([1.0, 1.0]), np.array([3.96, 3.96]), 0.04, clip=2.5)
    seen = normaliser(torch.tensor([[3.0, -5.0]]))
    assert seen.dtype == torch.float32
    assert seen.tolist() == [[1.0, -2.5]]
    assert normaliser.undo(np.array([[1.0, -2.0]])).tolist() == [[3.0, -3.0]]


def test_the_bounds_by_hand():
    """tanh 0 = 0 is the middle of the Box: −4 + ½ · 1 · (2 + 4) = −1."""
    low, high = np.float32([-4.0, -4.0]), np.float32([2.0, 2.0])
    action = torch.tensor([[0.0, 50.0], [-7.0, 1.5]])
    assert reader.Bounds(low, high, squash=True)(action[:1]).tolist() == [[-1.0, 2.0]]
    assert reader.Bounds(low, high, squash=False)(action).tolist() == [[0.0, 2.0], [-4.0, 1.5]]


def test_settings_become_what_json_can_hold():
    assert plain({"a": (1, None, float("inf")), 2: [nn.ELU]}) == {
        "a": [1, None, "inf"],
        "2": [str(nn.ELU)],
    }


# --- refusals -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A PPO with statistics, one without in bare/, and what rsl_rl has saved."""
    folder = tmp_path_factory.mktemp("originals")
    (folder / "bare").mkdir()
    train_stable_baselines(folder, "PPO", True, {})
    train_stable_baselines(folder / "bare", "PPO", False, {})
    return folder


@pytest.fixture
def models(originals: Path, tmp_path: Path) -> Path:
    """Copies of these to play with."""
    shutil.copytree(originals, tmp_path / "models")
    return tmp_path / "models"


def refuse(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> str:
    """The one line why a checkpoint cannot be exported; nothing is written."""
    capsys.readouterr()
    assert main(["export", str(path), *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("surefoot export: ") and err.count("\n") == 1, err
    assert not path.with_name("policy.onnx").exists()
    return err


def rewrite(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON in a zip of Stable-Baselines3."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(members["data"])
    edit(data)
    members["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_network_without_its_statistics_is_refused(models: Path, capsys):
    (models / "vecnormalize.pkl").unlink()
    line = refuse(capsys, models / "model.zip")
    assert "found a network that saw normalised observations, allowed is --vecnormalize" in line


def test_statistics_of_another_network_are_refused(models: Path, capsys):
    statistics = models / "vecnormalize.pkl"
    line = refuse(capsys, models / "bare" / "model.zip", "--vecnormalize", str(statistics))
    assert "vecnormalize.pkl: found statistics that model.zip was not trained with" in line
    shutil.copy(statistics, models / "bare" / "vec_normalize.pkl")  # beside it: not ignored either
    line = refuse(capsys, models / "bare" / "model.zip")
    assert "vec_normalize.pkl: found statistics that model.zip was not trained with" in line


def test_statistics_are_found_or_asked_for(models: Path, capsys):
    found = models / "vecnormalize.pkl"
    assert reader.find_statistics(models / "model.zip", None) == found
    assert reader.find_statistics(models / "bare" / "model.zip", None) is None
    assert reader.find_statistics(models / "bare" / "model.zip", found) == found
    callback = models / "rl_model_vecnormalize_800_steps.pkl"
    shutil.copy(found, callback)
    line = refuse(capsys, shutil.copy(models / "model.zip", models / "rl_model_800_steps.zip"))
    assert "found vecnormalize.pkl, rl_model_vecnormalize_800_steps.pkl beside it" in line
    found.unlink()
    assert reader.find_statistics(models / "rl_model_800_steps.zip", None) == callback


def alter_statistics(path: Path, **attributes: Any) -> None:
    wrapper = pickle.loads(path.read_bytes())
    belonging_to_the_environments = {"class_attributes": {}, "returns": None}
    wrapper.__dict__.update(belonging_to_the_environments | attributes)
    path.write_bytes(pickle.dumps(wrapper))


def test_statistics_of_rewards_only_change_nothing(models: Path, task: WalkEnv):
    path = models / "vecnormalize.pkl"
    alter_statistics(path, norm_obs=False)
    foreign = reader.load_stable_baselines(models / "bare" / "model.zip", task, path)
    require_same(foreign, task)
    assert not foreign.training["vecnormalize"]


def test_what_is_no_vecnormalize_is_refused(models: Path, capsys):
    model, path = models / "model.zip", models / "vecnormalize.pkl"
    line = refuse(capsys, model, "--vecnormalize", str(models / "none.pkl"))
    assert "--vecnormalize: there is no file" in line
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a whole VecNormalize" in refuse(capsys, model)
    path.write_bytes(pickle.dumps({"mean": 0.0}))
    assert "found a dict, allowed is a VecNormalize" in refuse(capsys, model)
    path.write_bytes(whole)
    alter_statistics(path, observation_space=Box(-1.0, 1.0, (45,), np.float32))
    assert "found statistics of shape (45,), allowed is the task's (47,)" in refuse(capsys, model)


def described(space: str, shape: list[int] | None) -> dict[str, Any]:
    return {":type:": f"<class 'gymnasium.spaces.{space.lower()}.{space}'>", "_shape": shape}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda data: data["observation_space"].update(_shape=[94]),  # two frames, stacked
            "found observations in a Box of shape [94], allowed is the task's Box of shape [47]",
        ),
        (
            lambda data: data.update(observation_space=described("Dict", None)),
            "found observations in a Dict of shape None",
        ),
        (
            lambda data: data.update(observation_space=described("Discrete", [])),
            "found observations in a Discrete of shape []",
        ),
        (
            lambda data: data["policy_class"].update(__module__="sbx.ppo.policies"),
            "found a policy of sbx.ppo.policies, allowed is the MlpPolicy of",
        ),
        (
            lambda data: data.pop("clip_range"),  # A2C has the same policy
            "found a policy of stable_baselines3.common.policies, allowed is the MlpPolicy of "
            "Stable-Baselines3's PPO or SAC",
        ),
        (
            lambda data: data.update(policy_kwargs={"net_arch": [8]}),
            "cannot load it: Error(s) in loading state_dict",
        ),
    ],
)
def test_what_is_not_handled_is_refused(models: Path, capsys, edit, reason: str):
    path = models / "model.zip"
    rewrite(path, edit)
    assert reason in refuse(capsys, path)


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_what_is_refused_by_its_description_is_not_unpickled(models: Path, capsys):
    trace = models / "exploded"
    bomb = base64.b64encode(pickle.dumps(Bomb(trace))).decode()
    rewrite(models / "model.zip", lambda data: data["action_space"].update({":serialized:": bomb}))
    rewrite(models / "model.zip", lambda data: data["observation_space"].update(_shape=[46]))
    assert kind_of(models / "model.zip") == "Stable-Baselines3"
    refuse(capsys, models / "model.zip")
    assert not trace.exists()
    torch.save({"actor_state_dict": Bomb(trace)}, models / "model_1.pt")
    refuse(capsys, models / "model_1.pt")
    assert not trace.exists()


def test_actions_in_other_units_are_refused(tmp_path: Path, capsys):
    """A wrapper that rescales actions to ±1 would be lost on the robot."""
    from stable_baselines3 import PPO
    from surefoot.sim.adapters.stable_baselines import StableBaselinesEnv

    env = StableBaselinesEnv(WalkEnv(2, nthread=1))
    env.action_space = Box(-1.0, 1.0, (12,), np.float32)
    PPO("MlpPolicy", env, device="cpu", n_steps=2, batch_size=4).save(tmp_path / "model.zip")
    line = refuse(capsys, tmp_path / "model.zip")
    assert "found actions in Box(-1.0, 1.0, (12,), float32), allowed is the task's Box(-4.0" in line


def test_broken_zips_are_refused(models: Path, capsys):
    path = models / "model.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a whole checkpoint" in refuse(capsys, path)
    for content in ({"data": b"{", "policy.pth": b""}, {"data": b"{}", "policy.pth": b""}):
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
        assert "not a whole model of Stable-Baselines3" in refuse(capsys, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.jpg", b"")
    assert "not a whole checkpoint" in refuse(capsys, path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("policy.pth", b"no tensors")
    assert "cannot load it" in refuse(capsys, path)


def altered(rsl_rl: tuple[Path, Predict, str], tmp_path: Path, edit) -> Path:
    """model.pt of rsl_rl with something changed in it."""
    table = torch.load(rsl_rl[0] / "model.pt", weights_only=True)
    edit(table)
    path = tmp_path / "model.pt"
    torch.save(table, path)
    return path


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda table: table.update(model_state_dict=table.pop("actor_state_dict")),
            "found the layout of an old rsl_rl, allowed is that of 4 and up",
        ),
        (
            lambda table: table["actor_state_dict"].update({"rnn.weight_ih_l0": torch.zeros(3)}),
            "found rnn in the actor, allowed is an MLP with a Gaussian",
        ),
        (
            lambda table: [
                table["actor_state_dict"].pop(f"distribution.{name}", None)
                for name in ("std_param", "log_std_param")
            ],
            "found another distribution in the actor, allowed is an MLP with a Gaussian",
        ),
        (
            lambda table: table["actor_state_dict"].update({"mlp.0.weight": torch.zeros(16, 50)}),
            "found 50 observations and 12 actions, allowed are the task's 47 and 12",
        ),
        (
            lambda table: table["actor_state_dict"].pop("mlp.2.bias"),
            "rsl_rl cannot load it: Error(s) in loading",
        ),
        (
            lambda table: table["infos"]["config"]["actor"].update(activation="sine"),
            "rsl_rl cannot load it: Invalid activation function 'sine'",
        ),
    ],
)
def test_what_is_no_such_actor_of_rsl_rl_is_refused(rsl_rl, tmp_path, capsys, edit, reason: str):
    assert reason in refuse(capsys, altered(rsl_rl, tmp_path, edit))


def test_an_activation_is_never_guessed(rsl_rl, capsys):
    folder, _, activation = rsl_rl
    line = refuse(capsys, folder / "model_2.pt")
    assert "found no name of the activation" in line and "(elu is rsl_rl's own default)" in line
    line = refuse(capsys, folder / "model.pt", "--activation", "relu")
    assert f"--activation: found relu, allowed is {activation}, which" in line


def test_options_that_would_be_ignored_are_refused(models, rsl_rl, tmp_path, capsys):
    checkpoint = rsl_rl[0] / "model.pt"
    line = refuse(capsys, checkpoint, "--vecnormalize", str(models / "vecnormalize.pkl"))
    assert "--vecnormalize: found a checkpoint of rsl_rl, allowed is one of Stable-Base" in line
    line = refuse(capsys, models / "model.zip", "--activation", "elu")
    assert "--activation: found a checkpoint of Stable-Baselines3, allowed is one of rsl_rl" in line
    line = refuse(capsys, tmp_path, "--robot", "quadruped")
    assert "--robot: found a checkpoint of Surefoot, allowed is one of Stable-Baselines3 or" in line
    line = refuse(capsys, tmp_path / "model.zip", "--vecnormalize", "x.pkl")
    assert "model.zip: found nothing, allowed is the checkpoint of a run" in line
    assert "--task: found run, allowed is walk" in refuse(capsys, checkpoint, "--task", "run")


@pytest.mark.parametrize("module", ["stable_baselines3", "rsl_rl.models"])
def test_a_library_that_is_not_there_is_named(models, rsl_rl, capsys, monkeypatch, module: str):
    monkeypatch.setitem(sys.modules, module, None)
    path = models / "model.zip" if module == "stable_baselines3" else rsl_rl[0] / "model.pt"
    assert re.search(r"pip install (stable-baselines3|rsl-rl-lib)$", refuse(capsys, path).strip())


def test_a_module_that_is_not_the_network_is_refused(models: Path, task: WalkEnv):
    path = models / "model.zip"
    foreign = reader.load_stable_baselines(path, task, models / "vecnormalize.pkl")
    require_same(foreign, task)
    normaliser = foreign.actor[0]
    assert isinstance(normaliser, reader.VecNormaliser)
    normaliser.clip = 10.0  # 3 in the original
    with pytest.raises(PolicyError, match=r"original network of stable-baselines3 differ by .* at"):
        require_same(foreign, task)
    normaliser.mean[0] = float("nan")
    with pytest.raises(PolicyError, match="differ by nan at tick 0, allowed is 1e-05"):
        require_same(foreign, task)


# --- the recipes --------------------------------------------------------------------------------

RECIPES = re.findall(
    r"```python\n(.*?)```",
    (Path(surefoot.__file__).parent / "docs" / "peers.md").read_text(encoding="utf-8"),
    re.DOTALL,
)
SMALLER = {
    "WalkEnv(512)": "WalkEnv(2, nthread=1)",
    '"batch_size": 3072': '"batch_size": 24',
    "learn(2_000_000)": "learn(48)",
    "learn(160)": "learn(1)",
    '"runs/rsl_rl", device': "None, device",  # its log needs no test here
    '"runs/rsl_rl/model.pt"': '"model.pt"',
}


@pytest.mark.parametrize(("index", "left"), [(0, "runs/sb3/model.zip"), (1, "model.pt")])
def test_what_a_recipe_leaves_can_be_exported(index, left, tmp_path, monkeypatch, task):
    """The code of docs/peers.md as it stands there, with smaller numbers."""
    monkeypatch.chdir(tmp_path)
    code, path = RECIPES[index], Path(left)
    for number, smaller in SMALLER.items():
        code = code.replace(number, smaller)
    exec(code, {})
    foreign = (
        load_rsl_rl(path, task, None)
        if kind_of(path) == "rsl_rl"
        else reader.load_stable_baselines(path, task, reader.find_statistics(path, None))
    )
    require_same(foreign, task)


def test_the_recipes_are_there():
    text = "".join(RECIPES)
    assert len(RECIPES) == 2 and all(number in text for number in SMALLER)
