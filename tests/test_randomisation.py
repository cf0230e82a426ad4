"""Randomisation: each term changes what it says and nothing else, within bounds, consistently."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from surefoot.models.errors import UsageError
from surefoot.models.limits import Output
from surefoot.models.robot_file import load_robot
from surefoot.sim import randomisation as vary
from surefoot.sim.quantities import joint_damping
from surefoot.sim.randomisation import (
    ARM_TRAINING,
    TRAINING,
    Per,
    Uniform,
    Variation,
    describe,
    disturb,
    fitted,
    randomise,
    read,
    replaced,
    require_fit,
)
from surefoot.sim.reach import ReachEnv
from surefoot.sim.robot_batch import RobotBatch
from surefoot.sim.servos import CONTROLLER_KD, CONTROLLER_KP, VMAX
from surefoot.sim.walk import WalkEnv

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
TERMS = {term.name: term for term in TRAINING}
BASE = 1  # the body

# Each term's field, and the part of one robot's field that it may change.
MODEL_FIELDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "foot_friction": {"geom_friction": (..., 0)},
    "mass_scale": {"body_mass": (...,), "body_inertia": (...,)},
    "payload": {"body_mass": (BASE,), "body_inertia": (BASE,)},
    "centre_of_mass": {"body_ipos": (BASE,)},
    "motor_strength": {"actuator_forcerange": (...,)},
    "supply_voltage": {"actuator_gainprm": (..., VMAX)},
    "stiffness": {"actuator_gainprm": (..., CONTROLLER_KP)},
    "damping": {"actuator_gainprm": (..., CONTROLLER_KD)},
    "joint_friction": {"dof_frictionloss": (slice(6, None),)},
    "armature": {"dof_armature": (slice(6, None),)},
    "command_delay": {"actuator_delay": (...,)},
}
SENSOR_FIELDS = {
    "imu_delay": "imu_delay",
    "encoder_offset": "encoder_offset",
    "gyro_bias": "gyro_bias",
    "imu_mounting": "mounting",
    "sensor_noise": "noise",
}


FIELDS = {**MODEL_FIELDS, **{name: {field} for name, field in SENSOR_FIELDS.items()}}


def batch(num_envs: int = 3) -> RobotBatch:
    robots = RobotBatch(ROBOT, num_envs, nthread=1)
    qpos = np.concatenate(([0, 0, 1, 1, 0, 0, 0], ROBOT.default_pose))
    robots.reset(
        np.arange(num_envs), np.tile(qpos, (num_envs, 1)), np.zeros((num_envs, robots.model.nv))
    )
    return robots


def snapshot(robots: RobotBatch, index: int) -> dict[str, np.ndarray]:
    """All that one robot is: every array of its model, its state, its sensors' faults."""
    model = robots.batch.get_model(index)
    names = [name for name in dir(model) if not name.startswith("_")]
    arrays = {name: getattr(model, name) for name in names}
    whole = {k: np.array(v) for k, v in arrays.items() if isinstance(v, np.ndarray)}
    whole |= {k: v[index].copy() for k, v in vars(robots.sensor_errors).items()}
    return whole | {"qpos": robots.qpos[index].copy(), "qvel": robots.qvel[index].copy()}


