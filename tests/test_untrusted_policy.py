"""What a policy file may do to a run: nothing but what the checks let through."""

from __future__ import annotations

import pytest
from loop_bench import ROBOT, Bench
from surefoot.deploy.controller import Controller
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.verdict import Fault
from surefoot.hardware.interface import Command, Mode
from surefoot.models.limits import Output
from tiny_policy import OUTPUTS, graph, tiny_policy
from torque_robot import TorqueRobot

TORQUES = ("action", "joint_torque")


def bench_for(policy: bytes, output: Output = "joint_target", dry_run: bool = False) -> Bench:
    """A bench whose robot is driven by `output`, and whose policy is a file."""
    bench = Bench()
    if output == "joint_torque":
        bench.robot = TorqueRobot(ROBOT, bench.clock)
    bench.monitor = SafetyMonitor(ROBOT, bench.robot, dry_run, output)
    bench.policy = Controller(policy, ROBOT)  # type: ignore[assignment]
    return bench


def powered(bench: Bench) -> list[Command]:
    return [command for command in bench.robot.commands if command.mode is not Mode.OFF]


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
