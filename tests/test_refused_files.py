"""Policy files that load nowhere: one line each, never another error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from surefoot.deploy.contract import Contract
from surefoot.deploy.controller import Controller
from surefoot.models.errors import PolicyError
from surefoot.models.robot_file import load_robot
from tiny_policy import ROBOT, WIDTHS, N, contract, graph, tiny_policy, with_text

SENSING = replace(ROBOT, contact_sensors=load_robot("biped").contact_sensors)
SENSORS = [sensor.name for sensor in SENSING.contact_sensors]


@pytest.mark.parametrize("named", [SENSORS[::-1], [], None, "absent"])
def test_forces_of_other_sensors_or_of_unnamed_ones_are_refused(named: object):
    def edit(table: dict[str, Any], named: object) -> None:
        term = next(t for t in table["terms"] if t["input"] == "contact_force")
        if named != "absent":
            term["sensors"] = named

    model = graph(widths={**WIDTHS, "contact_force": len(SENSORS)})
    Controller(tiny_policy(lambda table: edit(table, SENSORS), model), SENSING)
    with pytest.raises(PolicyError, match=r"contact sensors differ: .* robot\.toml has"):
        Controller(tiny_policy(lambda table: edit(table, named), model), SENSING)


def a_state(table: dict[str, Any], value: float) -> None:
    table["initial_state"] = [value, 0.0]


def a_command(table: dict[str, Any], value: float) -> None:
    table["commands"][0]["upper"] = value


@pytest.mark.parametrize("value", [3.5e38, 1e300, 10**300], ids=("3.5e38", "1e300", "integer"))
@pytest.mark.parametrize(("key", "edit"), [("initial_state", a_state), ("commands", a_command)])
def test_what_float32_makes_infinite_is_refused(key: str, edit: Any, value: float):
    table = asdict(contract(graph(state=2), [0.0, 0.0]))
    edit(table, 3.4e38)
    Contract.from_json(json.dumps(table))
    edit(table, value)
    with pytest.raises(PolicyError, match=f"{key}: .* finite in float32"):
        Contract.from_json(json.dumps(table))
    with pytest.raises(PolicyError, match=f"{key}: .* finite in float32"):
        Controller(tiny_policy(partial(edit, value=value), graph(state=2), [0.0, 0.0]), ROBOT)


@pytest.mark.parametrize("width", [1, N + 1])
def test_an_output_of_another_width_than_declared_is_refused(width: int):
    class Lying(Controller):
        def infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            outputs = super().infer(inputs)
            return {**outputs, "action": np.resize(outputs["action"], width)}

    with pytest.raises(
        PolicyError, match=rf"golden pair 0: output 'action' has shape \({width},\)"
    ):
        Lying(tiny_policy(), ROBOT)


def test_a_batch_that_is_not_free_is_refused():
    model = graph()
    text = json.dumps(asdict(contract(model)))
    for wire in (*model.graph.input, *model.graph.output):
        wire.type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(PolicyError, match="golden pair 0: it cannot be run"):
        Controller(with_text(model, text), ROBOT)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": ' + "1" * 5000 + "}"], ids=("deep", "long")
)
def test_json_that_python_cannot_hold_is_refused(text: str):
    with pytest.raises(PolicyError, match="the policy's contract is not JSON"):
        Controller(with_text(graph(), text), ROBOT)
