"""The walking task: its bits, its episodes, and its numbers by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from surefoot.models.errors import NonFiniteError, RobotFileError, UsageError
from surefoot.models.limits import Reason, limit_target
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot
from surefoot.models.task import DeployableTask, TaskEnv
from surefoot.sim import walk
from surefoot.sim.gaits import QUADRUPED, RewardWeights
from surefoot.sim.randomisation import TRAINING, Uniform, Variation, push
from surefoot.sim.walk import WalkEnv
from walk_bench import PERIOD, ROBOT, N, nominal, place, some_actions, still, topple

OFTEN_PUSHED = (
    *TRAINING[:-1],
    Variation(push, Uniform(-0.3, 0.3), TRAINING[-1].per, Uniform(0.1, 0.3)),
)
REWARD_TERMS = list(RewardWeights.__dataclass_fields__)


def everything(env: WalkEnv, step: tuple) -> list[np.ndarray]:
    observation, reward, terminated, truncated, infos = step
    final = []
    if infos:
        final = [infos["final_obs"], env.final_privileged, *infos["statistics"].values()]
    return [observation, reward, terminated, truncated, env.privileged, env.robots.qpos, *final]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


# --- bits -------------------------------------------------------------------------------------


def test_the_bits_depend_on_the_seed_and_not_on_the_threads():
    one, two = (WalkEnv(8, ROBOT, OFTEN_PUSHED, nthread=k) for k in (1, 2))
    first, second = one.reset(seed=3)[0], two.reset(seed=3)[0]
    np.testing.assert_array_equal(first, second)
    for tick, action in enumerate(some_actions(80, 8)):
        if tick == 40:
            topple(one, 5)
            topple(two, 5)
        assert_same(everything(one, one.step(action)), everything(two, two.step(action)))
    again = one.reset(seed=3)[0]
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(one.reset(seed=4)[0], first)


def test_a_restored_state_goes_on_bit_for_bit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WalkEnv, "episode_time", 1.2)  # both kinds of ends lie before and after
    monkeypatch.setattr(walk, "COMMAND_TIME", (0.2, 0.5))
    env = WalkEnv(5, ROBOT, OFTEN_PUSHED, nthread=1)
    env.reset(seed=8)
    actions = some_actions(150, 5)

    def run(env: WalkEnv, ticks: range) -> list[list[np.ndarray]]:
        passed = []
        for tick in ticks:
            if tick in (20, 70, 100):
                topple(env, tick % 3)
            passed.append(everything(env, env.step(actions[tick])))
        return passed

    before = run(env, range(75))
    state = env.get_state()
    measured = env.robots.measure(np.random.default_rng(0))
    straight = run(env, range(75, 150))
    ends = [np.any([step[k] for step in part]) for part in (before, straight) for k in (2, 3)]
    assert all(ends), "episodes ended by falls and by time, before and after"

    other = WalkEnv(5, ROBOT, OFTEN_PUSHED, nthread=2)
    other.reset(seed=99)
    run(other, range(30))
    other.set_state(state)
    np.testing.assert_array_equal(other.privileged, state["arrays"]["privileged"])
    for name, value in other.robots.measure(np.random.default_rng(0)).items():
        np.testing.assert_array_equal(value, measured[name])
    for expected, found in zip(straight, run(other, range(75, 150)), strict=True):
        assert_same(expected, found)

    env.set_state(state)  # into its own past, by a state that stepping has not touched
    assert_same(straight[0], everything(env, env.step(actions[75])))


# --- episodes ---------------------------------------------------------------------------------


def test_autoreset_in_the_same_step_with_the_true_last_observation(
    monkeypatch: pytest.MonkeyPatch,
):
    env = nominal(3)
    assert env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
    env.step(still(3))
    topple(env, 1)
    last: dict[str, np.ndarray] = {}
    reset = env._reset

    def spy(ids: np.ndarray) -> None:
        last.update(qpos=env.robots.qpos.copy(), command=env.command.copy(), ids=ids.copy())
        reset(ids)

    monkeypatch.setattr(env, "_reset", spy)
    action = some_actions(1, 3, 0.2)[0]
    observation, _, terminated, truncated, infos = env.step(action)
    assert terminated.tolist() == infos["_final_obs"].tolist() == [False, True, False]
    assert not truncated.any()
    assert last["ids"].tolist() == [1]

    final = infos["final_obs"]
    np.testing.assert_allclose(final[1, 3:6], [0, 0, 1], atol=0.02)  # down is up: on its back
    np.testing.assert_allclose(final[1, 6:18], last["qpos"][1, 7:] - ROBOT.default_pose, atol=1e-6)
    np.testing.assert_array_equal(final[1, 30:42], action[1])
    np.testing.assert_allclose(final[1, 42:45], last["command"][1], atol=1e-6)
    np.testing.assert_allclose(observation[1, 3:6], [0, 0, -1], atol=1e-6)  # the next episode
    np.testing.assert_array_equal(observation[1, 30:42], 0)
    np.testing.assert_array_equal(observation[1, 45:47], [0, 1])  # its clock begins

    goes_on = [0, 2]
    np.testing.assert_array_equal(observation[goes_on], final[goes_on])
    np.testing.assert_array_equal(env.privileged[goes_on], env.final_privileged[goes_on])
    assert env.ticks.tolist() == [2, 0, 2]


def test_the_privileged_observation_goes_with_the_actors():
    env = WalkEnv(4, ROBOT, nthread=1)
    observation, _ = env.reset(seed=1)
    assert isinstance(env, TaskEnv)
    np.testing.assert_array_equal(env.privileged[:, :47], observation)
    for tick in range(6):
        if tick == 3:
            topple(env, 2)
        observation, _, terminated, _, infos = env.step(still(4))
        np.testing.assert_array_equal(env.privileged[:, :47], observation)
        if terminated.any():
            np.testing.assert_array_equal(env.final_privileged[:, :47], infos["final_obs"])
            np.testing.assert_allclose(env.final_privileged[2, 53:56], [0, 0, 1], atol=0.05)
    robots = env.robots
    expected = np.hstack(
        (robots.linear_velocity, robots.angular_velocity, robots.gravity, robots.feet[:, :, 2])
    )
    expected[:, 9:] -= 0.014  # a foot's height is that of its sole
    np.testing.assert_allclose(env.privileged[:, 47:60], expected, atol=1e-6)
    np.testing.assert_allclose(
        env.privileged[:, 60:], robots.field("geom_friction")[:, robots.foot_geoms, 0], rtol=1e-6
    )


@pytest.mark.parametrize(("tilt", "fallen"), [(0.95, False), (-0.95, False), (1.05, True)])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_fall_is_a_tilt_of_more_than_one_radian(tilt: float, fallen: bool, axis: int):
    env = nominal()
    quaternion = [np.cos(tilt / 2), 0.0, 0.0, 0.0]
    quaternion[axis] = np.sin(tilt / 2)
    place(env, 0.6, tuple(quaternion))
    _, _, terminated, truncated, infos = env.step(still())
    assert (terminated[0], truncated[0]) == (fallen, False)
    if fallen:
        assert infos["statistics"]["end/fall"][0] == 1.0


@pytest.mark.parametrize(("height", "fallen"), [(0.1, False), (0.085, True)])
def test_a_fall_is_a_base_below_nine_centimetres(height: float, fallen: bool):
    env = nominal()
    folded = ROBOT.rest_pose
    place(env, height, joint_pos=folded)
    action = (folded - ROBOT.default_pose) / 0.35
    assert env.step(action[None].astype(np.float32))[2].tolist() == [fallen]


def test_time_truncates_after_twenty_seconds_and_does_not_terminate():
    env = nominal(2)
    for tick in range(1, 1001):
        if tick == 3:
            topple(env, 1)
        _, _, terminated, truncated, infos = env.step(still(2))
        assert terminated.tolist() == [False, tick == 3]
        assert truncated.tolist() == [tick == 1000, False]
    assert infos["statistics"]["end/fall"][0] == 0.0
    assert env.ticks.tolist() == [0, 997]


def test_a_fall_in_the_last_tick_is_a_fall(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WalkEnv, "episode_time", 3 * PERIOD)
    env = nominal(2)
    env.step(still(2))
    env.step(still(2))
    topple(env, 1)
    _, _, terminated, truncated, _ = env.step(still(2))
    assert terminated.tolist() == [False, True]
    assert truncated.tolist() == [True, False]


@pytest.mark.parametrize("bad", [np.nan, 1e30])
def test_a_diverged_simulation_ends_and_hands_nobody_a_nan(
    bad: float, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where MuJoCo leaves its warning
    env = nominal(2)
    env.step(still(2))
    env.robots.qvel[0, 8] = bad
    observation, reward, terminated, truncated, infos = env.step(still(2))
    assert (terminated.tolist(), truncated.tolist()) == ([True, False], [False, False])
    assert reward[0] == 0.0
    for array in (observation, infos["final_obs"], env.privileged, env.final_privileged):
        assert np.isfinite(array).all()
    assert all(np.isfinite(values).all() for values in infos["statistics"].values())
    assert not env.step(still(2))[2].any()


def test_a_nan_action_is_refused_before_anything_moves():
    env = nominal(2)
    before = env.robots.qpos.copy()
    action = still(2)
    action[1, 4] = np.nan
    with pytest.raises(NonFiniteError, match=r"target\[1, 4\]: found nan"):
        env.step(action)
    np.testing.assert_array_equal(env.robots.qpos, before)


def test_commands_are_redrawn_every_three_to_seven_seconds_within_range():
    env = nominal(40, seed=2)
    seen, since = [env.command.copy()], np.zeros(40)
    waits: list[float] = []
    for _ in range(750):
        before = env.command.copy()
        env.step(still(40))
        since += PERIOD
        changed = (env.command != before).any(1)
        waits += since[changed].tolist()
        since[changed] = 0.0
        seen += [env.command[changed].copy()] if changed.any() else []
        np.testing.assert_allclose(env.inputs["command"], env.command, atol=1e-7)
    commands = np.concatenate(seen)
    assert (np.abs(commands) <= np.array(QUADRUPED.command_range)).all()
    assert (np.abs(commands).max(0) > 0.9 * np.array(QUADRUPED.command_range)).all()
    # An axis is 0 with 0.2 + 0.8 · 0.1 = 0.28; all three with 0.1 + 0.9 · 0.2³ = 0.107.
    assert np.mean(commands == 0) == pytest.approx(0.28, abs=0.08)
    assert np.mean((commands == 0).all(1)) == pytest.approx(0.107, abs=0.08)
    # A zero that follows a zero shows as one long wait, so only the shortest can be sharp.
    assert min(waits) > 3.0 - 1e-9
    assert np.mean(np.array(waits) < 7.0 + 2 * PERIOD) > 0.9


# --- which robots -----------------------------------------------------------------------------


FOOT = 'type="sphere" size="0.014"'


def another(folder: Path, changes: dict[str, str]) -> Robot:
    """The quadruped with other words in its MJCF and its robot.toml."""
    mjcf, toml = ROBOT.mjcf.read_text(), ROBOT.toml
    for before, after in changes.items():
        assert before in mjcf + toml
        mjcf, toml = mjcf.replace(before, after), toml.replace(before, after)
    (folder / ROBOT.model).write_text(mjcf)
    (folder / "robot.toml").write_text(toml)
    return load_robot(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"rear_left_foot": "rear_left_toe"},
            "the round foot geoms front_left_foot, front_right_foot",
        ),
        ({'site name="rear_left_foot"': 'site name="tail"'}, "the foot sites front_left_foot"),
        (
            {"front_": "fore_"},
            "allowed are a sphere or capsule and a site each named front_left_foot",
        ),
        ({FOOT: 'type="box" size="0.014 0.014 0.014"'}, "found the round foot geoms none"),
        ({'"front_left_knee"': '"front_port_knee"'}, "the other side of 'front_port_knee'"),
    ],
)
def test_a_robot_that_cannot_walk_this_walk_is_refused(
    tmp_path: Path, changes: dict[str, str], words: str
):
    robot = another(tmp_path, changes)
    with pytest.raises(UsageError) as caught:
        WalkEnv(1, robot)
    assert str(caught.value).startswith("walk: found ")
    assert words in str(caught.value)


def test_a_standing_pose_that_leans_is_refused():
    first, *others = ROBOT.joints
    leaning = dataclasses.replace(first, default=first.default + 0.1)
    with pytest.raises(UsageError, match="its own mirror image"):
        WalkEnv(1, dataclasses.replace(ROBOT, joints=(leaning, *others)))


def test_joints_in_another_order_than_the_bodys_are_refused():
    first, second, *others = ROBOT.joints
    with pytest.raises(RobotFileError, match=r"quadruped\.xml: found the joints front_left"):
        WalkEnv(1, dataclasses.replace(ROBOT, joints=(second, first, *others)))


def test_larger_feet_stand_higher(tmp_path: Path):
    robot = another(
        tmp_path, {'<geom type="sphere" size="0.014"': '<geom type="sphere" size="0.02"'}
    )
    small, large = nominal(), WalkEnv(1, robot, randomisation=(), nthread=1)
    assert large.foot_radius.tolist() == [0.02] * 4
    assert large.standing_height == pytest.approx(small.standing_height + 0.006)
    large.reset(seed=0)
    expected = large.robots.feet[0, :, 2] - 0.02
    np.testing.assert_allclose(large.privileged[0, -8:-4], expected, atol=1e-6)


def test_what_export_reads():
    task: DeployableTask = nominal()
    assert task.robot is ROBOT
    assert (task.action_scale, task.clock_period) == (0.35, 0.5)
    assert task.output == "joint_target"
    ranges = {part.name: (part.unit, part.lower, part.upper) for part in task.commands}
    assert ranges == {
        "vx": ("m/s", -0.5, 0.5),
        "vy": ("m/s", -0.3, 0.3),
        "yaw_rate": ("rad/s", -1.0, 1.0),
    }


# --- observation, limiter and reward by hand --------------------------------------------------


def test_the_observation_by_hand():
    env = nominal(1, seed=4)
    env.set_commands(np.array([[0.2, -0.1, 0.4]]))
    actions = some_actions(7, 1, 0.3)
    for action in actions:
        observation, *_ = env.step(action)
    row = observation[0]
    qpos, qvel = env.robots.qpos[0], env.robots.qvel[0]
    w, (x, y, z) = qpos[3], qpos[4:7]
    rotation = np.array(  # base to world
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    down = rotation.T @ [0, 0, -1]
    np.testing.assert_allclose(row[0:3], qvel[3:6], atol=1e-6)
    np.testing.assert_allclose(row[3:6], down, atol=1e-6)
    np.testing.assert_allclose(row[6:18], qpos[7:] - ROBOT.default_pose, atol=1e-6)
    np.testing.assert_allclose(row[18:30], qvel[6:], atol=1e-5)
    np.testing.assert_array_equal(row[30:42], actions[-1][0])
    np.testing.assert_allclose(row[42:45], [0.2, -0.1, 0.4], atol=1e-7)
    angle = 2 * np.pi * 7 * 0.02 / 0.5  # seven ticks into a trot of half a second
    np.testing.assert_allclose(row[45:47], [np.sin(angle), np.cos(angle)], atol=1e-6)
    np.testing.assert_allclose(env.robots.linear_velocity[0], rotation.T @ qvel[:3], atol=1e-9)


def test_the_observation_shows_each_joint_in_its_place():
    env = nominal(N)
    env.robots.qpos[:, 7:] = ROBOT.default_pose + 0.01 * np.eye(N)
    env.robots.qvel[:, 6:] = 0.5 * np.eye(N)
    inputs = env.robots.measure(np.random.default_rng(0))
    np.testing.assert_allclose(inputs["joint_pos"] - ROBOT.default_pose, 0.01 * np.eye(N))
    np.testing.assert_allclose(inputs["joint_vel"], 0.5 * np.eye(N))
    np.testing.assert_allclose(np.linalg.norm(inputs["gravity"], axis=1), 1.0)


def test_the_limiter_acts_as_on_the_robot():
    env = nominal(4)
    reasons = np.uint8(0)
    for action in some_actions(30, 4, 3.0).astype(np.float64):
        before = env.target.copy(), env.inputs["joint_pos"].copy(), env.inputs["joint_vel"].copy()
        ticks = env.ticks.copy()
        env.step(action)
        expected, why = limit_target(env.limits, ROBOT.default_pose + 0.35 * action, *before)
        goes_on = env.ticks > ticks
        np.testing.assert_array_equal(env.target[goes_on], expected[goes_on])
        np.testing.assert_array_equal(env.robots.ctrl[goes_on], expected[goes_on])
        np.testing.assert_array_equal(env.reasons, why)
        reasons |= np.bitwise_or.reduce(env.reasons, axis=None)
    assert reasons == Reason.RATE | Reason.TORQUE | Reason.POSITION, "all of them took part"


def test_a_wild_action_is_limited_by_hand():
    env = nominal()
    place(env, 0.6)
    pos, vel = env.inputs["joint_pos"][0], env.inputs["joint_vel"][0]
    env.step(np.full((1, N), 5.0, np.float32))
    # At most 2 N·m away by the servo's law: (2 + 0.37 · velocity) / 13.8 rad from where it is.
    np.testing.assert_allclose(env.target[0], pos + (2 + 0.37 * vel) / 13.8, atol=1e-6)
    assert (env.reasons == Reason.RATE | Reason.TORQUE).all()


def reward_terms(env: WalkEnv, action: np.ndarray) -> dict[str, float]:
    """Of one step of the first robot."""
    before = env.reward_sums[:, 0].copy()
    env.step(action)
    return dict(zip(REWARD_TERMS, env.reward_sums[:, 0] - before, strict=True))


def test_the_reward_of_standing_still_by_hand():
    env = nominal()
    env.set_commands(np.zeros((1, 3)))
    for _ in range(100):
        env.step(still())
    terms = reward_terms(env, still())
    robots = env.robots
    deviation = robots.joint_pos[0] - ROBOT.default_pose
    height = robots.qpos[0, 2] - env.standing_height
    np.testing.assert_allclose(deviation, 0, atol=0.08)
    assert -0.02 < height < 0.0  # it sags under its weight
    assert terms["track"] == pytest.approx(1.0, abs=1e-3)
    assert terms["turn"] == pytest.approx(0.6, abs=1e-3)
    assert terms["gait"] == pytest.approx(1.0, abs=0.01)  # all four on the floor
    assert terms["pose"] == pytest.approx(0.3 * np.exp(-(deviation @ deviation) / 0.3), abs=1e-6)
    assert terms["height"] == pytest.approx(-40 * height**2, abs=1e-9)
    torque = robots.joint_torque[0]
    assert terms["torque"] == pytest.approx(-0.025 * (torque @ torque), abs=1e-9)
    for name in ("orientation", "bounce", "wobble", "slip"):
        assert terms[name] == pytest.approx(0.0, abs=1e-3)
    assert terms["action_rate"] == terms["limited"] == 0.0
    assert env.step(still())[1][0] == pytest.approx(sum(terms.values()), abs=1e-3)


def test_the_reward_of_standing_where_walking_was_asked_for():
    env = nominal()
    for _ in range(100):
        env.step(still())
    env.set_commands(np.array([[0.3, 0.1, 0.4]]))
    env.ticks[:] = 105  # in the next, two feet are due high
    terms = reward_terms(env, still())
    deviation = env.robots.joint_pos[0] - ROBOT.default_pose
    assert terms["track"] == pytest.approx(np.exp(-0.1 / 0.05), abs=2e-3)  # 0.3² + 0.1² = 0.1
    spin = env.robots.angular_velocity[0, 2]
    assert abs(spin) < 0.01  # it sways as it settles
    assert terms["turn"] == pytest.approx(0.6 * np.exp(-((spin - 0.4) ** 2) / 0.25), abs=1e-6)
    wanted = 0.035 * np.sin(2 * np.pi * 6 / 25)  # tick 106 is the sixth of its gait period
    on_floor = np.exp(-((wanted / 0.015) ** 2))  # the other pair is where it belongs
    assert terms["gait"] == pytest.approx((2 * 1.0 + 2 * on_floor) / 4, abs=0.03)
    assert terms["pose"] == pytest.approx(0.3 * np.exp(-(deviation @ deviation) / 1.5), abs=1e-6)


def test_penalties_by_hand():
    env = nominal()
    place(env, 0.6)
    env.robots.qvel[0, :6] = [0.0, 0.0, 0.4, 1.0, -2.0, 0.0]
    action = np.zeros((1, N), np.float32)
    action[0, :2] = [3.0, -4.0]
    terms = reward_terms(env, action)
    velocity, spin = env.robots.linear_velocity[0], env.robots.angular_velocity[0]
    assert terms["action_rate"] == pytest.approx(-0.03 * 25)  # 3² + 4²
    assert terms["limited"] == pytest.approx(-0.05 * 2)  # both ask for more than 2 N·m
    assert terms["bounce"] == pytest.approx(-0.5 * velocity[2] ** 2)
    assert terms["wobble"] == pytest.approx(-0.05 * (spin[0] ** 2 + spin[1] ** 2))
    down = env.robots.gravity[0]
    assert terms["orientation"] == pytest.approx(-3 * (down[0] ** 2 + down[1] ** 2))
    assert velocity[2] == pytest.approx(0.4 - 9.81 * PERIOD, abs=0.05)
    assert terms["slip"] == 0.0  # no foot is near the floor
    topple(env, 0)
    _, reward, _, _, infos = env.step(still())
    assert reward[0] == 0.0, "the sum is floored"
    assert [key for key in infos["statistics"] if "/" in key][:-1] == [
        f"reward/{name}" for name in REWARD_TERMS
    ]


def test_without_randomisation_the_robot_is_nominal():
    env = nominal(3)
    for name in ("geom_friction", "body_mass", "actuator_gainprm", "actuator_delay"):
        model = getattr(env.robots.model, name)
        np.testing.assert_array_equal(
            env.robots.field(name), np.broadcast_to(model, (3, *model.shape))
        )
    assert all(not value.any() for value in vars(env.robots.sensor_errors).values())
    inputs = env.robots.measure(np.random.default_rng(1))
    np.testing.assert_array_equal(inputs["joint_pos"], env.robots.joint_pos)
    np.testing.assert_array_equal(inputs["gyro"], env.robots.angular_velocity)
    np.testing.assert_allclose(inputs["gravity"], env.robots.gravity, atol=1e-15)