def differences(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


def draw(
    robots: RobotBatch, *terms: Variation, ids: list[int], seed: int = 0
) -> dict[str, np.ndarray]:
    return randomise(terms, robots, np.array(ids), np.random.default_rng(seed))


# --- one term at a time -----------------------------------------------------------------------


def test_the_table_covers_training():
    assert set(TERMS) == {*MODEL_FIELDS, *SENSOR_FIELDS, "push"}
    assert len(TERMS) == len(TRAINING), "no term twice"


@pytest.mark.parametrize("name", TERMS)
def test_a_term_changes_what_it_says_and_nothing_else(name: str):
    robots = batch()
    before = [snapshot(robots, i) for i in range(3)]
    disturb(TERMS[name], robots, np.array([1]), np.random.default_rng(0))
    after = [snapshot(robots, i) for i in range(3)]
    assert differences(before[0], after[0]) == differences(before[2], after[2]) == set()
    fields = MODEL_FIELDS.get(name, {})
    sensors = {SENSOR_FIELDS[name]: (...,)} if name in SENSOR_FIELDS else {}
    allowed = {**fields, **sensors} or {"qvel": (slice(0, 2),)}
    assert differences(before[1], after[1]) == set(allowed)
    for field, part in allowed.items():
        rest_before, rest_after = before[1][field].copy(), after[1][field].copy()
        assert (rest_before[part] != rest_after[part]).any()
        rest_before[part] = rest_after[part] = 0.0
        np.testing.assert_array_equal(rest_before, rest_after)


@pytest.mark.parametrize(
    ("name", "columns"),
    [("foot_friction", 1), ("mass_scale", 14), ("stiffness", N), ("gyro_bias", 3)],
)
def test_what_was_sampled_is_returned(name: str, columns: int):
    robots = batch()
    sampled = draw(robots, TERMS[name], ids=[0, 2])
    assert sampled[name].shape == (2, columns)
    distribution = TERMS[name].distribution
    assert (sampled[name] >= distribution.low).all()
    assert (sampled[name] <= distribution.high).all()
    assert len(np.unique(sampled[name])) == 2 * columns


def constant(name: str, value: float) -> Variation:
    term = TERMS[name]
    return Variation(term.vary, Uniform(value, value), term.per)


def test_values_by_hand():
    robots = batch(1)
    nominal = robots.model
    draw(
        robots,
        constant("foot_friction", 0.5),
        constant("mass_scale", 1.1),
        constant("payload", 0.2),
        constant("centre_of_mass", 0.01),
        constant("motor_strength", 0.9),
        constant("supply_voltage", 0.8),
        constant("stiffness", 1.2),
        constant("damping", 0.5),
        constant("joint_friction", 2.0),
        constant("armature", 1.25),
        constant("command_delay", 0.01),
        constant("imu_delay", 0.005),
        ids=[0],
    )
    field = {name: robots.field(name)[0] for fields in MODEL_FIELDS.values() for name in fields}
    np.testing.assert_array_equal(field["geom_friction"][robots.foot_geoms, 0], 0.5)
    others = np.setdiff1d(np.arange(nominal.ngeom), robots.foot_geoms)
    np.testing.assert_array_equal(
        field["geom_friction"][others], nominal.geom_friction[others], "the belly keeps its own"
    )
    np.testing.assert_allclose(field["body_mass"][2:], 1.1 * nominal.body_mass[2:])
    assert field["body_mass"][BASE] == pytest.approx(1.1 * nominal.body_mass[BASE] + 0.2)
    np.testing.assert_allclose(field["body_ipos"][BASE], nominal.body_ipos[BASE] + 0.01)
    np.testing.assert_allclose(field["actuator_forcerange"], [[-1.8, 1.8]] * N)
    gains = field["actuator_gainprm"]
    np.testing.assert_allclose(gains[:, VMAX], 9.6)  # 0.8 · 12 V
    np.testing.assert_allclose(gains[:, CONTROLLER_KP], 16.56)  # 1.2 · 13.8
    np.testing.assert_allclose(gains[:, CONTROLLER_KD], 0.185)  # 0.5 · 0.37
    np.testing.assert_allclose(field["dof_frictionloss"], [0] * 6 + [0.1] * N)
    np.testing.assert_allclose(field["dof_armature"], [0] * 6 + [0.0175] * N)
    np.testing.assert_allclose(field["actuator_delay"], 0.01)
    assert robots.sensor_errors.imu_delay[0, 0] == 0.25  # of a control period of 20 ms


# --- consistency ------------------------------------------------------------------------------


def test_inertia_follows_mass():
    env = WalkEnv(6, ROBOT, nthread=1)
    env.reset(seed=1)
    robots, nominal = env.robots, env.robots.model
    mass = robots.field("body_mass")[:, 1:] / nominal.body_mass[1:]
    inertia = robots.field("body_inertia")[:, 1:] / nominal.body_inertia[1:]
    np.testing.assert_allclose(inertia, np.repeat(mass[:, :, None], 3, axis=2))
    assert mass.std() > 0.02


def test_mujocos_derived_constants_follow():
    import mujoco  # after surefoot.sim, which tells it how to render

    env = WalkEnv(3, ROBOT, nthread=1)
    env.reset(seed=2)
    for _ in range(3):
        env._reset(np.array([1]))  # one alone: the others keep theirs
    for index in range(3):
        found = env.robots.batch.get_model(index)
        expected = env.robots.batch.get_model(index)
        mujoco.mj_setConst(expected, mujoco.MjData(expected))
        nominal = env.robots.model
        assert found.body_subtreemass[BASE] == pytest.approx(found.body_mass[1:].sum())
        for name in ("body_subtreemass", "dof_invweight0", "body_invweight0", "actuator_acc0"):
            value = getattr(found, name)
            np.testing.assert_allclose(value, getattr(expected, name), rtol=1e-12)
            assert not np.allclose(value, getattr(nominal, name), rtol=1e-6), "it was stale"


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if term.every is None])
def test_a_term_alone_does_not_compound(name: str):
    once, often = batch(), batch()
    draw(once, TERMS[name], ids=[0, 2], seed=9)
    for seed in (7, 8, 9):
        draw(often, TERMS[name], ids=[0, 2], seed=seed)
    for index in range(3):
        assert not differences(snapshot(once, index), snapshot(often, index))


