"""What a policy file may do to a run: nothing but what the checks let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from loop_bench import ROBOT, STAND_TICKS, Bench, N
from onnx import TensorProto, helper, numpy_helper
from surefoot.deploy.controller import Controller
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.deploy.verdict import Decision, Fault, State
from surefoot.hardware.interface import Sample
from surefoot.models.errors import PolicyError
from surefoot.models.limits import Output
from surefoot.models.robot_file import load_robot
from tiny_policy import OUTPUTS, WIDTHS, graph, tiny_policy
from torque_robot import TorqueRobot

Outputs = dict[str, np.ndarray]
TORQUES = ("action", "joint_torque")


class Odd(Controller):
    """A policy file whose outputs are spoilt from some moment on."""

    spoil: Callable[[Outputs], Outputs] = staticmethod(lambda outputs: outputs)

    def infer(self, inputs: Mapping[str, np.ndarray]) -> Outputs:
        return self.spoil(super().infer(inputs))


def bench_for(policy: bytes, output: Output = "joint_target", dry_run: bool = False) -> Bench:
    """A bench whose robot is driven by `output`, and whose policy is a file."""
    bench = Bench()
    if output == "joint_torque":
        bench.robot = TorqueRobot(ROBOT, bench.clock)
    bench.monitor = SafetyMonitor(ROBOT, bench.robot, dry_run, output)
    bench.policy = Odd(policy, ROBOT)  # type: ignore[assignment]
    return bench


@pytest.mark.parametrize(
    ("outputs", "driven_by"), [(TORQUES, "joint_target"), (OUTPUTS, "joint_torque")]
)
def test_torques_are_never_taken_for_angles_nor_angles_for_torques(
    outputs: tuple[str, ...], driven_by: Output
):
    bench = bench_for(tiny_policy(model=graph(outputs=outputs)), driven_by, dry_run=True)
    summary = bench.run(duration=0.1)
    assert summary.figures.ticks == 5
    assert {verdict.fault for verdict in bench.verdicts} == {Fault.NON_FINITE}
    expected = f"policy: found {outputs[1]}, this robot is driven by {driven_by}"
    assert any(expected in text for _, text in bench.log.events)


# --- the rehearsal --------------------------------------------------------------------------------


def test_an_unfit_policy_shows_before_the_first_torque():
    bench = bench_for(tiny_policy(model=graph(outputs=TORQUES)))
    with pytest.raises(PolicyError, match="found joint_torque, this robot is driven by"):
        bench.run()
    assert bench.robot.commands == []


def test_a_command_of_another_width_shows_before_the_first_torque():
    bench = bench_for(tiny_policy())
    with pytest.raises(
        PolicyError, match=r"'command': found shape \(1,\), the policy takes \(3,\)"
    ):
        bench.run(schedule=Schedule.constant([0.1]))
    assert bench.robot.commands == []


def test_a_sensor_that_nobody_reads_shows_before_the_first_torque():
    sensing = replace(ROBOT, contact_sensors=load_robot("biped").contact_sensors)
    sensors = [sensor.name for sensor in sensing.contact_sensors]
    assert len(sensors) == 4

    def name_them(table: dict[str, Any]) -> None:
        next(t for t in table["terms"] if t["input"] == "contact_force")["sensors"] = sensors

    policy = tiny_policy(name_them, graph(widths={**WIDTHS, "contact_force": 4}))
    bench = bench_for(tiny_policy())
    bench.policy = Controller(policy, sensing)  # type: ignore[assignment]
    with pytest.raises(PolicyError, match=r"'contact_force': found shape \(0,\), the policy takes"):
        bench.run()
    assert bench.robot.commands == []


def test_the_rehearsal_leaves_no_trace():
    bench = bench_for(tiny_policy(initial_state=[0.25, -1.5]))
    asked, act = [], bench.policy.act

    def watch(sample: Sample, command: np.ndarray, tick: int) -> Decision:
        asked.append(act(sample, command, tick))
        return asked[-1]

    bench.policy.act = watch  # type: ignore[method-assign]
    assert bench.run(duration=0.1).fault is Fault.NONE
    assert len(asked) == 6, "the rehearsal and five ticks"
    for decision in asked[:2]:
        assert decision.inputs["state"].tolist() == [0.25, -1.5]
        assert not decision.inputs["previous_action"].any()


# --- outputs that are not sound -------------------------------------------------------------------

RUNNING = STAND_TICKS + 20


def spoiling(bench: Bench, ticks: int, spoil: Callable[[Outputs], Outputs]) -> None:
    """Spoil the outputs of so many decisions, from the middle of RUN on."""

    def put(spoil: Callable[[Outputs], Outputs]) -> None:
        bench.policy.spoil = spoil  # type: ignore[attr-defined]

    bench.at[RUNNING] = lambda: put(spoil)
    bench.at[RUNNING + ticks] = lambda: put(lambda outputs: outputs)


def become(name: str, value: float) -> Callable[[Outputs], Outputs]:
    return lambda outputs: {**outputs, name: np.full_like(outputs[name], value)}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["action", "joint_target", "next_state"])
def test_a_glitch_of_one_tick_is_held_over_and_forgotten(name: str, value: float):
    bench = bench_for(tiny_policy(initial_state=[0.0, 8.0]))
    spoiling(bench, 1, become(name, value))
    summary = bench.run(duration=1.0)
    assert summary.fault is Fault.NONE
    assert [v.state for v in bench.verdicts[RUNNING : RUNNING + 3]] == [
        State.RUN,
        State.HOLD,
        State.RUN,
    ]
    before, after = (bench.log.records[tick] for tick in (RUNNING, RUNNING + 2))
    assert after["previous_action"].tobytes() == before["action"].tobytes()


def grow(name: str) -> Callable[[Outputs], Outputs]:
    """One column more."""
    return lambda outputs: {**outputs, name: np.append(outputs[name], np.float32(0.0))}


@pytest.mark.parametrize("name", ["action", "joint_target", "next_state"])
def test_a_wrong_shape_is_held_over_and_then_damped(name: str):
    bench = bench_for(tiny_policy(initial_state=[0.0, 8.0]))
    spoiling(bench, 1000, grow(name))
    summary = bench.run(duration=1000.0)
    assert summary.fault is Fault.NON_FINITE
    width = 2 if name == "next_state" else N
    assert f"policy: {name}: found shape ({width + 1},), allowed is ({width},)" in summary.cause
    assert bench.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    if name != "next_state":  # which no log holds
        assert np.isnan(bench.column(name)[RUNNING + 1]).all()


# --- a graph that cannot be run -------------------------------------------------------------------

TOO_MUCH = 10.0  # of a command


def failing() -> bytes:
    """A policy that looks up what is not there where the command is too much."""
    model = graph()
    nodes = list(model.graph.node)
    at = next(i for i, node in enumerate(nodes) if node.output[0] == "action")
    nodes[at].output[0] = "bare"
    nodes[at + 1 : at + 1] = [
        helper.make_node("ReduceMax", ["command", "last_axis"], ["most"]),
        helper.make_node("Greater", ["most", "too_much"], ["beyond"]),
        helper.make_node("Cast", ["beyond"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Add", ["bare", "found"], ["action"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    constants = {"last_axis": np.array([1]), "too_much": np.float32(TOO_MUCH)}
    constants["table"] = np.zeros(1, np.float32)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()
    )
    return tiny_policy(model=model)


def test_a_graph_that_fails_for_a_tick_is_held_over():
    bench = bench_for(failing())
    commands = Schedule.of([(0.0, [0.1, 0, 0]), (0.2, [11.0, 0, 0]), (0.22, [0.1, 0, 0])])
    summary = bench.run(duration=0.5, schedule=commands)
    assert summary.fault is Fault.NONE
    assert bench.states == ["STAND", "RUN", "HOLD", "RUN", "LIE", "DAMP", "OFF"]
    assert any("the policy cannot be run: " in text for _, text in bench.log.events)


def test_a_graph_that_fails_is_held_over_and_then_damped(capfd: pytest.CaptureFixture[str]):
    bench = bench_for(failing())
    commands = Schedule.of([(0.0, [0.1, 0, 0]), (0.2, [11.0, 0, 0])])
    summary = bench.run(duration=10.0, schedule=commands)
    assert summary.fault is Fault.POLICY_STALLED
    assert bench.states == ["STAND", "RUN", "HOLD", "DAMP", "FAULT"]
    assert capfd.readouterr() == ("", ""), "a terminal that is stopped would stop the loop"


def test_a_graph_that_fails_on_the_first_command_is_found_before_the_first_torque():
    bench = bench_for(failing())
    with pytest.raises(PolicyError, match="the policy cannot be run: "):
        bench.run(schedule=Schedule.constant([11.0, 0.0, 0.0]))
    assert bench.robot.commands == []
