"""Walking on terrain: MuJoCo's ground is the one that is measured; the curriculum."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from surefoot.models.errors import UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim.curriculum import SCAN, SCAN_MIRRORED, TerrainCurriculum
from surefoot.sim.tasks import make_task
from surefoot.sim.terrain import KINDS, LEVELS, Terrain, make_terrain, slopes_down
from surefoot.sim.walk import WalkEnv

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)


@pytest.fixture
def env() -> WalkEnv:
    env = WalkEnv(len(KINDS), ROBOT, randomisation=(), nthread=1, terrain=True)
    env.reset(seed=2)
    return env


def curriculum_of(env: WalkEnv) -> TerrainCurriculum:
    assert env.curriculum is not None
    return env.curriculum


def still(env: WalkEnv) -> np.ndarray:
    return np.zeros((env.num_envs, N), np.float32)


def test_mujocos_ground_is_the_terrain(env: WalkEnv):
    terrain = curriculum_of(env).terrain
    model = env.robots.model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    only_floor = np.zeros(6, np.uint8)
    only_floor[model.geom("floor").group[0]] = 1
    rng = np.random.default_rng(0)
    # Amid the grid's cells and beyond the first period; steps, too, are slopes within a cell.
    for xy in rng.uniform(-0.02, 1.02, (200, 2)) * terrain.period:
        start = np.array([*xy, 5.0])
        down = np.array([0.0, 0.0, -1.0])
        hit = np.zeros(1, np.int32)
        distance = mujoco.mj_ray(model, data, start, down, only_floor, 1, -1, hit)
        assert model.geom(int(hit[0])).name == "floor"
        corner = terrain.spacing * np.floor(xy / terrain.spacing)
        around = terrain.height(
            corner + terrain.spacing * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        )
        # A cell is two triangles there and bilinear here: apart by half its twist at most.
        twist = abs(around[0] + around[3] - around[1] - around[2])
        assert 5.0 - distance == pytest.approx(terrain.height(xy), abs=0.5 * twist + 1e-6)


def test_an_episode_begins_standing_on_the_tile_that_is_earned(env: WalkEnv):
    curriculum = curriculum_of(env)
    curriculum.level[:] = LEVELS - 1
    env.reset()
    tile = curriculum.terrain.tile
    assert (env.robots.qpos[:, 0] == (LEVELS - 0.5) * tile).all()
    np.testing.assert_allclose(env.robots.qpos[:, 1], (np.arange(len(KINDS)) + 0.5) * tile)
    assert (np.abs(env.foot_heights) < 0.03).all()
    for _ in range(50):
        _, _, terminated, _, _ = env.step(still(env))
        assert not terminated.any()
    assert (np.abs(env.foot_heights) < 0.006).all()
    np.testing.assert_allclose(env.height, env.standing_height, atol=0.02)


def test_who_leaves_the_field_goes_on_at_its_other_side(env: WalkEnv):
    terrain = curriculum_of(env).terrain
    for _ in range(20):
        env.step(still(env))
    env.robots.qpos[:, :2] += terrain.period * [1, -1]  # the same ground
    env.feet_before[:, :, :2] += terrain.period * [1, -1]
    before = env.robots.qpos[:, :2].copy()
    env.step(still(env))
    assert (env.robots.qpos[:, :2] >= 0).all() and (env.robots.qpos[:, :2] < terrain.period).all()
    moved = env.robots.qpos[:, :2] - (before - terrain.period * [1, -1])
    assert (np.abs(moved) < 0.01).all()
    _, _, terminated, _, _ = env.step(still(env))
    assert not terminated.any()
    slid = (env.robots.feet - env.feet_before)[:, :, :2]
    assert (np.abs(slid) < 0.01).all()  # nobody is thought to have slid by a whole period


def test_levels_follow_how_it_went(env: WalkEnv):
    curriculum = curriculum_of(env)
    curriculum.level[:] = 2
    curriculum.commanded[:] = [10, 10, 10, 10, 0, 10, 10]
    curriculum.walked[:] = [9, 7, 3, 9, 0, 9, 9]
    env.ticks[:] = env.episode_ticks
    env.ticks[3] = 5  # fell
    env._reset(np.arange(env.num_envs))  # as episodes that end do
    assert curriculum.level.tolist() == [3, 2, 1, 1, 2, 3, 3]
    assert not curriculum.walked.any() and not curriculum.commanded.any()


def test_a_way_is_counted_along_the_command(env: WalkEnv):
    curriculum = curriculum_of(env)
    velocity, command = np.zeros((7, 2)), np.zeros((7, 2))
    velocity[:3] = [[0.3, 0.4], [0.3, 0.4], [-0.2, 0.0]]
    command[:3] = [[0.3, 0.4], [0.5, 0.0], [0.1, 0.0]]
    velocity[3] = [0.2, 0.0]  # commanded nowhere
    for _ in range(10):
        curriculum.follow(velocity, command, 0.1)
    assert curriculum.walked[:4] == pytest.approx([0.5, 0.3, -0.2, 0.0])
    assert curriculum.commanded[:4] == pytest.approx([0.5, 0.5, 0.1, 0.0])


def test_what_the_critic_sees_of_a_slope():
    heights = np.zeros((100, 100))
    heights[:, :] = 0.1 * np.arange(100)[:, None]  # rises by 0.1 m a metre of x
    curriculum = TerrainCurriculum(Terrain(heights, spacing=1.0), 2, size=2.0)
    middle = np.array([[50.0, 50.0]] * 2)
    ahead = curriculum.scan(middle, np.array([0.0, np.pi / 2])) - 5.0
    assert ahead[0] == pytest.approx(0.2 * SCAN[:, 0])  # facing up the slope
    assert ahead[1] == pytest.approx(-0.2 * SCAN[:, 1])  # what is to the left lies behind, in x
    assert (SCAN[SCAN_MIRRORED] == SCAN * [1, -1]).all()


def test_a_reset_with_a_seed_begins_all_anew(env: WalkEnv):
    first, level = env.robots.qpos.copy(), curriculum_of(env).level.copy()
    for _ in range(20):
        env.step(still(env))
    curriculum_of(env).level[:] = 3  # as episodes in between may have earned it
    env.reset(seed=2)
    np.testing.assert_array_equal(env.robots.qpos, first)
    np.testing.assert_array_equal(curriculum_of(env).level, level)


def test_a_reset_without_a_seed_is_no_fall(env: WalkEnv):
    curriculum_of(env).level[:] = 3
    env.set_commands(np.tile([0.3, 0.0, 0.0], (env.num_envs, 1)))
    for _ in range(20):
        env.step(still(env))
    env.reset()
    assert (curriculum_of(env).level == 3).all()


def test_the_curriculum_survives_a_resume():
    def episode(env: WalkEnv, ticks: int, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(ticks):
            action = rng.standard_normal((env.num_envs, N)).astype(np.float32)
            observation, reward, *_ = env.step(action)
            found += [observation, reward, env.privileged, curriculum_of(env).level.copy()]
        return found

    one, two = (WalkEnv(9, ROBOT, nthread=1, terrain=True) for _ in range(2))
    one.reset(seed=1)
    curriculum_of(one).level[:] = np.arange(9) % LEVELS
    episode(one, 20, seed=3)
    one.ticks[:] = one.episode_ticks - 10 - 3 * np.arange(9)  # near their ends
    state = one.get_state()
    ahead = episode(one, 60, seed=4)
    two.reset(seed=9)
    two.set_state(state)
    again = episode(two, 60, seed=4)
    for a, b in zip(ahead, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({tuple(level) for level in ahead[3::4]}) > 1  # episodes ended, and levels changed


def test_the_level_is_a_curve_of_the_training(env: WalkEnv):
    curriculum_of(env).level[:] = 4
    env.ticks[:] = env.episode_ticks - 1
    *_, infos = env.step(still(env))
    assert infos["statistics"]["terrain/level"].tolist() == [4.0] * len(KINDS)


def test_a_task_without_terrain_says_which_has_it():
    with pytest.raises(
        UsageError, match="terrain: found it asked for with reach, allowed with walk"
    ):
        make_task("reach", 1, terrain=True)


def test_the_robot_stands_on_the_steepest_slope():
    env = WalkEnv(1, ROBOT, randomisation=(), nthread=1, terrain=True)
    curriculum = curriculum_of(env)
    curriculum.kind[:], curriculum.level[:] = KINDS.index(slopes_down), LEVELS - 1
    env.reset(seed=0)
    env.robots.qpos[:, 0] += 0.25 * curriculum.terrain.tile  # from the platform to the slope
    env.robots.qpos[:, 2] = env.standing_height + 0.06  # no foot in the ground
    env.robots.qpos[:, 2] += curriculum.terrain.height(env.robots.qpos[:, :2])
    for _ in range(100):
        _, _, terminated, _, _ = env.step(still(env))
        assert not terminated.any()
    assert (np.abs(env.foot_heights) < 0.02).all()


def test_terrain_of_the_robots_size():
    env = WalkEnv(1, ROBOT, nthread=1, terrain=True)
    same = make_terrain(env.standing_height)
    np.testing.assert_array_equal(curriculum_of(env).terrain.heights, same.heights)
