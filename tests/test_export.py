"""From a torch network to the ONNX file: the same function, or no file."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from surefoot.control.policy import Gaussian
from surefoot.deploy.contract import KEY, TOLERANCE, Contract
from surefoot.deploy.controller import Controller
from surefoot.deploy.workstation import export
from surefoot.deploy.workstation.export import add_evaluation, export_policy
from surefoot.models.errors import PolicyError
from surefoot.models.observation import Deviation, input_widths, observe
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot
from surefoot.models.task import CommandPart
from surefoot.sim.gaits import QUADRUPED
from surefoot.sim.walk import WalkEnv
from torch import Tensor, nn

ROBOT = load_robot("quadruped")
TRAINING = {"algorithm": "ppo", "seed": 7, "steps": 1000, "config": {"clip": 0.2}, "commit": "abc"}
MIRRORED = {"plain": False, "mirrored": True}


@pytest.fixture(scope="module")
def task() -> WalkEnv:
    return WalkEnv(4, nthread=1)


def random_actor(task: WalkEnv, mirrored: bool) -> Gaussian:
    """A policy with statistics far from 0 and 1, and actions of order 1."""
    generator = torch.Generator().manual_seed(5)
    actor = Gaussian(
        47, 12, (32, 32), mirror=task.mirror if mirrored else None, generator=generator
    )
    mean = torch.randn(47, generator=generator)
    spread = 0.5 + torch.rand(47, generator=generator)
    actor.normaliser.update(mean + spread * torch.randn(2000, 47, generator=generator))
    last = actor.network[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(50.0)
    return actor


@pytest.fixture(scope="module", params=MIRRORED.values(), ids=MIRRORED)
def exported(request, task: WalkEnv, tmp_path_factory) -> tuple[Gaussian, Path]:
    actor = random_actor(task, request.param)
    path = tmp_path_factory.mktemp("export") / "policy.onnx"
    export_policy(actor, task, path, TRAINING)
    return actor, path


def observation(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The walking task's observation, written out by hand. Shape (N, 47)."""
    angle = 2 * np.pi * inputs["clock"] / 0.5
    parts = (
        inputs["gyro"],
        inputs["gravity"],
        inputs["joint_pos"] - np.tile([0.0, 0.75, -1.5], 4),
        inputs["joint_vel"],
        inputs["previous_action"],
        inputs["command"],
        np.sin(angle),
        np.cos(angle),
    )
    return np.hstack(parts).astype(np.float32)


def test_onnx_runtime_and_torch_agree_all_along_a_rollout(exported, task: WalkEnv):
    actor, path = exported
    controller = Controller(path, ROBOT)
    task.reset(seed=99)
    sizes = []
    for _ in range(60):
        outputs = controller.infer_batch(task.inputs)
        with torch.no_grad():
            expected = actor(torch.from_numpy(observation(task.inputs))).numpy()
        assert np.abs(outputs["action"] - expected).max() <= 1e-5
        target = np.tile([0.0, 0.75, -1.5], 4) + 0.35 * expected
        assert np.abs(outputs["joint_target"] - target).max() <= 1e-5
        sizes.append(np.abs(expected).max())
        task.step(outputs["action"])
    assert 0.3 < np.median(sizes) < 30  # it was no comparison of zeros


def test_the_bare_file_gives_its_golden_pairs(exported):
    """With ONNX Runtime alone, as another project would load it."""
    _, path = exported
    session = onnxruntime.InferenceSession(path.read_bytes())
    contract = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    assert len(contract["golden"]) == 5
    clocks = [pair["inputs"]["clock"][0] for pair in contract["golden"]]
    assert clocks[:2] == pytest.approx([0.0, 0.14])  # ticks 0 and 7
    for pair in contract["golden"]:
        feeds = {name: np.array([v], np.float32) for name, v in pair["inputs"].items()}
        outputs = session.run(["action", "joint_target"], feeds)
        for name, value in zip(("action", "joint_target"), outputs, strict=True):
            assert np.asarray(value)[0] == pytest.approx(pair["outputs"][name], abs=1e-6)