def test_a_robot_drawn_without_a_term_is_nominal_in_it_again():
    robots, untouched = batch(), batch()
    draw(robots, *(term for term in TRAINING if term.every is None), ids=[0, 1, 2])
    draw(robots, TERMS["foot_friction"], ids=[0, 1, 2], seed=3)
    draw(untouched, TERMS["foot_friction"], ids=[0, 1, 2], seed=3)
    for index in range(3):
        assert not differences(snapshot(robots, index), snapshot(untouched, index))


def test_nothing_compounds():
    env = WalkEnv(16, ROBOT, nthread=1)
    env.reset(seed=3)
    robots, nominal = env.robots, env.robots.model
    ids = np.arange(16)

    def ratios() -> dict[str, np.ndarray]:
        field = robots.field
        return {
            "mass_scale": field("body_mass")[:, 2:] / nominal.body_mass[2:],
            "payload": field("body_mass")[:, BASE] - nominal.body_mass[BASE],
            "centre_of_mass": field("body_ipos")[:, BASE] - nominal.body_ipos[BASE],
            "motor_strength": field("actuator_forcerange") / nominal.actuator_forcerange,
            "supply_voltage": field("actuator_gainprm")[..., VMAX] / 12.0,
            "stiffness": field("actuator_gainprm")[..., CONTROLLER_KP] / 13.8,
            "damping": field("actuator_gainprm")[..., CONTROLLER_KD] / 0.37,
            "joint_friction": field("dof_frictionloss")[:, 6:] / 0.05,
            "armature": field("dof_armature")[:, 6:] / 0.014,
            "foot_friction": field("geom_friction")[:, robots.foot_geoms, 0],
            "command_delay": field("actuator_delay").copy(),
            "imu_delay": robots.sensor_errors.imu_delay * ROBOT.control_period,
            "encoder_offset": robots.sensor_errors.encoder_offset.copy(),
            "gyro_bias": robots.sensor_errors.gyro_bias.copy(),
            "imu_mounting": robots.sensor_errors.mounting.copy(),
            "sensor_noise": robots.sensor_errors.noise.copy(),
        }

    seen = []
    for _ in range(100):
        env._reset(ids)
        seen.append(ratios())
    assert set(seen[0]) == set(TERMS) - {"push"}
    for name in seen[0]:
        values = np.array([ratio[name].reshape(16, -1) for ratio in seen])
        bounds = TERMS[name].distribution
        low, high = bounds.low, bounds.high
        if name == "payload":  # on a base whose own mass is scaled by up to 7 %
            low, high = low - 0.07 * nominal.body_mass[BASE], high + 0.07 * nominal.body_mass[BASE]
        assert low - 1e-9 <= values.min(), name
        assert values.max() <= high + 1e-9, name
        if name != "payload":
            middle, width = (low + high) / 2, high - low
            assert values[-50:].mean() == pytest.approx(middle, abs=0.06 * width), name
            assert values[-50:].std() == pytest.approx(width / 12**0.5, rel=0.1), name


