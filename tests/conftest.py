"""What several test files share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from surefoot.deploy.controller import Controller
from surefoot.deploy.log.writer import LogWriter
from surefoot.deploy.loop import run
from surefoot.deploy.safety import SafetyMonitor
from surefoot.deploy.schedule import Schedule
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot

with suppress(ImportError):
    import surefoot.sim  # noqa: F401  # tells MuJoCo how to render, before any test imports that

# The same examples each time, and no verdict that depends on how busy the machine is.
settings.register_profile("surefoot", derandomize=True, deadline=None)
settings.load_profile("surefoot")


@pytest.fixture
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A policy's file for the quadruped, made without torch."""
    pytest.importorskip("onnx")
    from tiny_policy import tiny_policy

    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_policy())
    return str(path)


@pytest.fixture(scope="session")
def tame_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained policy as `surefoot export` writes it: it hardly leaves the standing pose."""
    torch = pytest.importorskip("torch")
    from surefoot.control.policy import Gaussian
    from surefoot.deploy.workstation.export import export_policy
    from surefoot.sim.walk import WalkEnv

    task = WalkEnv(2, nthread=1)
    generator = torch.Generator().manual_seed(3)
    actor = Gaussian(47, 12, (32, 32), mirror=task.mirror, generator=generator)
    path = tmp_path_factory.mktemp("policy") / "tame.onnx"
    export_policy(actor, task, path, {"seed": 3})
    return path


@pytest.fixture(scope="session")
def tame_arm_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of an arm: it hardly moves, wherever its goal is."""
    torch = pytest.importorskip("torch")
    from surefoot.control.policy import Gaussian
    from surefoot.deploy.workstation.export import export_policy
    from surefoot.sim.reach import ReachEnv

    task = ReachEnv(2, nthread=1)
    width = task.single_observation_space.shape[0]  # pyright: ignore
    actor = Gaussian(width, 4, (8,), generator=torch.Generator().manual_seed(3))
    path = tmp_path_factory.mktemp("policy") / "tame_arm.onnx"
    export_policy(actor, task, path, {"seed": 3})
    return path


MakeLog = Callable[..., Path]


@pytest.fixture(scope="session")
def make_log(tame_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeLog:
    """Runs the simulated robot, on a clock that nobody waits for, and returns the log of it."""
    pytest.importorskip("mujoco")
    from surefoot.sim.simulated_robot import SimulatedRobot

    quadruped = load_robot("quadruped")

    def make(
        policy: bytes | None = None,
        attach: tuple[str, ...] = ("robot.toml", "policy.onnx"),
        seconds: float = 1.0,
        dry_run: bool = False,
        robot: Robot = quadruped,
    ) -> Path:
        controller = Controller(tame_policy if policy is None else policy, robot)
        simulated = SimulatedRobot(robot)
        files = {
            "robot.toml": robot.toml.encode(),
            "policy.onnx": controller.model,
        }
        path = tmp_path_factory.mktemp("log") / "run.mcap"
        log = LogWriter(
            path,
            robot.joint_names,
            [part.name for part in controller.contract.commands],
            {name: files[name] for name in attach},
            {"robot": {"name": robot.name}},
            clock=simulated.now,
        )
        schedule = Schedule.of([(0.0, [0.0, 0.0, 0.0]), (0.3, [0.2, 0.1, -0.3])])
        monitor = SafetyMonitor(robot, simulated, dry_run=dry_run)
        summary = run(robot, simulated, controller, monitor, schedule, seconds, simulated, log=log)
        logged = log.close()
        assert not summary.fault, summary.cause
        assert (logged.dropped, logged.error) == (0, None)
        assert np.isclose(summary.run_time, seconds)
        return path

    return make


@pytest.fixture(scope="session")
def run_log(make_log: MakeLog) -> Path:
    """The log of a run of the tame policy: stand up, a second of RUN, lie down."""
    return make_log()
