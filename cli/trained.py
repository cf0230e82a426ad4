"""A policy that was trained, as the verbs that simulate it take it: a file, or a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..deploy.controller import Controller, open_session, read_contract, read_policy
from ..deploy.log.format import POLICY_FILE
from ..models.errors import PolicyError
from ..models.limits import Output
from ..models.robot import Robot
from ..models.robot_file import load_robot
from ..models.task import CommandPart

CHECKPOINT = "checkpoint.pt"  # of a run; its own module would need torch


@dataclass
class TrainedPolicy:
    """A policy, the robot that it moves, and what it remembers of N of them."""

    file: Path
    robot: Robot
    controller: Controller
    _state: np.ndarray = field(init=False, default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def commands(self) -> tuple[CommandPart, ...]:
        """What it is commanded by, and the ranges that it was trained for."""
        return tuple(self.controller.contract.commands)

    @property
    def output(self) -> Output:
        """What its actions stand for."""
        return self.controller.contract.output

    @property
    def terrain(self) -> bool:
        """Whether it was trained on ground that is not level, as its file says."""
        return bool(self.controller.contract.training.get("terrain"))

    def act(self, inputs: Mapping[str, np.ndarray], begins: np.ndarray) -> np.ndarray:
        """Inputs by name, each (N, width), to actions (N, n), one control period after another.

        Where an episode begins, bool (N,), the policy forgets the one before.
        """
        first = np.asarray(self.controller.contract.initial_state or [], np.float32)
        state = np.where(begins[:, None], first, first if begins.all() else self._state)
        outputs = self.controller.infer_batch({**inputs, "state": state})
        self._state = outputs.get("next_state", state)
        return outputs["action"]


def open_policy(path: Path, robot: str | None) -> TrainedPolicy:
    """The policy at `path`, an .onnx file or a run's folder with its policy.onnx.

    Args:
        path: of file or folder.
        robot: a name or path as `load_robot` takes it; None: the shipped robot of the policy's
            name for it.

    Raises:
        PolicyError: no such policy, or one for another robot.
        RobotFileError: the robot is none.
    """
    file = _file_of(path)
    if robot is None:
        try:
            robot = read_contract(open_session(read_policy(file))).robot
        except PolicyError as error:
            raise PolicyError(f"{file}: {error}") from None
    loaded = load_robot(robot)
    controller = Controller(file, loaded)
    return TrainedPolicy(file, loaded, controller)


def _file_of(path: Path) -> Path:
    """The policy's file. Raises PolicyError, with what to do, where there is none."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise PolicyError(f"{path}: found nothing, allowed is an .onnx file or a run's folder")
    if (file := path / POLICY_FILE).is_file():
        return file
    if (path / CHECKPOINT).is_file():
        raise PolicyError(
            f"{path}: found a run without its {POLICY_FILE}, which surefoot export {path} writes"
        )
    others = sorted(str(each) for each in path.glob("*.onnx"))
    instead = " or ".join(others) if others else "an .onnx file, or a run's folder"
    raise PolicyError(f"{path}: found a folder without {POLICY_FILE}, allowed is {instead}")
