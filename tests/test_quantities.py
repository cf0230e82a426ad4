"""What can vary beyond the lists of training, whom each list suits, and what is refused."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest
from surefoot.models.errors import UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim import quantities
from surefoot.sim.conditions import widened
from surefoot.sim.gaits import BIPED, GO1, QUADRUPED, gait_of
from surefoot.sim.quantities import QUANTITIES
from surefoot.sim.randomisation import (
    TRAINING,
    Per,
    Uniform,
    Variation,
    by_part,
    describe,
    randomise,
    read,
    require_fit,
    resized,
)
from surefoot.sim.robot_batch import RobotBatch
from surefoot.sim.walk import WalkEnv

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
FURTHER = (
    Variation(quantities.joint_damping, Uniform(0.0, 0.05), Per.JOINT),
    Variation(quantities.joint_delay, Uniform(0.0, 0.02)),
    Variation(quantities.accelerometer_bias, Uniform(-0.3, 0.3), Per.AXIS),
)
ANGULAR_PUSH = Variation(
    quantities.angular_push, Uniform(0.4, 0.5), Per.AXIS, every=Uniform(1.0, 1.0)
)


def robots(count: int = 1, name: str = "quadruped") -> RobotBatch:
    """In the air, still."""
    robot = load_robot(name)
    batch = RobotBatch(robot, count, nthread=1)
    qpos = np.concatenate(([0, 0, 1, 1, 0, 0, 0], robot.default_pose))
    batch.reset(np.arange(count), np.tile(qpos, (count, 1)), np.zeros((count, batch.model.nv)))
    return batch


def everything(batch: RobotBatch, index: int) -> dict[str, np.ndarray]:
    model = batch.batch.get_model(index)
    fields = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    fields |= {name: values[index] for name, values in vars(batch.sensor_errors).items()}
    return {k: v.copy() for k, v in fields.items() if isinstance(v, np.ndarray)}


# --- by hand ------------------------------------------------------------------------------------


def test_a_joints_viscous_friction_takes_its_torque():
    """At 2 rad/s and 0.05 N·m·s/rad 0.1 N·m are gone, from that joint alone."""
    batch = robots(2)
    values = np.zeros((1, N))
    values[0, 4] = 0.05
    quantities.joint_damping(batch, np.array([1]), values)
    batch.batch.set_const(np.array([1]))
    assert (batch.field("dof_damping")[0] == 0).all()
    batch.qvel[:, 6:] = 2.0
    data = mujoco.MjData(model := batch.batch.get_model(1))
    data.qpos[:], data.qvel[:] = batch.qpos[1], batch.qvel[1]
    mujoco.mj_forward(model, data)
    assert data.qfrc_damper[6:].tolist() == pytest.approx([-0.1 if i == 4 else 0 for i in range(N)])


def test_what_joints_say_is_as_old_as_it_was_drawn():
    batch = robots(3)
    quantities.joint_delay(batch, np.arange(3), np.array([[0.0], [0.005], [0.02]]))
    before = batch.joint_pos.copy(), batch.joint_vel.copy()
    batch.step(np.tile(ROBOT.default_pose + 0.2, (3, 1)))
    said = batch.measure(np.random.default_rng(0))
    for robot, share in enumerate((0.0, 0.25, 1.0)):  # of a control period of 20 ms
        for name, old, new in zip(
            ("joint_pos", "joint_vel"), before, (batch.joint_pos, batch.joint_vel), strict=True
        ):
            expected = share * old[robot] + (1 - share) * new[robot]
            np.testing.assert_allclose(said[name][robot], expected, atol=1e-12)
    assert np.abs(batch.joint_pos[0] - before[0][0]).max() > 1e-3


def test_an_accelerometer_that_is_wrong_tilts_gravity():
    """1 m/s² along x of 9.81 m/s² along z: down seems to be behind by atan(1 / 9.81)."""
    batch = robots()
    quantities.accelerometer_bias(batch, np.array([0]), np.array([[1.0, 0.0, 0.0]]))
    gravity = batch.measure(np.random.default_rng(0))["gravity"][0]
    angle = np.arctan2(1.0, 9.81)
    np.testing.assert_allclose(gravity, [-np.sin(angle), 0.0, -np.cos(angle)], atol=1e-12)


def test_an_angular_push_turns_the_base_it_is_due_for():
    struck, left = (WalkEnv(2, ROBOT, [ANGULAR_PUSH], nthread=1) for _ in range(2))
    for env in (struck, left):
        env.reset(seed=5)
        env.randomiser.next_draw[:] = 100.0
        env.robots.qpos[:, 2] += 0.3  # in the air
    struck.randomiser.next_draw[0, 1] = 0.0
    for env in (struck, left):
        env.randomiser.advance(env.time, env.np_random)
        assert env.pushed.tolist() == [False, env is struck]
    change = struck.robots.qvel - left.robots.qvel
    assert not change[0].any()
    drawn = struck.drawn["angular_push"]
    np.testing.assert_allclose(change[1, 3:6], drawn[1])
    assert not change[1, :3].any() and not change[1, 6:].any()
    assert (drawn[1] >= 0.4).all() and np.isnan(drawn[0]).all()


def test_nothing_compounds_and_nothing_else_changes():
    once, often, untouched = robots(3), robots(3), robots(3)
    randomise(FURTHER, once, np.array([0, 2]), np.random.default_rng(9))
    for seed in (7, 8, 9):
        randomise(FURTHER, often, np.array([0, 2]), np.random.default_rng(seed))
    found = [everything(batch, 2) for batch in (once, often, untouched)]
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], name)
    differs = {k for k, v in found[0].items() if not np.array_equal(v, found[2][k])}
    assert differs == {"dof_damping", "joint_delay", "gravity_bias"}
    neighbour = everything(often, 1)
    for name, value in everything(untouched, 1).items():
        np.testing.assert_array_equal(value, neighbour[name], name)


def test_a_walk_goes_on_from_what_was_drawn():
    """What sensors are late by, and what was drawn, is part of the state."""

    def steps(env: WalkEnv) -> list[np.ndarray]:
        return [env.step(np.full((4, N), 0.1, np.float32))[0] for _ in range(30)]

    one, two = (WalkEnv(4, ROBOT, (*FURTHER, ANGULAR_PUSH), nthread=1) for _ in range(2))
    one.reset(seed=1)
    steps(one)
    state = one.get_state()
    two.reset(seed=2)
    two.set_state(state)
    for a, b in zip(steps(one), steps(two), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in one.drawn.items():
        np.testing.assert_array_equal(values, two.drawn[name])


# --- whom the lists suit ------------------------------------------------------------------------


def test_ranges_by_hand_for_another_size():
    def ends(variations: Any, name: str) -> tuple[float, float]:
        (span,) = [v.distribution for v in variations if v.name == name]
        return span.low, span.high

    larger = resized(TRAINING, mass=5.0, length=2.0, speed=1.5)
    assert ends(larger, "payload") == pytest.approx((-0.25, 1.0))
    assert ends(larger, "centre_of_mass") == pytest.approx((-0.024, 0.024))
    assert ends(larger, "push") == pytest.approx((-0.45, 0.45))
    same = {"payload", "centre_of_mass", "push"}
    assert [v for v in larger if v.name not in same] == [v for v in TRAINING if v.name not in same]
    assert resized(TRAINING) == TRAINING


@pytest.mark.parametrize(
    ("name", "gait"), [("quadruped", QUADRUPED), ("go1", GO1), ("biped", BIPED)]
)
def test_each_gaits_list_suits_its_robot(name: str, gait: Any):
    batch = robots(1, name)
    assert gait_of(batch.robot) is gait
    require_fit(gait.randomisation, batch)
    assert [v.name for v in gait.randomisation] == [v.name for v in TRAINING]
    weight = batch.model.body_mass.sum()
    (load,) = [v.distribution for v in gait.randomisation if v.name == "payload"]
    assert load.high / weight == pytest.approx(0.2 / 2.298, rel=0.02)
    assert load.low / weight == pytest.approx(-0.05 / 2.298, rel=0.02)
    (push,) = [v.distribution for v in gait.randomisation if v.name == "push"]
    assert push.high < gait.evaluation_push  # an evaluation's are harder


def test_the_quadrupeds_list_is_the_one_that_it_was_trained_with():
    assert QUADRUPED.randomisation is TRAINING
    assert WalkEnv(1, ROBOT, nthread=1).randomisation == TRAINING


@pytest.mark.parametrize("name", ["go1", "biped"])
def test_another_robot_beyond_its_training_stands_for_a_moment(name: str):
    robot = load_robot(name)
    env = WalkEnv(20, robot, widened(gait_of(robot).randomisation, robot), nthread=1)
    env.reset(seed=1)
    for _ in range(5):
        _, _, terminated, _, _ = env.step(np.zeros((20, len(robot.joints)), np.float32))
        assert not terminated.any() and not env.diverged.any()
    masses = env.robots.field("body_mass")[:, 1:]
    assert (masses > 0).all() and np.ptp(masses.sum(1)) > 0.02 * masses.sum(1).mean()


def test_every_quantity_can_be_widened():
    for vary, possible in QUANTITIES.items():
        low, high = possible.bounds(ROBOT)
        nominal = possible.nominal
        assert low <= nominal <= high, vary.__name__
        span = Uniform(max(low, nominal - 0.001), min(high, nominal + 0.001))
        (wide,) = widened([Variation(vary, span, possible.per[0])], ROBOT)
        assert low <= wide.distribution.low <= span.low
        assert span.high <= wide.distribution.high <= high
        (far,) = widened([Variation(vary, span, possible.per[0])], ROBOT, by=1e4)
        assert low <= far.distribution.low <= far.distribution.high <= high


def test_wide_delays_stay_within_a_control_period():
    (wide,) = widened([Variation(quantities.joint_delay, Uniform(0.0, 0.015))], ROBOT)
    assert wide.distribution == Uniform(0.0, ROBOT.control_period)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("vary", [quantities.imu_delay, quantities.joint_delay])
def test_a_delay_longer_than_a_control_period_is_refused(vary: Any):
    late = Variation(vary, Uniform(0.0, 0.021))
    with pytest.raises(
        UsageError, match=r"values from 0 to 0.021, allowed for quadruped is from 0 to 0.02"
    ):
        WalkEnv(1, ROBOT, [late])


@pytest.mark.parametrize("name", ["mass_scale", "payload", "centre_of_mass", "armature"])
def test_what_would_compound_within_an_episode_is_refused(name: str):
    vary = getattr(quantities, name)
    with pytest.raises(
        UsageError, match=f"{name}: found it during an episode, allowed there are f"
    ):
        Variation(vary, Uniform(1.0, 1.0), every=Uniform(1.0, 2.0))


@pytest.mark.parametrize("every", [(0.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (-1.0, 1.0)])
def test_a_time_that_is_none_is_refused(every: tuple[float, float]):
    with pytest.raises(UsageError, match=r"push: found it every .* s, allowed is more than 0"):
        Variation(quantities.push, Uniform(-1.0, 1.0), Per.AXIS, every=Uniform(*every))


def test_a_payload_that_takes_more_than_there_is_is_refused():
    light = Variation(quantities.payload, Uniform(-2.0, -2.0))
    with pytest.raises(UsageError, match=r"payload: found values from -2 to -2, allowed for"):
        WalkEnv(1, ROBOT, [light])
    robots = RobotBatch(ROBOT, 2)
    drawn = np.array([[-1.0], [-2.0]])
    with pytest.raises(UsageError, match=r"found -2 kg for base, allowed is more than -1.35"):
        quantities.payload(robots, np.arange(2), drawn)


def test_a_part_that_there_is_not_is_refused():
    rows = [{**describe(TRAINING)[0], "per": "leg"}]
    with pytest.raises(UsageError, match="found leg, allowed are robot, body, joint, axis"):
        read(rows)


# --- what was drawn -----------------------------------------------------------------------------


def test_an_environment_knows_what_it_drew():
    env = WalkEnv(3, ROBOT, nthread=1)
    env.reset(seed=4)
    robots, drawn = env.robots, by_part(env.drawn, env.randomisation, env.robots)
    np.testing.assert_array_equal(
        drawn["foot_friction"], robots.field("geom_friction")[:, robots.foot_geoms[0], 0]
    )
    knee = ROBOT.joint_names.index("front_left_knee")
    np.testing.assert_allclose(
        drawn["stiffness.front_left_knee"] * ROBOT.joints[knee].kp,
        robots.field("actuator_gainprm")[:, knee, quantities.CONTROLLER_KP],
    )
    shank = robots.model.body("rear_right_shank").id
    np.testing.assert_allclose(
        drawn["mass_scale.rear_right_shank"] * robots.model.body_mass[shank],
        robots.field("body_mass")[:, shank],
    )
    np.testing.assert_array_equal(drawn["gyro_bias.z"], robots.sensor_errors.gyro_bias[:, 2])
    assert np.isnan(drawn["push.x"]).all()  # not yet
    assert {"mass_scale.world", "push.z"}.isdisjoint(drawn)
    before = {name: values.copy() for name, values in drawn.items()}
    env._reset(np.array([1]))
    after = by_part(env.drawn, env.randomisation, env.robots)
    for name in set(after) - {"push.x", "push.y"}:
        assert (before[name] == after[name]).tolist() == [True, False, True], name
