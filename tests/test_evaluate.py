"""The evaluation's arithmetic, on an environment whose motion is written down."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from surefoot.sim import evaluate as module
from surefoot.sim.evaluate import Figures, Policy, evaluate, measure
from surefoot.sim.walk import QUADRUPED

COMMAND_RANGE = np.array(QUADRUPED.command_range)

PERIOD = 0.02  # [s]
EPISODE_TICKS = 1000  # 20 s
REDRAW, SETTLING = 250, 50  # 5 s and 1 s


@dataclass
class Motion:
    """As it was written down."""

    linear_velocity: np.ndarray
    angular_velocity: np.ndarray
    joint_torque: np.ndarray


class ScriptedEnv:
    """Robots that miss their commands by a known error, and fall when they are told to.

    It has what `MeasuredEnv` asks for, and no more.
    """

    def __init__(self, errors: np.ndarray, fall_at: dict[int, int] | None = None) -> None:
        self.num_envs, self.period, self.gait = len(errors), PERIOD, QUADRUPED
        self.errors, self.fall_at = errors, fall_at or {}
        self.action = np.zeros((self.num_envs, 12))
        self.command = np.zeros((self.num_envs, 3))
        self.inputs = {"command": np.zeros((self.num_envs, 3), np.float32)}
        self.commands: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.seed: int | None = None
        self.robots: Motion

    def reset(self, *, seed: int | None = None) -> None:
        self.seed = seed

    def set_commands(self, command: np.ndarray) -> None:
        self.command = command
        self.commands.append(command.copy())

    def step(self, actions: np.ndarray):
        tick = len(self.actions)
        self.action = np.array(actions)
        self.actions.append(self.action)
        velocity = self.command + self.errors
        velocity[:, 2] += 5.0 * (tick % REDRAW < SETTLING)  # left out: it has time to settle
        self.robots = Motion(
            linear_velocity=np.column_stack((velocity[:, :2], np.full(self.num_envs, 9.0))),
            angular_velocity=np.column_stack((np.full((self.num_envs, 2), 9.0), velocity[:, 2])),
            joint_torque=np.full((self.num_envs, 12), 0.5),
        )
        fallen = np.array([self.fall_at.get(i) == tick for i in range(self.num_envs)])
        return None, None, fallen, None, {}


def measured(env: ScriptedEnv, policy: Policy | None = None) -> Figures:
    return measure(policy or (lambda inputs: np.zeros((len(inputs["command"]), 12))), env, seed=3)


def test_a_robot_that_does_as_commanded_scores_one():
    figures = measured(ScriptedEnv(np.zeros((3, 3))))
    assert figures.episodes == 3
    assert figures.survival == 1.0
    assert figures.score == pytest.approx(1.0)
    assert list(figures.rmse.values()) == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert figures.torque == pytest.approx(0.5)


def test_score_and_errors_of_a_known_miss():
    errors = np.array([[0.1, 0.0, 0.3], [0.0, -0.2, -0.4]])
    figures = measured(ScriptedEnv(errors))
    # Per robot exp(−(0.1²) / 0.05) and exp(−(0.2²) / 0.05); the turn is not in the score.
    assert figures.score == pytest.approx((math.exp(-0.2) + math.exp(-0.8)) / 2)
    assert figures.rmse == pytest.approx(
        {"vx": math.sqrt(0.01 / 2), "vy": math.sqrt(0.04 / 2), "yaw_rate": math.sqrt(0.25 / 2)}
    )


def test_after_a_fall_a_robot_scores_nothing_and_its_errors_do_not_count():
    errors = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    tick = 600  # in the third stretch: 200 + 200 + 50 scored ticks before it
    figures = measured(ScriptedEnv(errors, {1: tick}))
    scored = 4 * (REDRAW - SETTLING) - 1  # the episode's last tick is left out
    assert figures.survival == 0.5
    assert figures.score == pytest.approx((1.0 + math.exp(-0.2) * 450 / scored) / 2)
    assert figures.rmse["vx"] == pytest.approx(math.sqrt(450 * 0.01 / (450 + scored)))


def test_how_much_the_actions_change():
    env = ScriptedEnv(np.zeros((1, 3)))

    def zigzag(inputs):
        return np.full((1, 12), 0.3 * (len(env.actions) % 2))

    # 0, 0.3, 0, …: all of the 999 ticks but the first change by 0.3.
    assert measured(env, zigzag).action_change == pytest.approx(0.3 * math.sqrt(998 / 999))


def test_the_commands_come_from_the_seed_every_five_seconds_over_the_range():
    env = ScriptedEnv(np.zeros((50, 3)))
    measured(env)
    assert env.seed == 3
    assert len(env.actions) == EPISODE_TICKS - 1
    commands = np.concatenate(env.commands)
    assert len(env.commands) == 4
    assert (np.abs(commands) <= COMMAND_RANGE).all()
    assert (np.abs(commands).max(0) > 0.9 * COMMAND_RANGE).all()
    other = ScriptedEnv(np.ones((50, 3)), {0: 5})
    measured(other)
    assert np.array_equal(np.concatenate(other.commands), commands)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of two seconds, of which one counts."""
    monkeypatch.setattr(module, "EPISODE_TIME", 2.0)


