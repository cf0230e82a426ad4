"""The evaluation's protocol and arithmetic, on environments whose motion is written down."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from surefoot.models.errors import UsageError
from surefoot.models.limits import Output
from surefoot.models.robot_file import load_robot
from surefoot.models.task import CommandPart
from surefoot.sim.evaluate import Policy, evaluate, record
from surefoot.sim.gaits import QUADRUPED
from surefoot.sim.measures import Recording
from surefoot.sim.randomisation import ARM_TRAINING, fitted
from surefoot.sim.reach import ReachEnv
from surefoot.sim.reach_measures import ReachMeasures
from surefoot.sim.trials import Trial, trial_for, walking
from surefoot.sim.walk import WalkEnv
from surefoot.sim.walk_measures import WalkMeasures

PERIOD = 0.02  # [s]
EPISODE_TICKS = 1000  # 20 s
REDRAW, SETTLING = 250, 50  # 5 s and 1 s
ROBOT = load_robot("quadruped")
COMMAND_RANGE = np.array(QUADRUPED.command_range)
SIGMA2 = QUADRUPED.track_sigma2, QUADRUPED.turn_sigma2
COMMANDS = QUADRUPED.commands
WALKING = walking(ROBOT, "joint_target")
LIMIT, MASS = 2.0, 2.5  # torque limit [N·m] and mass [kg] of the robots that are written down


@dataclass
class Motion:
    """As it was written down."""

    linear_velocity: np.ndarray
    angular_velocity: np.ndarray
    joint_torque: np.ndarray
    joint_vel: np.ndarray
    qpos: np.ndarray

    def field(self, name: str) -> np.ndarray:
        n = len(self.qpos)
        fields = {
            "actuator_forcerange": np.tile([-LIMIT, LIMIT], (n, 12, 1)),
            "body_mass": np.tile([0.0, MASS - 1.0, 1.0], (n, 1)),
        }
        return fields[name]


class ScriptedEnv:
    """Robots that miss their commands by a known error, and fall when they are told to.

    It has what `MeasuredEnv` asks for, and no more.
    """

    def __init__(self, errors: np.ndarray, fall_at: dict[int, int] | None = None) -> None:
        self.num_envs, self.period, self.episode_ticks = len(errors), PERIOD, EPISODE_TICKS
        self.errors, self.fall_at = errors, fall_at or {}
        self.command = np.zeros((self.num_envs, 3))
        self.inputs = {"command": np.zeros((self.num_envs, 3), np.float32)}
        self.curriculum = None
        self.drawn: dict[str, np.ndarray] = {}
        self.pushed = np.zeros(self.num_envs, bool)
        self.commands: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.seed: int | None = None
        wide = np.full((self.num_envs, 12), 0.5)
        velocity = np.zeros((self.num_envs, 3))
        qpos = np.zeros((self.num_envs, 19))
        self.robots = Motion(velocity, velocity.copy(), wide, 2 * wide, qpos)

    def reset(self, *, seed: int | None = None) -> None:
        self.seed = seed

    def set_commands(self, command: np.ndarray) -> None:
        self.command = command
        self.commands.append(command.copy())

    def advance(self, actions: np.ndarray):
        tick = len(self.actions)
        self.actions.append(np.array(actions))
        velocity = self.command + self.errors
        velocity[:, 2] += 5.0 * (tick % REDRAW < SETTLING)  # left out: it has time to settle
        nine = np.full((self.num_envs, 2), 9.0)
        self.robots.linear_velocity = np.column_stack((velocity[:, :2], nine[:, 0]))
        self.robots.angular_velocity = np.column_stack((nine, velocity[:, 2]))
        self.robots.qpos = self.robots.qpos.copy()
        self.robots.qpos[:, 0] += 0.3 * PERIOD  # 0.3 m/s along x,
        self.robots.qpos[:, 1] = 0.01 * (tick % 25 == 7)  # with a sway that comes back to 0
        fallen = np.array([self.fall_at.get(i) == tick for i in range(self.num_envs)])
        return None, None, fallen, None, {}


def recorded(env: ScriptedEnv, policy: Policy | None = None) -> Recording:
    still = lambda inputs, begins: np.zeros((len(inputs["command"]), 12))  # noqa: E731
    return record(policy or still, env, WALKING, COMMANDS, seed=3)


def measured(env: ScriptedEnv, policy: Policy | None = None) -> WalkMeasures:
    return WalkMeasures.of(recorded(env, policy), *SIGMA2)


# --- following velocities ---------------------------------------------------------------------


def test_a_robot_that_does_as_commanded_scores_one():
    figures = measured(ScriptedEnv(np.zeros((3, 3)))).figures()
    assert figures["episodes"] == 3
    assert figures["survival"] == 1.0
    assert figures["score"] == pytest.approx(1.0)
    assert list(figures["rmse"].values()) == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert figures["torque"] == pytest.approx(0.5)


def test_score_and_errors_of_a_known_miss():
    errors = np.array([[0.1, 0.0, 0.3], [0.0, -0.2, -0.4]])
    measures = measured(ScriptedEnv(errors))
    # Per robot exp(−(0.1²) / 0.05) and exp(−(0.2²) / 0.05); the turn is not in the score.
    assert measures.score == pytest.approx([math.exp(-0.2), math.exp(-0.8)], rel=1e-5)
    assert measures.errors == pytest.approx(np.abs(errors), abs=1e-6)
    figures = measures.figures()
    assert figures["score"] == pytest.approx((math.exp(-0.2) + math.exp(-0.8)) / 2, rel=1e-5)
    rmse = {"vx": math.sqrt(0.01 / 2), "vy": math.sqrt(0.04 / 2), "yaw_rate": math.sqrt(0.25 / 2)}
    assert figures["rmse"] == pytest.approx(rmse, rel=1e-5)


def test_after_a_fall_a_robot_scores_nothing_and_its_errors_do_not_count():
    errors = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    tick = 600  # in the third stretch: 200 + 200 + 50 scored ticks before it
    measures = measured(ScriptedEnv(errors, {1: tick}))
    scored = 4 * (REDRAW - SETTLING) - 1  # the episode's last tick is left out
    assert measures.survived.tolist() == [True, False]
    assert measures.ticks.tolist() == [EPISODE_TICKS - 1, tick]
    assert measures.scored.tolist() == [scored, 450]
    assert measures.score == pytest.approx([1.0, math.exp(-0.2) * 450 / scored], rel=1e-5)
    figures = measures.figures()
    assert figures["survival"] == 0.5
    assert figures["survival_interval"] == pytest.approx((0.0945, 0.9055), abs=1e-4)
    assert figures["score"] == pytest.approx((1.0 + math.exp(-0.2) * 450 / scored) / 2, rel=1e-5)
    assert figures["rmse"]["vx"] == pytest.approx(math.sqrt(450 * 0.01 / (450 + scored)), rel=1e-5)


def test_who_falls_at_once_has_no_errors():
    figures = measured(ScriptedEnv(np.zeros((2, 3)), {0: 0, 1: 10})).figures()
    assert figures["survival"] == figures["score"] == 0.0
    assert figures["rmse"] == {"vx": None, "vy": None, "yaw_rate": None}
    assert figures["cost_of_transport"] is None
    assert "vx_error" not in figures["interquartile"]
    json.dumps(figures, allow_nan=False)


def test_the_commands_come_from_the_seed_every_five_seconds_over_the_range():
    env = ScriptedEnv(np.zeros((50, 3)))
    recording = recorded(env)
    assert env.seed == 3
    assert len(env.actions) == EPISODE_TICKS - 1
    commands = np.concatenate(env.commands)
    assert len(env.commands) == 4
    assert (np.abs(commands) <= COMMAND_RANGE).all()
    assert (np.abs(commands).max(0) > 0.9 * COMMAND_RANGE).all()
    assert recording.command[::REDRAW] == pytest.approx(np.array(env.commands), abs=1e-6)
    other = ScriptedEnv(np.ones((50, 3)), {0: 5})
    assert np.array_equal(recorded(other).command, recording.command)


def test_no_command_beyond_what_the_policy_was_trained_for():
    narrow = (COMMANDS[0], CommandPart("vy", "m/s", 0.0, 0.0), CommandPart("yaw_rate", "", 0, 0.2))
    still = lambda inputs, begins: np.zeros((50, 12))  # noqa: E731
    command = record(still, ScriptedEnv(np.zeros((50, 3))), WALKING, narrow, seed=0).command
    assert (command[..., 1] == 0).all()
    assert command[..., 2].min() >= 0 and 0.19 < command[..., 2].max() <= 0.2


def test_who_stands_still_is_measured_under_the_same_commands():
    env = ScriptedEnv(np.zeros((2, 3)))
    still = measured(env).figures()["standing_still"]
    commands = np.array(env.commands)  # (redraws, 2, 3); each is scored for equally many ticks
    ticks = np.array([REDRAW - SETTLING] * 3 + [REDRAW - SETTLING - 1])  # the last tick resets
    weights = np.repeat(ticks, 2) / (2 * ticks.sum())
    square = np.square(commands.reshape(-1, 3))
    score = weights @ np.exp(-square[:, :2].sum(1) / 0.05)
    assert still["score"] == pytest.approx(score)
    rms = np.sqrt(weights @ square)
    assert [still[axis] for axis in ("vx", "vy", "yaw_rate")] == pytest.approx(rms.tolist())


def test_who_stands_still_scores_as_it_is_told():
    """A policy that does nothing on robots that stay where they are is that robot."""
    env = ScriptedEnv(np.zeros((4, 3)))
    advance = env.advance

    def stay(actions: np.ndarray):
        env.errors = -env.command
        result = advance(actions)
        env.robots.angular_velocity[:, 2] = 0.0
        return result

    env.advance = stay
    figures = measured(env).figures()
    still = figures["standing_still"]
    assert figures["score"] == pytest.approx(still["score"])
    assert figures["rmse"] == pytest.approx({axis: still[axis] for axis in figures["rmse"]})


def test_a_policy_is_told_whose_episode_begins():
    told: list[np.ndarray] = []

    def listens(inputs, begins) -> np.ndarray:
        told.append(begins.copy())
        return np.zeros((3, 12))

    recorded(ScriptedEnv(np.zeros((3, 3)), {1: 600, 2: 20}), listens)
    assert np.argwhere(told).tolist() == [[0, 0], [0, 1], [0, 2]], "who fell begins no other"


# --- effort -----------------------------------------------------------------------------------


def test_how_much_the_actions_change():
    env = ScriptedEnv(np.zeros((1, 3)))

    def zigzag(inputs, begins):
        return np.full((1, 12), 0.3 * (len(env.actions) % 2))

    figures = measured(env, zigzag).figures()
    # 0, 0.3, 0, …: all of the 999 ticks but the first change by 0.3,
    assert figures["action_change"] == pytest.approx(0.3 * math.sqrt(998 / 999))
    # and all but the first two change the change by 0.6; the second by 0.3.
    assert figures["action_jerk"] == pytest.approx(math.sqrt((0.09 + 997 * 0.36) / 999))


def test_a_torque_near_its_limit_is_saturated():
    env = ScriptedEnv(np.zeros((2, 3)))
    env.robots.joint_torque[0, :3] = [0.96 * LIMIT, -LIMIT, 0.94 * LIMIT]
    measures = measured(env)
    assert measures.torque_saturation == pytest.approx([2 / 12, 0.0])
    assert measures.figures()["torque_saturation"] == pytest.approx(1 / 12)


def test_cost_of_transport_by_hand():
    env = ScriptedEnv(np.zeros((2, 3)), {1: 100})
    env.robots.joint_torque[:, :2] = -0.5  # braking: 1 rad/s against it wins nothing back
    measures = measured(env)
    # Ten joints with 0.5 N·m · 1 rad/s are 5 W, at 0.3 m/s. The sway is no path.
    assert measures.cost_of_transport[0] == pytest.approx(5 / (MASS * 9.81 * 0.3), rel=1e-4)
    assert np.isnan(measures.cost_of_transport[1])  # 0.6 m until the fall are too short a path
    assert measures.figures()["cost_of_transport"] == pytest.approx(measures.cost_of_transport[0])


def test_a_cost_of_transport_counts_whole_strides_before_a_fall():
    measures = measured(ScriptedEnv(np.zeros((1, 3)), {0: 260}))
    assert measures.cost_of_transport == pytest.approx(6 / (MASS * 9.81 * 0.3), rel=1e-4)


# --- reaching goals ---------------------------------------------------------------------------


def reach_recording(distance: np.ndarray, fall_at: dict[int, int] | None = None) -> Recording:
    """Tips on the x axis at `distance` (T, N) from goals at 0.3 m."""
    ticks, n = distance.shape
    goal = np.tile([0.3, 0.0, 0.1], (ticks, n, 1))
    tip = goal.copy()
    tip[..., 0] -= distance
    alive = np.ones((ticks, n), bool)
    for robot, tick in (fall_at or {}).items():
        alive[tick:, robot] = False
    zeros = np.zeros((ticks, n, 4))
    settled = np.ones(ticks, bool)
    limit, mass = np.ones((n, 4)), np.ones(n)
    return Recording(
        PERIOD, settled, alive, goal, tip, zeros, zeros, zeros, zeros, limit, mass, ~alive
    )


def test_reaching_by_hand():
    distance = np.full((100, 4), 0.1)
    distance[40:, 0] = 0.019  # there after the 41st tick
    distance[40:60, 1] = 0.0  # there, and away again
    distance[20:, 2] = 0.015  # there, but something ended it
    distance[90:, 3] = 0.021
    measures = ReachMeasures.of(reach_recording(distance, {2: 50}))
    assert measures.reached.tolist() == [True, False, False, False]
    assert measures.distance[[0, 1, 3]] == pytest.approx([0.019, 0.1, 0.021])
    assert np.isnan(measures.distance[2])
    assert measures.time_to_reach[0] == pytest.approx(41 * PERIOD)
    assert np.isnan(measures.time_to_reach[1:]).all()
    assert np.argsort(-measures.merit).tolist() == [0, 3, 1, 2]
    figures = measures.figures()
    assert figures["success"] == 0.25 and figures["survival"] == 0.75
    assert figures["distance"] == pytest.approx(0.14 / 3)
    assert figures["standing_still"] == pytest.approx({"success": 0.0, "distance": 0.1})
    assert set(figures["interquartile"]) >= {"distance", "time_to_reach", "torque"}
    json.dumps(figures, allow_nan=False)


class ScriptedArm(ScriptedEnv):
    """An arm whose tip comes nearer to its goal by a tenth a tick."""

    def __init__(self) -> None:
        super().__init__(np.zeros((2, 3)))
        self.episode_ticks = 60
        self.tip = np.zeros((2, 3))

    def advance(self, actions: np.ndarray):
        self.tip = self.tip + 0.1 * (self.command - self.tip)
        return super().advance(actions)


def test_a_second_task_is_evaluated_by_the_same_protocol():
    parts = tuple(CommandPart(axis, "m", 0.1, 0.3) for axis in "xyz")
    trial = Trial(
        make=lambda count, robot, variations: ScriptedArm(),
        nominal=(),
        pushes=(),
        training=(),
        achieved=lambda env: env.tip,
        measures=lambda env: ReachMeasures.of,
        command_period=None,
    )
    env = ScriptedArm()
    recording = record(lambda inputs, begins: np.zeros((2, 12)), env, trial, parts, seed=1)
    goal = np.random.default_rng([1, 1]).uniform(0.1, 0.3, (2, 3))
    assert len(env.commands) == 1  # a goal stays
    assert recording.command == pytest.approx(np.tile(goal, (59, 1, 1)))
    measures = ReachMeasures.of(recording)
    assert measures.distance == pytest.approx(0.9**59 * np.linalg.norm(goal, axis=1), rel=1e-4)
    assert measures.reached.all()


# --- whole evaluations ------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of two seconds, of which one counts."""
    monkeypatch.setattr(WalkEnv, "episode_time", 2.0)