def test_the_metadata_is_complete(exported, task: WalkEnv):
    _, path = exported
    model = onnx.load(path)
    assert [entry.key for entry in model.metadata_props] == [KEY]
    table = json.loads(model.metadata_props[0].value)
    assert set(table) == {field.name for field in fields(Contract)}
    assert table["robot"] == "quadruped"
    assert table["joints"] == list(ROBOT.joint_names)
    assert table["control_period"] == ROBOT.control_period
    assert table["clock_period"] == QUADRUPED.period
    assert table["action_scale"] == QUADRUPED.action_scale
    assert table["default_pose"] == [0.0, 0.75, -1.5] * 4
    for key in ("lower", "upper", "torque_limit", "rate_limit", "kp", "kd"):
        assert table[key] == getattr(ROBOT, key).tolist()
    assert table["output"] == "joint_target"
    assert table["commands"] == [
        {"name": "vx", "unit": "m/s", "lower": -0.5, "upper": 0.5},
        {"name": "vy", "unit": "m/s", "lower": -0.3, "upper": 0.3},
        {"name": "yaw_rate", "unit": "rad/s", "lower": -1.0, "upper": 1.0},
    ]
    assert [term["input"] for term in table["terms"]] == [
        "gyro", "gravity", "joint_pos", "joint_vel", "previous_action", "command", "clock",
    ]  # fmt: skip
    assert table["terms"][2]["offset"] == table["default_pose"]
    assert table["training"] == TRAINING
    actions = [pair["outputs"]["action"] for pair in table["golden"]]
    assert TOLERANCE == 1e-5  # in parts of the largest action of all, golden or not
    assert 1e-5 * max(1.0, np.abs(actions).max()) <= table["tolerance"] < 1e-4
    assert {"gyro", "gravity", "command", "joint", "base"} == set(table["frames"])
    assert table["initial_state"] is None


def test_the_tolerance_grows_with_the_actions(task: WalkEnv, tmp_path: Path):
    actor = random_actor(task, mirrored=False)
    last = actor.network[-1]
    assert isinstance(last, nn.Linear)
    found = []
    for size in (0.0, 7.0, 40.0):  # an actor of constant actions
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(size)
        contract = export_policy(actor, task, tmp_path / "policy.onnx", TRAINING)
        found.append(contract.tolerance)
    assert found == pytest.approx([1e-5, 7e-5, 40e-5])


def test_the_wires_have_names_and_the_batch_is_free(exported):
    _, path = exported
    session = onnxruntime.InferenceSession(path.read_bytes())
    widths = {wire.name: wire.shape[1] for wire in session.get_inputs()}
    assert widths == {
        "joint_pos": 12, "joint_vel": 12, "gyro": 3, "gravity": 3,
        "command": 3, "previous_action": 12, "clock": 1,
    }  # fmt: skip
    for rows in (1, 2, 7):
        feeds = {name: np.zeros((rows, width), np.float32) for name, width in widths.items()}
        for output in session.run(None, feeds):
            assert np.asarray(output).shape == (rows, 12)


def test_the_same_actor_gives_the_same_bytes(exported, task: WalkEnv, tmp_path: Path):
    actor, path = exported
    export_policy(actor, task, tmp_path / "again.onnx", TRAINING)
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_an_evaluation_is_added_without_touching_the_graph(exported, tmp_path: Path):
    _, path = exported
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    figures = {"nominal": {"survival": 1.0, "score": 1 / 3}}
    add_evaluation(copy, figures)
    before, after = onnx.load(path), onnx.load(copy)
    assert after.graph.SerializeToString() == before.graph.SerializeToString()
    tables = [json.loads(model.metadata_props[0].value) for model in (before, after)]
    assert tables[1].pop("evaluation") == figures
    assert tables[0].pop("evaluation") == {}
    assert tables[0] == tables[1]
    assert Controller(copy, ROBOT).contract.evaluation == figures


# --- refusals ---------------------------------------------------------------------------------


