"""Contact sensors: what robot.toml says, what the feet feel, and where it goes from there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
from surefoot.deploy.checks import non_finite
from surefoot.hardware.interface import Sample
from surefoot.models.errors import RobotFileError, UsageError
from surefoot.models.observation import ContactForce, input_widths, width
from surefoot.models.robot import ContactSensor
from surefoot.models.robot_file import available_robots, load_robot, parse_robot
from surefoot.sim import quantities, robot_batch
from surefoot.sim.plant import MujocoPlant
from surefoot.sim.quantities import Per
from surefoot.sim.randomisation import Uniform, Variation, by_part, describe, read, require_fit
from surefoot.sim.robot_batch import RobotBatch
from surefoot.sim.sensors import SensorErrors, measured_contact
from surefoot.sim.servos import training_model
from surefoot.sim.simulated_robot import SimulatedRobot
from surefoot.sim.walk import WalkEnv
from surefoot.sim.world import pose_on_floor

ROBOT = load_robot("biped")
N = len(ROBOT.joints)
FEET = ["left_heel", "left_toe", "right_heel", "right_toe"]
G = 9.81
SWAPPED = [2, 3, 0, 1]  # left and right exchanged


def placed(joint_pos: np.ndarray, lift: float = 0.0) -> RobotBatch:
    """A robot at rest in a pose (n,), so far above where it touches the floor [m]."""
    robots = RobotBatch(ROBOT, 1, nthread=1)
    qpos = pose_on_floor(robots.model, joint_pos)
    qpos[2] += lift
    robots.reset(np.array([0]), qpos[None], np.zeros((1, robots.model.nv)))
    return robots


def stood(seconds: float = 1.0) -> RobotBatch:
    """A robot that has stood for a while."""
    robots = placed(ROBOT.default_pose)
    for _ in range(round(seconds / ROBOT.control_period)):
        robots.step(ROBOT.default_pose[None])
    return robots


def pose(**angles: float) -> np.ndarray:
    """The standing pose with other angles of some joints [rad]."""
    changed = ROBOT.default_pose.copy()
    for name, angle in angles.items():
        changed[ROBOT.joint_names.index(name)] = angle
    return changed


# --- what robot.toml says -------------------------------------------------------------------------


def test_the_biped_has_four_and_the_others_none():
    assert [sensor.name for sensor in ROBOT.contact_sensors] == FEET
    assert {"contact_sensor.range", "contact_sensor.noise"} <= set(ROBOT.assumed)
    others = [load_robot(name) for name in available_robots() if name != "biped"]
    assert others and not any(robot.contact_sensors for robot in others)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("range = 50.0", "range = 0.0", r"contact_sensor\[0\] 'left_heel'.range: found 0.0, all"),
        ("noise = 0.5", "noise = -1", r"contact_sensor\[0\] 'left_heel'.noise: found -1.0, all"),
        ("noise = 0.5", "noise = nan", r"contact_sensor\[0\].noise: found nan, allowed is a finit"),
        ("noise = 0.5", "hiss = 0.5", r"contact_sensor\[0\].hiss: found 'an unknown key', allowed"),
        ("range = 50.0 # [N]\n", "", r"contact_sensor\[0\].range: found 'nothing', allowed is a v"),
        ('name = "left_toe"', 'name = "left_heel"', "allowed is a name that no other contact sens"),
    ],
)
def test_a_bad_sensor_is_refused(before: str, after: str, message: str):
    assert before in ROBOT.toml
    with pytest.raises(RobotFileError, match=message):
        parse_robot(ROBOT.toml.replace(before, after, 1), ROBOT.directory)


def test_a_sensor_under_no_foot_is_refused():
    lost = ContactSensor("left_tail", 50.0, 0.5)
    with pytest.raises(RobotFileError, match="'left_tail': found no geom left_tail_foot in biped"):
        RobotBatch(replace(ROBOT, contact_sensors=(lost,)), 1)


# --- what the feet feel ---------------------------------------------------------------------------


def test_a_standing_robot_feels_its_weight():
    robots = stood()
    weight = G * robots.model.body_mass.sum()
    felt = robots.contact_force[0]
    assert felt.sum() == pytest.approx(weight, rel=0.01)
    np.testing.assert_allclose(felt, felt[SWAPPED], atol=0.02 * weight)
    # The lever's law: heels and toes balance about the centre of mass.
    data = mujoco.MjData(robots.model)
    data.qpos[:] = robots.qpos[0]
    mujoco.mj_forward(robots.model, data)
    centre = (felt * robots.feet[0, :, 0]).sum() / felt.sum()
    assert centre == pytest.approx(data.subtree_com[1, 0], abs=1e-3)


def test_a_lifted_robot_feels_nothing():
    robots = placed(ROBOT.default_pose, lift=0.3)
    for _ in range(5):
        robots.step(ROBOT.default_pose[None])
        np.testing.assert_array_equal(robots.contact_force, 0.0)


def test_on_one_leg_one_foot_is_loaded():
    bent = pose(left_hip_pitch=-1.0, left_knee=2.0, left_ankle=-1.0)
    robots = placed(bent)
    for _ in range(5):
        robots.step(bent[None])
    left, right = robots.contact_force[0, :2], robots.contact_force[0, 2:]
    np.testing.assert_array_equal(left, 0.0)
    assert right.sum() > 0.5 * G * robots.model.body_mass.sum()


def test_a_mirrored_motion_is_felt_on_the_other_side(monkeypatch: pytest.MonkeyPatch):
    def converged(*args: Any) -> mujoco.MjModel:
        model = training_model(*args)
        model.opt.iterations = 50  # of 8 sweeps over the contacts the order would be felt
        return model

    monkeypatch.setattr(robot_batch, "training_model", converged)
    bent = pose(left_hip_pitch=-0.7, left_knee=1.4, left_ankle=-0.7)
    halves = np.roll(np.arange(N), N // 2)  # its joints are the left leg's, then the right one's
    felt = []
    for target in (bent, bent[halves]):
        robots = placed(ROBOT.default_pose)
        forces = []
        for _ in range(15):
            robots.step(target[None])
            forces.append(robots.contact_force[0].copy())
        felt.append(np.array(forces))
    assert felt[0][:, 2:].sum() > 5 * felt[0][:, :2].sum(), "it stands on its right foot"
    np.testing.assert_allclose(felt[1], felt[0][:, SWAPPED], atol=0.005)


def test_the_sensors_have_no_part_in_the_physics():
    felt = stood(0.4)
    bare = RobotBatch(replace(ROBOT, contact_sensors=()), 1, nthread=1)
    qpos = pose_on_floor(bare.model, ROBOT.default_pose)
    bare.reset(np.array([0]), qpos[None], np.zeros((1, bare.model.nv)))
    for _ in range(20):
        bare.step(ROBOT.default_pose[None])
    np.testing.assert_array_equal(felt.qpos, bare.qpos)
    assert bare.contact_force.shape == (1, 0)
    assert "contact_force" not in bare.measure(np.random.default_rng(0))


def test_a_reset_on_the_floor_is_felt_at_once():
    standing = stood()
    robots = RobotBatch(ROBOT, 2, nthread=1)
    lifted = standing.qpos[0].copy()
    lifted[2] += 0.01
    robots.reset(np.arange(2), np.stack((standing.qpos[0], lifted)), np.zeros((2, robots.model.nv)))
    assert (robots.contact_force[0] > 1.0).all()
    np.testing.assert_array_equal(robots.contact_force[1], 0.0)


def test_a_reset_in_the_air_begins_with_nothing_felt_and_a_restored_state_with_what_was():
    robots = RobotBatch(ROBOT, 2, nthread=1)
    qpos = np.tile(pose_on_floor(robots.model, ROBOT.default_pose), (2, 1))
    robots.reset(np.arange(2), qpos, np.zeros((2, robots.model.nv)))
    for _ in range(20):
        robots.step(np.tile(ROBOT.default_pose, (2, 1)))
    state, felt = robots.get_state(), robots.contact_force.copy()
    qpos[:, 2] += 0.01
    robots.reset(np.array([1]), qpos[:1], np.zeros((1, robots.model.nv)))
    np.testing.assert_array_equal(robots.contact_force[0], felt[0])
    np.testing.assert_array_equal(robots.contact_force[1], 0.0)
    robots.set_state(state)
    np.testing.assert_array_equal(robots.contact_force, felt)


def test_the_plant_feels_its_weight_too():
    plant = MujocoPlant(ROBOT)
    plant.data.qpos[:] = pose_on_floor(plant.model, ROBOT.default_pose)
    plant.data.qvel[:] = 0.0
    for _ in range(500):
        state = plant.state
        plant.step(30.0 * (ROBOT.default_pose - state.joint_pos) - 0.5 * state.joint_vel)
    weight = G * plant.model.body_mass.sum()
    assert plant.state.contact_force.shape == (4,)
    assert plant.state.contact_force.sum() == pytest.approx(weight, rel=0.02)
    assert plant.state.specific_force[2] == pytest.approx(G, rel=0.02), "the IMU is where it was"
    assert MujocoPlant(load_robot("arm")).state.contact_force.shape == (0,)


# --- what the sensors say -------------------------------------------------------------------------


def test_noise_and_range():
    """Within the range, the truth and noise of the sensor's own deviation; beyond it, its end."""
    sensors = (ContactSensor("a", 50.0, 0.5), ContactSensor("b", 20.0, 2.0))
    wrong = SensorErrors.none(20_000, N, 2)
    truth = np.tile([10.0, 10.0], (20_000, 1))
    steady = np.array([[10.0, 30.0]] * 20_000)
    exact = measured_contact(wrong, (steady, steady), sensors, _rng())
    np.testing.assert_array_equal(exact, [[10.0, 20.0]] * 20_000)
    wrong.noise[:] = 1.5
    said = measured_contact(wrong, (truth, truth), sensors, _rng())
    np.testing.assert_allclose(said.mean(0), 10.0, atol=0.1)
    np.testing.assert_allclose(said.std(0), [0.75, 3.0], rtol=0.05)
    nothing = 0.0 * truth
    assert (measured_contact(wrong, (nothing, nothing), sensors, _rng()) >= 0.0).all()
    again = measured_contact(wrong, (truth, truth), sensors, _rng())
    np.testing.assert_array_equal(said, again)