def stand(inputs, begins) -> np.ndarray:
    return np.zeros((len(inputs["command"]), 12), np.float32)


def test_a_robot_that_stands_survives_and_misses_by_the_command(short):
    env = WalkEnv(8, ROBOT, WALKING.nominal)
    figures = WalkMeasures.of(record(stand, env, WALKING, COMMANDS, seed=4), *SIGMA2).figures()
    assert figures["survival"] == 1.0
    # Standing still, velocity is 0: the error is the command, and the score follows from it.
    commands = np.random.default_rng([4, 1]).uniform(-COMMAND_RANGE, COMMAND_RANGE, (8, 3))
    score = np.exp(-np.square(commands[:, :2]).sum(1) / 0.05).mean()
    assert figures["score"] == pytest.approx(score, abs=0.01)
    rmse = dict(zip(("vx", "vy", "yaw_rate"), np.sqrt(np.square(commands).mean(0)), strict=True))
    assert figures["rmse"] == pytest.approx(rmse, abs=0.01)
    assert figures["action_change"] == 0.0
    assert 0.05 < figures["torque"] < 1.0
    assert figures["cost_of_transport"] is None  # it goes nowhere


def test_what_one_robot_meets_does_not_depend_on_anothers_fall(monkeypatch):
    """Commands, robots, noise and pushes are the same for every policy."""
    monkeypatch.setattr(WalkEnv, "episode_time", 6.0)

    def kicks(inputs, begins) -> np.ndarray:
        action = stand(inputs, begins)
        action[0] = np.tile([0.0, 4.0, -4.0], 4)  # legs in the air
        return action

    recordings, pushes = [], []
    for policy in (stand, kicks):
        env = WalkEnv(4, ROBOT, WALKING.training, nthread=1)
        met: list[np.ndarray] = []

        def listens(inputs, begins, env=env, met=met, policy=policy) -> np.ndarray:
            met.append(env.drawn["push"].copy())
            return policy(inputs, begins)

        recordings.append(record(listens, env, WALKING, COMMANDS, seed=0))
        pushes.append(np.array(met))
    stood, kicked = recordings
    assert stood.alive[-1, 0] and not kicked.alive[-1, 0]
    np.testing.assert_array_equal(pushes[0], pushes[1])
    assert np.isfinite(pushes[0][-1, 1:, 0]).all()
    np.testing.assert_array_equal(stood.qpos[:, 1:], kicked.qpos[:, 1:])  # and the noise
    for name, values in stood.drawn.items():
        np.testing.assert_array_equal(values[1:], kicked.drawn[name][1:])