class Constant(nn.Module):
    """The same action always."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.full((12,), value))

    def forward(self, obs: Tensor) -> Tensor:
        return self.value + 0.0 * obs[:, :12]


def refusal(actor: nn.Module, task: WalkEnv, folder: Path) -> str:
    path = folder / "policy.onnx"
    with pytest.raises(PolicyError) as caught:
        export_policy(actor, task, path, {})
    assert not path.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_gives_no_number_is_refused(task: WalkEnv, tmp_path: Path, value: float):
    line = refusal(Constant(value), task, tmp_path)
    assert line == "export: 'action' is not finite at tick 0"


def test_statistics_that_blew_up_are_refused(task: WalkEnv, tmp_path: Path):
    actor = random_actor(task, mirrored=True)
    actor.normaliser.shift[3] = float("nan")
    assert "'action' is not finite" in refusal(actor, task, tmp_path)


def test_a_graph_that_is_not_the_network_is_refused(task: WalkEnv, tmp_path: Path, monkeypatch):
    """The weights move after the graph was written: 1e-4 is ten times too much."""
    to_onnx = export._to_onnx

    def then_learn_on(module: export.DeployedPolicy) -> bytes:
        model = to_onnx(module)
        actor = module.actor
        assert isinstance(actor, Gaussian)
        last = actor.network[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias += 1e-4
        return model

    monkeypatch.setattr(export, "_to_onnx", then_learn_on)
    line = refusal(random_actor(task, mirrored=False), task, tmp_path)
    assert "'action'" in line and "tick 0" in line and "1e-05" in line


class Drifts:
    """An ONNX Runtime that starts to err at some call."""

    def __init__(self, model: bytes) -> None:
        self.session = onnxruntime.InferenceSession(model)
        self.calls = 0

    def run(self, names: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        action, target = (np.array(output) for output in self.session.run(names, feeds))
        self.calls += 1
        if self.calls > 200:
            target[-1, 5] += 3e-5
        return [action, target]


def test_one_wrong_number_late_in_the_rollout_is_found(task, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(export, "open_session", Drifts)
    line = refusal(random_actor(task, mirrored=True), task, tmp_path)
    # Golden pairs are kept by calls of their own: at ticks 0, 7, 50 and 120 so far.
    assert "'joint_target'" in line and "at tick 196" in line and "3e-05" in line


# --- other tasks than the walk ------------------------------------------------------------------


class Pushes:
    """A task of joint torques, for a robot without an IMU; its inputs are drawn."""

    num_envs = 2
    history = 1
    output = "joint_torque"
    action_scale = tuple(0.1 * (k + 1) for k in range(12))  # [N·m]
    clock_period = 0.5
    commands = (CommandPart("x", "m", 0.1, 0.3), CommandPart("y", "m", -0.2, 0.2))
    inputs: dict[str, np.ndarray]

    def __init__(self, robot: Robot, *terms: Deviation) -> None:
        self.robot, self.terms = robot, terms

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict]:
        self.rng = np.random.default_rng(seed)
        return self._observe(), {}

    def step(self, actions: np.ndarray, /) -> tuple:
        return self._observe(), *np.zeros((3, 2)), {}

    def _observe(self) -> np.ndarray:
        draw = self.rng.standard_normal
        widths = input_widths(self.robot, len(self.commands))
        self.inputs = {name: draw((2, k)).astype(np.float32) for name, k in widths.items()}
        return observe(self.terms, self.inputs, np)


BOLTED = replace(ROBOT, imu=None)


def test_a_policy_of_torques_for_a_robot_without_an_imu_is_exported(tmp_path: Path):
    task = Pushes(BOLTED, Deviation("joint_pos"), Deviation("joint_vel"), Deviation("command"))
    path = tmp_path / "pushes.onnx"
    export_policy(Gaussian(26, 12, (8,)), task, path, {})
    controller = Controller(path, BOLTED)
    assert controller.contract.output == "joint_torque"
    assert [part.name for part in controller.contract.commands] == ["x", "y"]
    outputs = controller.infer({name: v[0] for name, v in task.inputs.items()})
    assert set(outputs) == {"action", "joint_torque"}
    scale = np.array(task.action_scale)
    assert outputs["joint_torque"] == pytest.approx(scale * outputs["action"], abs=1e-6)


def test_what_the_robot_lacks_is_not_exported(tmp_path: Path):
    path = tmp_path / "pushes.onnx"
    with pytest.raises(PolicyError, match="asks for input 'gyro'; quadruped gives joint_pos"):
        export_policy(Gaussian(3, 12, (8,)), Pushes(BOLTED, Deviation("gyro")), path, {})
    models = {k: replace(m, model_number=1060) for k, m in BOLTED.motor_models.items()}
    weak = Pushes(replace(BOLTED, motor_models=models), Deviation("joint_pos"))
    with pytest.raises(PolicyError, match="which has no torque mode"):
        export_policy(Gaussian(12, 12, (8,)), weak, path, {})
    assert not path.exists()