def test_delay_gain_and_offset_by_hand():
    """Of a force that fell from 20 N to 10 N, a quarter of a period late: 12.5 N."""
    sensors = (ContactSensor("a", 50.0, 0.5),) * 3 + (ContactSensor("b", 10.0, 0.5),)
    robots = RobotBatch(ROBOT, 2, nthread=1)
    errors = SensorErrors.none(2, N, 4)
    robots.sensor_errors = errors
    second = np.array([1])
    quantities.contact_delay(robots, second, np.array([[0.25 * ROBOT.control_period]]))
    quantities.contact_gain(robots, second, np.array([[1.2, 1.0, 0.8, 1.0]]))
    quantities.contact_offset(robots, second, np.array([[0.0, 1.0, -15.0, 0.0]]))
    now, before = np.full((2, 4), 10.0), np.full((2, 4), 20.0)
    said = measured_contact(errors, (now, before), sensors, _rng())
    np.testing.assert_allclose(said, [[10.0] * 4, [15.0, 13.5, 0.0, 10.0]])


def test_errors_are_drawn_for_each_sensor():
    variations = (
        Variation(quantities.contact_gain, Uniform(0.8, 1.2), Per.SENSOR),
        Variation(quantities.contact_offset, Uniform(0.0, 2.0)),
        Variation(quantities.contact_delay, Uniform(0.0, ROBOT.control_period)),
    )
    env = WalkEnv(3, ROBOT, variations, nthread=1)
    env.reset(seed=1)
    drawn = by_part(env.drawn, variations, env.robots)
    assert list(drawn) == [f"contact_gain.{foot}" for foot in FEET] + [
        "contact_offset", "contact_delay",
    ]  # fmt: skip
    errors = env.robots.sensor_errors
    np.testing.assert_allclose(errors.contact_gain[:, 1], drawn["contact_gain.left_toe"] - 1)
    np.testing.assert_array_equal(errors.contact_offset[:, 3], drawn["contact_offset"])
    assert len(np.unique(errors.contact_gain)) == 12
    before = env.robots.contact_force.copy()
    env.step(np.zeros((3, N), np.float32))
    late = drawn["contact_delay"][:, None] / ROBOT.control_period
    force = (1 - late) * env.robots.contact_force + late * before
    said = (1 + errors.contact_gain) * force + errors.contact_offset
    np.testing.assert_allclose(env.inputs["contact_force"], np.clip(said, 0, 50), rtol=1e-5)
    assert np.abs(env.robots.contact_force - before).max() > 1.0
    assert read(describe(variations)) == variations