def test_the_same_seed_gives_the_same_figures(short):
    def figures(seed: int, on_progress=lambda share: None):
        results = evaluate(stand, COMMANDS, ROBOT, "joint_target", 3, seed, on_progress)
        return {name: result.figures for name, result in results.items()}

    shares: list[float] = []
    first = figures(1, shares.append)
    assert list(first) == ["nominal", "pushes", "randomised", "beyond"]
    assert first == figures(1)
    assert first != figures(2)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    assert json.loads(json.dumps(first, allow_nan=False))["beyond"]["episodes"] == 3


def test_every_robot_has_its_own_mass_and_torque_limit(short):
    env = WalkEnv(6, ROBOT, WALKING.training)
    recording = record(stand, env, WALKING, COMMANDS, seed=0)
    total = env.robots.model.body_mass.sum()
    assert len(set(recording.mass)) == 6
    assert recording.mass == pytest.approx(np.full(6, total), rel=0.15)
    strength = recording.torque_limit / ROBOT.torque_limit
    assert ((strength > 0.84) & (strength < 1.06)).all() and np.ptp(strength) > 0


def test_values_and_figures_name_the_same_measures():
    measures = measured(ScriptedEnv(np.full((4, 3), 0.1)))
    values = measures.values()
    assert all(len(value) == 4 for value in values.values())
    assert set(measures.figures()["interquartile"]) == set(values) - {"survived"}
    assert values["survived"].dtype == bool