def stand(inputs) -> np.ndarray:
    return np.zeros((len(inputs["command"]), 12), np.float32)


def test_a_robot_that_stands_survives_and_misses_by_the_command(short, monkeypatch):
    nominal = {"nominal": module.CONDITIONS["nominal"]}
    monkeypatch.setattr(module, "CONDITIONS", nominal)
    figures = evaluate(stand, episodes=8, seed=4)["nominal"]
    assert figures["survival"] == 1.0
    # Standing still, velocity is 0: the error is the command, and the score follows from it.
    commands = np.random.default_rng([4, 1]).uniform(-COMMAND_RANGE, COMMAND_RANGE, (8, 3))
    score = np.exp(-np.square(commands[:, :2]).sum(1) / 0.05).mean()
    assert figures["score"] == pytest.approx(score, abs=0.01)
    rmse = dict(zip(("vx", "vy", "yaw_rate"), np.sqrt(np.square(commands).mean(0)), strict=True))
    assert figures["rmse"] == pytest.approx(rmse, abs=0.01)
    assert figures["action_change"] == 0.0
    assert 0.05 < figures["torque"] < 1.0


def test_the_same_seed_gives_the_same_figures(short):
    shares: list[float] = []
    first = evaluate(stand, episodes=3, seed=1, on_progress=shares.append)
    assert set(first) == {"nominal", "randomised"}
    assert first == evaluate(stand, episodes=3, seed=1)
    assert first != evaluate(stand, episodes=3, seed=2)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_figures_are_plain_data():
    figures = asdict(measured(ScriptedEnv(np.zeros((1, 3)))))
    names = {"episodes", "survival", "score", "rmse", "torque", "action_change", "standing_still"}
    assert set(figures) == names
    assert all(type(v) in (int, float, dict) for v in figures.values())


def test_who_stands_still_is_measured_under_the_same_commands():
    env = ScriptedEnv(np.zeros((2, 3)))
    still = measured(env).standing_still
    commands = np.array(env.commands)  # (redraws, 2, 3); each is scored for equally many ticks
    ticks = np.array([REDRAW - SETTLING] * 3 + [REDRAW - SETTLING - 1])  # the last tick resets
    weights = np.repeat(ticks, 2) / (2 * ticks.sum())
    square = np.square(commands.reshape(-1, 3))
    score = weights @ np.exp(-square[:, :2].sum(1) / QUADRUPED.track_sigma2)
    assert still["score"] == pytest.approx(score)
    rms = np.sqrt(weights @ square)
    assert [still[axis] for axis in ("vx", "vy", "yaw_rate")] == pytest.approx(rms.tolist())


def test_who_stands_still_scores_as_it_is_told():
    """A policy that does nothing on robots that stay where they are is that robot."""
    env = ScriptedEnv(np.zeros((4, 3)))
    step = env.step

    def stay(actions: np.ndarray):
        env.errors = -env.command
        result = step(actions)
        env.robots.angular_velocity[:, 2] = 0.0
        return result

    env.step = stay
    figures = measured(env)
    assert figures.score == pytest.approx(figures.standing_still["score"])
    assert figures.rmse == pytest.approx({k: figures.standing_still[k] for k in figures.rmse})