def test_two_environments_differ_and_so_do_two_episodes():
    env = WalkEnv(2, ROBOT, nthread=1)
    env.reset(seed=4)
    first, second = (snapshot(env.robots, i) for i in range(2))
    varied = {name for fields in MODEL_FIELDS.values() for name in fields}
    varied |= set(SENSOR_FIELDS.values())
    assert varied <= differences(first, second)
    env._reset(np.array([0]))
    assert varied <= differences(first, snapshot(env.robots, 0))
    again = snapshot(env.robots, 1)
    assert differences(second, again) == set(), "the other robot keeps its own"


def test_a_stronger_battery_makes_a_faster_motor():
    """The torque-speed line moves with the supply: at 6 rad/s, 3 · (V / 12 − 6 / 8.06) N·m."""
    robots = batch(2)
    vary.supply_voltage(robots, np.array([0, 1]), np.array([[1.0], [0.9]]))
    robots.qvel[:, 6:] = 6.0
    robots.ctrl[:] += 1.0
    robots.delay_buffers[:, robots._buffered_ctrl] += 1.0
    robots.batch.forward()
    np.testing.assert_allclose(robots.joint_torque[0], 3 * (1.0 - 6 / 8.06), atol=1e-9)
    np.testing.assert_allclose(robots.joint_torque[1], 3 * (0.9 - 6 / 8.06), atol=1e-9)


def test_slippery_feet_slip():
    """On its feet, shoved along: the friction that was drawn stops it, the floor's does not."""
    robots = batch(2)
    vary.foot_friction(robots, np.array([0, 1]), np.array([[1.1], [0.1]]))
    qpos = robots.qpos.copy()
    qpos[:, 2] = 0.17
    robots.reset(np.arange(2), qpos, np.zeros((2, 6 + N)))
    for _ in range(25):
        robots.step(np.tile(ROBOT.default_pose, (2, 1)))
    start = robots.qpos[:, 0].copy()
    robots.qvel[:, 0] += 0.5
    for _ in range(25):
        robots.step(np.tile(ROBOT.default_pose, (2, 1)))
    gone = robots.qpos[:, 0] - start
    assert gone[1] > 2 * abs(gone[0])


# --- pushes -----------------------------------------------------------------------------------


def test_a_push_moves_only_the_robots_it_is_due_for():
    rare = Variation(vary.push, Uniform(0.2, 0.3), Per.AXIS, every=Uniform(1e6, 1e6))
    pushed, left = (WalkEnv(3, ROBOT, [rare], nthread=1) for _ in range(2))
    for env in (pushed, left):
        env.reset(seed=5)
        env.robots.qpos[:, 2] += 0.3  # in the air, where nothing else acts on the velocity
    pushed.randomiser.next_draw[0, 1] = 0.0
    still = np.zeros((3, N), np.float32)
    pushed.step(still)
    left.step(still)
    change = pushed.robots.qvel - left.robots.qvel
    np.testing.assert_array_equal(change[[0, 2]], 0.0)
    assert (change[1, :2] >= 0.2 - 1e-6).all()
    assert (change[1, :2] <= 0.3 + 1e-6).all()
    np.testing.assert_allclose(change[1, 2:], 0.0, atol=1e-6)
    assert pushed.randomiser.next_draw[0, 1] == 1e6, "and not soon again"
    np.testing.assert_array_equal(pushed.robots.joint_pos[0], left.robots.joint_pos[0])


def test_pushes_come_as_often_as_they_should():
    term = Variation(vary.push, Uniform(-0.01, 0.01), Per.AXIS, every=Uniform(0.2, 0.4))
    env = WalkEnv(4, ROBOT, [term], nthread=1)
    env.reset(seed=6)
    count = np.zeros(4)
    for _ in range(300):  # 6 s
        before = env.randomiser.next_draw.copy()
        env.step(np.zeros((4, N), np.float32))
        moved = env.randomiser.next_draw - before
        count += moved[0] > 0
        assert ((moved == 0) | ((moved >= 0.2) & (moved <= 0.4))).all()
    np.testing.assert_allclose(count, 6 / 0.3, atol=4)


# --- what is possible ---------------------------------------------------------------------------

ARM = load_robot("arm")


def arms(num_envs: int = 3, output: Output = "joint_target") -> RobotBatch:
    return RobotBatch(ARM, num_envs, nthread=1, output=output)