@pytest.mark.parametrize("output", ["joint_target", "joint_torque"])
def test_an_arm_that_does_nothing_reaches_nothing(output: Output):
    arm = load_robot("arm")
    actions: list[int] = []

    def idle(inputs, begins) -> np.ndarray:
        actions.append(1)
        return np.zeros((len(inputs["command"]), len(arm.joints)), np.float32)

    results = evaluate(idle, ReachEnv.commands, arm, output, 8, seed=1)
    assert list(results) == ["nominal", "randomised", "beyond"]  # nothing pushes an arm
    for result in results.values():
        figures = result.figures
        assert figures["survival"] == 1.0
        assert figures["success"] <= 0.25 and figures["distance"] > 0.05
    assert len(actions) == 3 * (ReachEnv(1).episode_ticks - 1)


def test_a_policy_with_other_commands_is_refused():
    with pytest.raises(
        UsageError, match=r"found a policy commanded by tail, allowed: vx vy yaw_rate, or x y z$"
    ):
        trial_for([CommandPart("tail", "rad", -1, 1)], ROBOT, "joint_target")
    swapped = (COMMANDS[1], COMMANDS[0], COMMANDS[2])
    with pytest.raises(UsageError, match="vy vx yaw_rate"):
        trial_for(swapped, ROBOT, "joint_target")
    arm = load_robot("arm")
    assert trial_for(ReachEnv.commands, arm, "joint_torque").training == fitted(
        ARM_TRAINING, "joint_torque", arm
    )