def test_a_robot_without_contact_sensors_has_no_errors_of_them():
    quadruped = RobotBatch(load_robot("quadruped"), 1)
    with pytest.raises(UsageError, match="contact_gain for quadruped, a robot without contact sen"):
        require_fit((Variation(quantities.contact_gain, Uniform(0.9, 1.1)),), quadruped)


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_the_other_sensors_draw_the_same_noise_with_and_without():
    felt = stood(0.1)
    felt.sensor_errors.noise[:] = 1.0
    said = felt.measure(_rng())
    felt.robot = replace(ROBOT, contact_sensors=())
    without = felt.measure(_rng())
    assert said.keys() - without.keys() == {"contact_force"}
    for name, value in without.items():
        np.testing.assert_array_equal(said[name], value)


def test_the_simulated_robot_says_what_it_feels():
    robot = SimulatedRobot(ROBOT)
    sample = robot.read()
    assert sample.contact_force.shape == (4,)
    assert SimulatedRobot(load_robot("quadruped")).read().contact_force.shape == (0,)
    np.testing.assert_array_equal(sample.contact_force, robot.robots.contact_force[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_force_that_is_no_number_is_found(bad: float):
    sample = SimulatedRobot(ROBOT).read()
    assert non_finite(sample, ROBOT) == ""
    force = np.array([1.0, bad, 0.0, 0.0])
    assert "contact_force[1]" in non_finite(replace(sample, contact_force=force), ROBOT)


def test_a_sample_says_no_forces_where_nothing_reads_them():
    sample = SimulatedRobot(ROBOT).read()
    fields = {name: getattr(sample, name) for name in Sample.__dataclass_fields__}
    fields.pop("contact_force")
    numb = Sample(**fields)
    assert numb.contact_force.shape == (0,) and non_finite(numb, ROBOT) == ""


# --- what a policy is given -----------------------------------------------------------------------


def test_the_input_is_as_wide_as_there_are_sensors():
    assert input_widths(ROBOT, 3)["contact_force"] == 4
    assert "contact_force" not in input_widths(load_robot("quadruped"), 3)
    assert width((ContactForce("contact_force", tuple(FEET), 30.0),), ROBOT, 3) == 4


def test_forces_in_weights_by_hand():
    term = ContactForce("contact_force", ("a", "b", "c"), 4.0)
    inputs = {"contact_force": np.array([[1.0, 2.0, 4.0]], np.float32)}
    np.testing.assert_array_equal(term(inputs, np), [[0.25, 0.5, 1.0]])
    assert term(inputs, np).dtype == np.float32
