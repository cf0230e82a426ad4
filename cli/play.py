"""`surefoot play`: a policy in simulation, driven by keyboard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tyro

from ..sim.randomisation import disturb
from ..sim.trials import is_goal, trial_for
from .terminal import open_console
from .trained import TrainedPolicy, open_policy

PART_KEYS = (("up", "down"), ("left", "right"), ("7", "9"))  # more and less of each command's part
STOP, RESET, PUSH = "enter", "backspace", "."
NOTCHES = 10  # from the middle of a command's range to its end
LATEST = 0.2  # behind real time, from which on time is given up [s]

# Windows and browsers name these keys in their own ways. No key of MuJoCo's viewer is among them.
SHOWN = {
    "up": "↑", "down": "↓", "left": "←", "right": "→", "7": "7", "9": "9",
    STOP: "Enter", RESET: "Backspace", PUSH: ".",
}  # fmt: skip
IN_BROWSER = {
    "ArrowUp": "up", "ArrowDown": "down", "ArrowLeft": "left", "ArrowRight": "right",
    "7": "7", "9": "9", "Enter": STOP, "Backspace": RESET, ".": PUSH,
}  # fmt: skip
IN_WINDOW = {  # GLFW's numbers
    265: "up", 264: "down", 263: "left", 262: "right",
    ord("7"): "7", ord("9"): "9", 257: STOP, 259: RESET, ord("."): PUSH,
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Drive a policy by keyboard, in MuJoCo's viewer or in the browser.

    The viewer opens where there is a display; without one, the browser shows the robot at
    http://127.0.0.1:8000/, which only this computer can reach (from another one:
    ssh -L 8000:127.0.0.1:8000). The keys are told at the start. Commands, in [m/s] and [rad/s] or
    in [m], stay within the range that the policy was trained for. Ctrl-C ends it.
    """

    policy: tyro.conf.Positional[Path]
    """The policy, an .onnx file, or the folder of a run that holds its policy.onnx."""
    robot: str | None = None
    """Robot: quadruped, go1, biped, arm, or the path of a robot.toml; by default the shipped
    robot that the policy names."""
    browser: bool = False
    """Use the browser even where there is a display."""
    port: int = 8000
    """TCP port for the browser."""
    seed: int = 0
    """Random seed, of starts and pushes."""


class View(Protocol):
    """Where a person looks and presses keys."""

    def pressed(self) -> Iterable[str]:
        """What was pressed since: keys of `SHOWN`."""
        ...

    def show(self, session: Session) -> bool:
        """Show the robot; False once nobody wants to look any more."""
        ...


class Session:
    """One robot under a policy, and what it is commanded."""

    def __init__(self, policy: TrainedPolicy, seed: int = 0) -> None:
        """A nominal robot at its start. Raises UsageError where no task has such commands."""
        self._policy = policy
        self._trial = trial_for(policy.commands, policy.robot, policy.output)
        self._of_goals = is_goal([part.name for part in policy.commands])
        self.env = self._trial.make(1, policy.robot, ())
        self._rng = np.random.default_rng([seed, 2])
        self.lower = np.array([part.lower for part in policy.commands])
        self.upper = np.array([part.upper for part in policy.commands])
        self.command = (self.lower + self.upper) / 2
        self.env.reset(seed=seed)
        self._begin()

    def press(self, key: str) -> None:
        """Do what a key of `SHOWN` stands for."""
        if key == RESET:
            self.env.reset()
            self._begin()
        elif key == PUSH:
            for shove in self._trial.pushes:
                disturb(shove, self.env.robots, np.array([0]), self._rng)
        elif key == STOP:
            self.command = (self.lower + self.upper) / 2
        for index, (more, less) in enumerate(PART_KEYS[: len(self.command)]):
            notch = (self.upper[index] - self.lower[index]) / (2 * NOTCHES)
            self.command[index] += notch * ((key == more) - (key == less))
        self.command = np.clip(self.command, self.lower, self.upper)
        self.env.set_commands(self.command[None])

    def step(self) -> None:
        """One control period. Raises NonFiniteError where the policy's action is not finite."""
        action = self._policy.act(self.env.inputs, self._begins)
        _, _, terminated, _, _ = self.env.advance(action)
        self._begins = np.zeros(1, bool)
        self.fallen |= bool(terminated[0])

    @property
    def qpos(self) -> np.ndarray:
        """MuJoCo's positions of the robot. Shape (nq,)."""
        return self.env.robots.qpos[0]

    @property
    def goal(self) -> np.ndarray | None:
        """Where an arm's tip is to be, in the base frame [m]; None: no goals here. Shape (3,)."""
        return self.command if self._of_goals else None

    @property
    def caption(self) -> str:
        """What is commanded, and whether it fell."""
        if self.fallen:
            return f"fallen: {SHOWN[RESET]} starts anew"
        rounded = np.round(self.command, 2) + 0.0  # no minus before a zero
        parts = zip(self._policy.commands, rounded.tolist(), strict=True)
        return "   ".join(f"{part.name} {value:.2f} {part.unit}" for part, value in parts)

    @property
    def help(self) -> str:
        """What the keys do, a line each."""
        parts = zip(PART_KEYS, self._policy.commands, strict=False)
        lines = [
            (f"{SHOWN[more]} {SHOWN[less]}", f"{p.name} more, less [{p.unit}]")
            for (more, less), p in parts
        ]
        lines.append((SHOWN[STOP], self._what_stop_does))
        if self._trial.pushes:
            lines.append((SHOWN[PUSH], "push the robot"))
        lines.append((SHOWN[RESET], "start anew"))
        return "\n".join(f"  {keys:10} {meaning}" for keys, meaning in lines)

    @property
    def _what_stop_does(self) -> str:
        if self._of_goals:
            return "the goal in the middle of the workspace"
        return "the middle of every range" if (self.lower + self.upper).any() else "stop"

    def _begin(self) -> None:
        self.fallen, self._begins = False, np.ones(1, bool)
        self.env.set_commands(self.command[None])


def play(
    session: Session,
    view: View,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """In real time, until the view is closed; slower where the computer does not keep up."""
    period = session.env.period
    due = clock()
    while view.show(session):
        for key in view.pressed():
            session.press(key)
        due = max(due, clock() - LATEST)
        while due <= clock():
            session.step()
            due += period
        sleep(max(0.0, due - clock()))


def run(arguments: Arguments) -> int:
    """Until the window is closed, or Ctrl-C."""
    console = open_console()
    policy = open_policy(arguments.policy, arguments.robot)
    session = Session(policy, arguments.seed)
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    try:
        if display and not arguments.browser:
            from .play_views import in_window

            with in_window(policy.robot) as view:
                console.print(f"Keys, in the window:\n{session.help}")
                play(session, view)
        else:
            from .play_views import in_browser

            with in_browser(policy.robot, arguments.port, session.help) as (view, url):
                console.print(f"Open {url} in a browser. Keys, there:\n{session.help}")
                play(session, view)
    except KeyboardInterrupt:
        console.print("Ended.")
    return 0