def test_each_lists_terms_fit_its_robots():
    require_fit(TRAINING, batch(1))
    require_fit(ARM_TRAINING, arms(1))
    fitting = fitted(ARM_TRAINING, "joint_torque", load_robot("arm"))
    require_fit(fitting, arms(1, "joint_torque"))
    left_out = {v.name for v in ARM_TRAINING} - {v.name for v in fitting}
    assert left_out == {"stiffness", "damping"}


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("foot_friction", "feet"),
        ("push", "a free base"),
        ("payload", "a free base"),
        ("centre_of_mass", "a free base"),
        ("gyro_bias", "an IMU"),
        ("imu_delay", "an IMU"),
        ("imu_mounting", "an IMU"),
    ],
)
def test_a_term_that_a_robot_has_nothing_for_is_refused(name: str, lacks: str):
    with pytest.raises(UsageError) as caught:
        ReachEnv(1, ARM, randomisation=[TERMS[name]])
    line = str(caught.value)
    assert line.startswith(f"randomisation: found {name} for arm, a robot without {lacks}, allowed")
    allowed = line.partition("allowed are ")[2].split(", ")
    assert {v.name for v in ARM_TRAINING} <= set(allowed)
    assert not {"foot_friction", "push", "imu_delay"} & set(allowed)


def test_torques_have_no_stiffness():
    with pytest.raises(UsageError, match="found stiffness for arm, a robot without position serv"):
        ReachEnv(1, ARM, randomisation=[TERMS["stiffness"]], output="joint_torque")


@pytest.mark.parametrize(
    ("vary", "low", "high", "per", "message"),
    [
        (vary.mass_scale, 0.0, 1.0, Per.BODY, "mass_scale: found values from 0 to 1, allowed"),
        (vary.foot_friction, 0.5, 0.4, Per.ROBOT, "found values from 0.5 to 0.4, .* smaller first"),
        (vary.payload, 0.2, -0.1, Per.ROBOT, "found values from 0.2 to -0.1, .* smaller first"),
        (vary.command_delay, 0.0, 0.03, Per.ROBOT, "found values from 0 to 0.03, .* to 0.02"),
        (vary.stiffness, np.nan, 1.0, Per.JOINT, "stiffness: found values from nan"),
        (vary.foot_friction, 0.4, 1.0, Per.JOINT, "per joint, allowed is one per robot"),
        (
            vary.gyro_bias,
            0.0,
            1.0,
            Per.BODY,
            "value per body, allowed is one per robot or axis",
        ),
    ],
)
def test_what_is_not_possible_is_refused(
    vary: Any, low: float, high: float, per: Per, message: str
):
    with pytest.raises(UsageError, match=message):
        Variation(vary, Uniform(low, high), per)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("payload", Uniform(0, 1)), "found 'payload', allowed is one of the functions foot_frict"),
        ((vary.payload, (0.0, 0.2)), r"payload: found \(0.0, 0.2\), allowed is Uniform\(low, high"),
        ((vary.payload, Uniform("0", 1)), r"payload: found Uniform\(low='0', high=1\), allowed is"),
        (
            (vary.stiffness, Uniform(1, 1), "joint"),
            "found one value per 'joint', .* Per.JOINT, Per",
        ),
        (
            (vary.push, Uniform(0, 1), Per.AXIS, (2.0, 4.0)),
            r"push: found \(2.0, 4.0\), allowed is U",
        ),
    ],
)
def test_what_is_of_another_kind_is_refused(fields: Any, message: str):
    with pytest.raises(UsageError, match=message):
        Variation(*fields)


def test_a_list_of_something_else_is_refused():
    pair: Any = (vary.payload, Uniform(0.0, 0.2))
    with pytest.raises(
        UsageError, match=r"randomisation: found .*payload.* allowed are Variations"
    ):
        WalkEnv(1, randomisation=[pair])


def test_a_quantity_varies_once():
    scale = Variation(vary.mass_scale, Uniform(1.5, 1.5))
    with pytest.raises(UsageError, match="randomisation: found mass_scale 2 times, allowed is onc"):
        WalkEnv(1, randomisation=(scale, scale))


