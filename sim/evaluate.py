"""How well a policy walks: a written protocol, so that two figures can be compared.

Deterministic policy; episodes of 20 s; commands uniform over the trained range, redrawn every 5 s;
the first second after a redraw is left out. Nominal: foot friction from 0.4 to 1.0, nothing else
randomised. Randomised: everything that training randomises, pushes included. Beside the policy's
figures stand those of a robot that never moves: who has only learned to stand is no better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from .randomisation import TRAINING, Uniform, Variation, foot_friction
from .walk import EPISODE_TIME, Gait, WalkEnv

AXES = ("vx", "vy", "yaw_rate")
COMMAND_PERIOD = 5.0  # [s]
SETTLING = 1.0  # after a new command [s]
NOMINAL: tuple[Variation, ...] = (Variation(foot_friction, Uniform(0.4, 1.0)),)
CONDITIONS: Mapping[str, Sequence[Variation]] = {"nominal": NOMINAL, "randomised": TRAINING}

Policy = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # inputs (N, width) → actions (N, n)


class Motion(Protocol):
    """How N robots of n joints move."""

    @property
    def linear_velocity(self) -> np.ndarray:
        """Velocity of the base, in the base frame [m/s]. Shape (N, 3)."""
        ...

    @property
    def angular_velocity(self) -> np.ndarray:
        """Angular velocity of the base, in the base frame [rad/s]. Shape (N, 3)."""
        ...

    @property
    def joint_torque(self) -> np.ndarray:
        """[N·m]. Shape (N, n)."""
        ...


class MeasuredEnv(Protocol):
    """What a measurement needs of N walking environments; `WalkEnv` has it."""

    num_envs: int
    period: float  # of a step [s]
    gait: Gait
    action: np.ndarray  # the last one. Shape (N, n)
    command: np.ndarray  # vx, vy [m/s], yaw rate [rad/s]. Shape (N, 3)
    inputs: dict[str, np.ndarray]  # of the policy, each (N, width)

    @property
    def robots(self) -> Motion:
        """The robots, as the last step left them."""
        ...

    def reset(self, *, seed: int | None = None) -> Any:
        """Start every episode anew."""
        ...

    def set_commands(self, command: np.ndarray) -> None:
        """Command every robot until it is commanded anew. Shape (N, 3)."""
        ...

    def step(self, actions: np.ndarray, /) -> tuple[Any, Any, np.ndarray, Any, Any]:
        """One period under `actions` (N, n); the third result, bool (N,), tells who fell."""
        ...


@dataclass(frozen=True)
class Figures:
    """What an evaluation measured under one condition."""

    episodes: int
    survival: float  # share of episodes without a fall
    score: float  # mean of exp(−|v − v*|² / σ²) over the horizontal plane; 0 after a fall
    rmse: dict[str, float]  # vx, vy [m/s], yaw rate [rad/s], while standing
    torque: float  # root mean square over the joints [N·m]
    action_change: float  # root mean square from one tick to the next
    standing_still: dict[str, float]  # `score`, and RMS errors as in `rmse`, of who never moves


def evaluate(
    policy: Policy,
    episodes: int = 256,
    seed: int = 0,
    robot: str = "quadruped",
    on_progress: Callable[[float], None] = lambda _share: None,
) -> dict[str, dict[str, Any]]:
    """The figures under every condition, as plain data: name of the condition → `Figures`.

    Args:
        policy: inputs by name, each (N, width), to actions (N, n).
        episodes: N, under each condition.
        seed: of commands, randomisation and noise.
        robot: a quadruped's name or path, as `load_robot` takes it.
        on_progress: called with the share done, 0 to 1.

    Raises:
        UsageError: the robot cannot walk this task.
    """
    table = {}
    for index, (name, terms) in enumerate(CONDITIONS.items()):
        env = WalkEnv(episodes, robot, randomisation=terms)

        def report(share: float, done: int = index) -> None:
            on_progress((done + share) / len(CONDITIONS))

        table[name] = asdict(measure(policy, env, seed, report))
    return table


def measure(
    policy: Policy,
    env: MeasuredEnv,
    seed: int,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> Figures:
    """One episode of each environment under `policy`, by the protocol above."""
    n = env.num_envs
    # A generator of its own: the commands are the same whatever the policy does.
    rng = np.random.default_rng([seed, 1])
    ticks = round(EPISODE_TIME / env.period)
    redraw, settling = round(COMMAND_PERIOD / env.period), round(SETTLING / env.period)
    fastest = np.array(env.gait.command_range)
    env.reset(seed=seed)
    alive = np.ones(n, bool)
    score, squared = np.zeros(n), np.zeros(3)
    still_score, still_squared = 0.0, np.zeros(3)  # the error of one who stands is the command
    torque = change = 0.0
    counted = ticks_alive = 0
    scored_ticks = 0
    for tick in range(ticks - 1):  # the last tick would already reset
        if tick % redraw == 0:
            env.set_commands(rng.uniform(-fastest, fastest, (n, 3)))
        before = env.action.copy()
        _, _, terminated, _, _ = env.step(policy(env.inputs))
        alive &= ~terminated
        ticks_alive += int(alive.sum())
        torque += float(np.square(env.robots.joint_torque[alive]).mean(1).sum())
        change += float(np.square(env.action - before)[alive].mean(1).sum())
        if tick % redraw >= settling:
            velocity = np.column_stack(
                (env.robots.linear_velocity[:, :2], env.robots.angular_velocity[:, 2])
            )
            error = velocity - env.command
            plane = np.square(error[:, :2]).sum(1)
            score += alive * np.exp(-plane / env.gait.track_sigma2)
            squared += np.square(error[alive]).sum(0)
            wanted = np.square(env.command)
            still_score += float(np.exp(-wanted[:, :2].sum(1) / env.gait.track_sigma2).mean())
            still_squared += wanted.mean(0)
            counted += int(alive.sum())
            scored_ticks += 1
        on_progress((tick + 1) / (ticks - 1))
    rmse = np.sqrt(squared / max(counted, 1))
    still = np.sqrt(still_squared / scored_ticks)
    return Figures(
        episodes=n,
        survival=float(alive.mean()),
        score=float(score.mean() / scored_ticks),
        rmse=dict(zip(AXES, rmse.tolist(), strict=True)),
        torque=float(np.sqrt(torque / max(ticks_alive, 1))),
        action_change=float(np.sqrt(change / max(ticks_alive, 1))),
        standing_still={
            "score": still_score / scored_ticks,
            **dict(zip(AXES, still.tolist(), strict=True)),
        },
    )
