"""Policy files made by hand: a linear map from raw inputs to actions, without torch.

    action = Σ input · weights(input)      joint_target = default pose + SCALE · action
                                       or  joint_torque = SCALE · action
    next_state = HALF · state + 1          where there is a state

Every number of it can be computed with numpy, so tests know what must come out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from surefoot.deploy.contract import KEY, Contract
from surefoot.hardware.interface import Health, Sample
from surefoot.models.limits import Limits
from surefoot.models.robot_file import load_robot
from surefoot.models.task import CommandPart

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period  # [s]
COMMAND = np.array([0.3, -0.1, 0.5])
SCALE = 0.35  # [rad]
HALF = 0.5
CLOCK_PERIOD = 0.5  # [s]
WIDTHS = {"joint_pos": N, "gyro": 3, "command": 3, "previous_action": N, "clock": 1}
OUTPUTS = ("action", "joint_target")

Edit = Callable[[dict[str, Any]], object]  # of the contract's table, in place


def sample(seed: int = 0) -> Sample:
    """What the sensors say at one tick: joints near the standing pose, all of it fresh."""
    rng = np.random.default_rng(seed)
    gravity = np.array([0.1, -0.2, -1.0])
    return Sample(
        time=seed * PERIOD,
        joint_pos=ROBOT.default_pose + rng.normal(0, 0.3, N),
        joint_vel=rng.normal(0, 1.0, N),
        joint_torque=np.zeros(N),
        age=np.zeros(N),
        alert=np.zeros(N, bool),
        encoder_jump=np.zeros(N, bool),
        gyro=rng.normal(0, 1.0, 3),
        gravity=gravity / np.linalg.norm(gravity),
        acceleration=np.array([0.0, 0.0, 9.81]),
        imu_age=0.0,
        imu_rate=200.0,
        health=Health.unknown(N),
    )


def weights(name: str, width: int, outputs: int = N) -> np.ndarray:
    """Of one input, the same each time. Shape (width, outputs), float32."""
    seed = sum(map(ord, name))
    drawn = np.random.default_rng(seed).standard_normal((width, outputs))
    return (0.05 * drawn).astype(np.float32)


def expected_action(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the graph makes of inputs of shape (width,). Shape (N,), float64."""
    return sum(
        np.asarray(value, np.float32).astype(np.float64) @ weights(name, len(value))
        for name, value in inputs.items()
    )


def graph(
    widths: Mapping[str, int] = WIDTHS,
    outputs: Sequence[str] = OUTPUTS,
    state: int = 0,
    joints: int = N,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """The bare graph; `kind` is the element type of the first input."""
    widths = {**widths, **({"state": state} if state else {})}
    pose = np.resize(ROBOT.default_pose, joints).astype(np.float32)
    constants = {f"w_{name}": weights(name, width, joints) for name, width in widths.items()}
    constants |= {"pose": pose, "scale": np.float32(SCALE)}
    nodes, parts = [], []
    for index, name in enumerate(widths):
        cast = f"c_{name}"
        nodes.append(helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("MatMul", [cast, f"w_{name}"], [f"p_{index}"]))
        parts.append(f"p_{index}")
    nodes.append(helper.make_node("Sum", parts, ["action"]))
    if "joint_torque" in outputs:
        nodes.append(helper.make_node("Mul", ["action", "scale"], ["joint_torque"]))
    else:
        nodes.append(helper.make_node("Mul", ["action", "scale"], ["scaled"]))
        nodes.append(helper.make_node("Add", ["pose", "scaled"], ["joint_target"]))
    if state:
        constants |= {"half": np.float32(HALF), "one": np.float32(1.0)}
        nodes.append(helper.make_node("Mul", ["state", "half"], ["faded"]))
        nodes.append(helper.make_node("Add", ["faded", "one"], ["next_state"]))
        outputs = [*outputs, "next_state"]
    kinds = [kind] + [TensorProto.FLOAT] * (len(widths) - 1)
    out_widths = {
        **dict.fromkeys(("action", "joint_target", "joint_torque"), joints),
        "next_state": state,
    }
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info(name, of, ["batch", width])
                for (name, width), of in zip(widths.items(), kinds, strict=True)
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", out_widths[name]])
                for name in outputs
            ],
            [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


def contract(model: onnx.ModelProto, initial_state: list[float] | None = None) -> Contract:
    """The contract that belongs to ROBOT, with two golden pairs of the graph's own making.

    The first of them has the initial state, where there is one.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rng, golden = np.random.default_rng(1), []
    names = [wire.name for wire in session.get_outputs()]
    for index in range(2):
        feeds = {
            wire.name: rng.standard_normal((1, wire.shape[1])).astype(
                np.float32 if wire.type == "tensor(float)" else np.float64
            )
            for wire in session.get_inputs()
        }
        if index == 0 and "state" in feeds and len(initial_state or []) == feeds["state"].shape[1]:
            feeds["state"] = np.array([initial_state], np.float32)
        results = zip(names, session.run(None, feeds), strict=True)
        golden.append(
            {
                "inputs": {name: feed[0].tolist() for name, feed in feeds.items()},
                "outputs": {name: np.asarray(value)[0].tolist() for name, value in results},
            }
        )
    output = "joint_torque" if "joint_torque" in names else "joint_target"
    limits = Limits.of(ROBOT, output)
    return Contract(
        robot=ROBOT.name,
        joints=list(ROBOT.joint_names),
        control_period=ROBOT.control_period,
        clock_period=CLOCK_PERIOD,
        default_pose=ROBOT.default_pose.tolist(),
        lower=ROBOT.lower.tolist(),
        upper=ROBOT.upper.tolist(),
        torque_limit=ROBOT.torque_limit.tolist(),
        rate_limit=ROBOT.rate_limit.tolist(),
        kp=limits.kp.tolist(),
        kd=limits.kd.tolist(),
        output=output,
        action_scale=SCALE,
        commands=[
            CommandPart("vx", "m/s", -0.35, 0.35),
            CommandPart("vy", "m/s", -0.2, 0.2),
            CommandPart("yaw_rate", "rad/s", -0.8, 0.8),
        ],
        terms=[
            {"term": "Deviation", "input": name, "offset": []}
            for name in golden[0]["inputs"]
            if name != "state"
        ],
        initial_state=initial_state,
        golden=golden,
    )


def tiny_policy(
    edit: Edit = lambda _table: None,
    model: onnx.ModelProto | None = None,
    initial_state: list[float] | None = None,
) -> bytes:
    """A policy file; `edit` changes its contract before it is written."""
    model = graph(state=len(initial_state or [])) if model is None else model
    table = asdict(contract(model, initial_state))
    edit(table)
    return with_text(model, json.dumps(table))


def with_text(model: onnx.ModelProto, text: str) -> bytes:
    """The graph, and some text where the contract belongs."""
    helper.set_model_props(model, {KEY: text})
    return model.SerializeToString()
