"""From a trained network to the one ONNX file that is the whole contract. Workstation only.

Export fails hard unless torch and ONNX Runtime agree at every tick of a rollout in simulation that
ONNX Runtime drives: two rollouts of their own would part by contact chaos.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ...hardware.outputs import why_not
from ...models.errors import PolicyError
from ...models.observation import describe, input_widths, observe, stack_observations, width
from ...models.task import DeployableTask
from ..contract import KEY, TOLERANCE, Contract, GoldenPair, robot_facts
from ..controller import open_session

OPSET = 20
CHECK_TICKS = 250
GOLDEN_TICKS = (0, 7, 50, 120, 249)


class DeployedPolicy(nn.Module):
    """Raw sensors in, action and joint target or torque out; everything between is in the graph.

    With a history of H observations there is a state: 1 and the last H − 1 of them, the newest
    first; all 0 where an episode begins.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, actor: nn.Module, task: DeployableTask) -> None:
        """Raises PolicyError where the task's terms need what the robot has not."""
        super().__init__()
        self.actor = actor
        self.terms = tuple(task.terms)
        pose = task.robot.default_pose if task.output == "joint_target" else 0.0
        for name, value in (("scale", task.action_scale), ("offset", pose)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))
        widths = input_widths(task.robot, len(task.commands))
        used = {term.input for term in self.terms}
        if lacking := sorted(used - set(widths)):
            raise PolicyError(
                f"the policy asks for input '{lacking[0]}'; {task.robot.name} gives "
                f"{', '.join(widths)}"
            )
        self.widths = {name: width for name, width in widths.items() if name in used}
        self.outputs = ("action", task.output)
        self.columns = width(task.terms, task.robot, len(task.commands))
        self.initial_state = None
        if task.history > 1:
            self.initial_state = [0.0] * (1 + (task.history - 1) * self.columns)
            self.widths["state"] = len(self.initial_state)
            self.outputs += ("next_state",)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Inputs in the order of `widths`, each (N, width); outputs in that of `outputs`."""
        named = dict(zip(self.widths, inputs, strict=True))
        observation, next_state = observe(self.terms, named, torch), ()
        if "state" in named:
            runs, previous = named["state"][:, :1], named["state"][:, 1:]
            observation = stack_observations(observation, previous, runs < 0.5, torch)
            kept = observation[:, : -self.columns]
            next_state = (torch.cat((torch.ones_like(runs), kept), -1),)
        action = self.actor(observation)
        return action, self.offset + self.scale * action, *next_state


def export_policy(
    actor: nn.Module,
    task: DeployableTask,
    path: Path,
    training: Mapping[str, Any],
    seed: int = 0,
) -> Contract:
    """Write `actor`, which maps observations (N, D) to actions (N, n), as a policy for `task`.

    Raises:
        PolicyError: the robot lacks the sensors or the motors that the policy needs, torch and
            ONNX Runtime disagree, or an output is not finite.
    """
    if why := why_not(task.robot, task.output):
        raise PolicyError(why)
    module = DeployedPolicy(actor, task).eval()
    model = _to_onnx(module)
    golden, size = _compare(module, model, task, seed)
    contract = Contract(
        robot=task.robot.name,
        **robot_facts(task.robot, task.output),
        clock_period=task.clock_period,
        output=task.output,
        action_scale=np.asarray(task.action_scale).tolist(),
        commands=list(task.commands),
        terms=describe(task.terms),
        initial_state=module.initial_state,
        training=training,
        tolerance=TOLERANCE * size,
        golden=golden,
    )
    path.write_bytes(_with_contract(model, contract))
    return contract


def add_evaluation(path: Path, evaluation: Mapping[str, Any]) -> None:
    """Put the figures of an evaluation into the contract of the policy at `path`."""
    model = path.read_bytes()
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(model).metadata_props}
    contract = Contract.from_json(metadata[KEY])
    path.write_bytes(_with_contract(model, replace(contract, evaluation=evaluation)))


def _with_contract(model: bytes, contract: Contract) -> bytes:
    graph = onnx.load_from_string(model)
    onnx.helper.set_model_props(graph, {KEY: contract.to_json()})
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def _to_onnx(module: DeployedPolicy) -> bytes:
    # Two rows: a size of 1 would be specialised, and the batch could not vary.
    inputs = tuple(torch.zeros(2, width) for width in module.widths.values())
    names = list(module.widths)
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            program = torch.onnx.export(
                module,
                inputs,
                input_names=names,
                output_names=list(module.outputs),
                dynamic_shapes=(tuple({0: batch} for _ in names),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert program is not None
    finally:
        quiet.setLevel(level)
    return program.model_proto.SerializeToString()


def _compare(
    module: DeployedPolicy, model: bytes, task: DeployableTask, seed: int
) -> tuple[list[GoldenPair], float]:
    """Drive `task` with ONNX Runtime, compare with torch at every tick, keep some pairs.

    Also returns the size of the largest action, at least 1: float32 errs by parts of it.
    """
    session = open_session(model)
    task.reset(seed=seed)
    golden, size = [], 1.0
    first = np.array(module.initial_state or [], np.float32)
    state = np.tile(first, (task.num_envs, 1))
    for tick in range(CHECK_TICKS):
        given = task.inputs | {"state": state}
        feeds = {name: np.array(given[name]) for name in module.widths}
        found = [np.asarray(output) for output in session.run(None, dict(feeds))]
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(feed) for feed in feeds.values()))
            expected = [output.numpy() for output in outputs]
        size = max(size, float(np.abs(expected[0]).max()))
        for name, ours, theirs in zip(module.outputs, found, expected, strict=True):
            if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
                raise PolicyError(f"export: '{name}' is not finite at tick {tick}")
            error = float(np.abs(ours - theirs).max())
            if not error <= TOLERANCE * size:
                raise PolicyError(
                    f"export: '{name}' of ONNX Runtime and of torch differ by {error:.3g} "
                    f"at tick {tick}, allowed is {TOLERANCE * size:.2g}"
                )
        if tick in GOLDEN_TICKS:
            single = {name: feed[:1] for name, feed in feeds.items()}
            outputs = (np.asarray(output) for output in session.run(None, dict(single)))
            golden.append(
                GoldenPair(
                    {name: feed[0].tolist() for name, feed in single.items()},
                    {n: o[0].tolist() for n, o in zip(module.outputs, outputs, strict=True)},
                )
            )
        _, _, terminated, truncated, _ = task.step(found[0])
        if module.initial_state:
            state = np.where((terminated | truncated)[:, None], first, found[2])
    return golden, size