def test_one_takes_the_others_place():
    heavier = Variation(vary.payload, Uniform(0.0, 0.4))
    further = Variation(joint_damping, Uniform(0.0, 0.02), Per.JOINT)
    found = replaced(TRAINING, further, heavier)
    names = [v.name for v in TRAINING]
    assert [v.name for v in found] == [*names, "joint_damping"]
    assert found[names.index("payload")] is heavier and found[-1] is further
    assert len(WalkEnv(1, randomisation=found, nthread=1).randomisation) == len(TRAINING) + 1


def test_more_than_a_base_weighs_is_not_taken_from_it():
    base = WalkEnv(1, ROBOT, ()).robots.model.body_mass[BASE]
    scaled = Variation(vary.mass_scale, Uniform(0.5, 1.0))
    taken = Variation(vary.payload, Uniform(-0.9 * base, 0.0))
    WalkEnv(1, ROBOT, (taken,))
    allowed = f"for quadruped is from {-0.475 * base:g} to inf"
    with pytest.raises(UsageError, match=f"payload: found values from .* to 0, allowed {allowed}"):
        WalkEnv(1, ROBOT, (scaled, taken))


def test_a_faster_controller_has_shorter_delays():
    fast = replace(ROBOT, control_period=0.01)
    drawn = {v.name: v.distribution for v in WalkEnv(1, fast, nthread=1).randomisation}
    assert drawn["imu_delay"] == Uniform(0.0, 0.01)
    assert {v.name: v.distribution for v in TRAINING}["imu_delay"] == Uniform(0.0, 0.018)


def test_a_quantity_of_ones_own_is_not_judged():
    def joint_colour(robots: RobotBatch, ids: np.ndarray, value: np.ndarray) -> None:
        seen.append(value.shape)

    seen: list[tuple[int, ...]] = []
    own = Variation(joint_colour, Uniform(-9.0, 9.0), Per.JOINT)
    draw(arms(), own, ids=[0, 2])
    assert seen == [(2, 4)]
    assert fitted([own], "joint_target", ROBOT) == (own,)


@pytest.mark.parametrize("name", [v.name for v in ARM_TRAINING])
def test_a_term_changes_an_arm_as_it_says(name: str):
    term = {v.name: v for v in ARM_TRAINING}[name]
    robots = arms()
    before = [snapshot(robots, i) for i in range(3)]
    disturb(term, robots, np.array([1]), np.random.default_rng(0))
    after = [snapshot(robots, i) for i in range(3)]
    assert differences(before[0], after[0]) == differences(before[2], after[2]) == set()
    fields = {"held_mass": {"body_mass", "body_inertia"}, **{k: {*v} for k, v in FIELDS.items()}}
    assert differences(before[1], after[1]) == fields[name]


def test_what_the_hand_holds_is_in_the_hand():
    robots = arms(1)
    draw(robots, Variation(vary.held_mass, Uniform(0.1, 0.1)), ids=[0])
    change = robots.field("body_mass")[0] - robots.model.body_mass
    hand = robots.model.body("hand").id
    assert change[hand] == pytest.approx(0.1)
    assert np.count_nonzero(change) == 1
    factor = 1 + 0.1 / robots.model.body_mass[hand]
    np.testing.assert_allclose(
        robots.field("body_inertia")[0, hand], factor * robots.model.body_inertia[hand]
    )


# --- for the log ------------------------------------------------------------------------------


def test_describe_names_every_term_and_its_bounds():
    table = describe(TRAINING)
    assert [row["what"] for row in table] == list(TERMS)
    assert table[0] == {
        "what": "foot_friction", "low": 0.4, "high": 1.1, "per": "robot", "every": None,
    }  # fmt: skip
    assert table[-1] == {
        "what": "push", "low": -0.3, "high": 0.3, "per": "axis", "every": [2.0, 6.0],
    }  # fmt: skip


def test_what_was_described_is_read_again():
    for variations in (TRAINING, ARM_TRAINING):
        assert read(describe(variations)) == variations
        assert read(json.loads(json.dumps(describe(variations)))) == variations


def test_a_term_that_there_is_not_is_refused():
    rows = [{**describe(TRAINING)[0], "what": "foot_frictoin"}]
    with pytest.raises(UsageError, match="found foot_frictoin, allowed are foot_friction, mass_sc"):
        read(rows)
