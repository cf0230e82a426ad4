"""The conditions of an evaluation: what they vary, and how far."""

from __future__ import annotations

import numpy as np
import pytest
from surefoot.models.errors import UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim.conditions import FRICTION_ONLY, conditions, recurring_pushes, widened
from surefoot.sim.gaits import GO1
from surefoot.sim.randomisation import (
    TRAINING,
    Per,
    Uniform,
    Variation,
    mass_scale,
    payload,
    randomise,
    require_fit,
)
from surefoot.sim.robot_batch import RobotBatch
from surefoot.sim.servos import MAX_DELAY
from surefoot.sim.trials import walking

ROBOT = load_robot("quadruped")
WIDE = {v.name: v.distribution for v in widened(TRAINING, ROBOT)}
TRAINED = {v.name: v.distribution for v in TRAINING}


def test_the_conditions_in_their_order():
    pushes = recurring_pushes(0.5)
    plan = conditions(ROBOT, FRICTION_ONLY, pushes, TRAINING)
    assert list(plan) == ["nominal", "pushes", "randomised", "beyond"]
    assert plan["nominal"] == FRICTION_ONLY
    assert plan["pushes"] == FRICTION_ONLY + pushes
    assert plan["randomised"] == TRAINING
    assert [v.name for v in plan["beyond"]] == [v.name for v in TRAINING]


def test_what_nothing_can_push_is_not_pushed():
    assert list(conditions(ROBOT, (), (), ())) == ["nominal", "randomised", "beyond"]


def test_widened_by_hand():
    def ends(name: str) -> list[float]:
        return [WIDE[name].low, WIDE[name].high]

    # Distances from the nominal value, times 1.75.
    assert ends("payload") == pytest.approx([1.75 * -0.05, 1.75 * 0.2])
    assert ends("push") == pytest.approx([-0.525, 0.525])
    # Factors, to the power of 1.75: never negative.
    assert ends("joint_friction") == pytest.approx([0.4**1.75, 2.5**1.75])
    assert ends("motor_strength") == pytest.approx([0.85**1.75, 1.05**1.75])
    assert ends("foot_friction") == pytest.approx([0.8 * 0.5**1.75, 0.8 * 1.375**1.75])
    # Half a control period of delay is nominal.
    assert ends("command_delay") == pytest.approx([0.01 - 1.75 * 0.005, 0.01 + 1.75 * 0.005])
    # Bounded by what there can be.
    assert ends("sensor_noise") == pytest.approx([0.0, 1.75 * 1.5])
    assert ends("imu_delay") == pytest.approx([0.0, ROBOT.control_period])


def test_wider_ranges_hold_the_trained_ones():
    for name, trained in TRAINED.items():
        assert WIDE[name].low <= trained.low < trained.high <= WIDE[name].high


def test_widening_by_one_changes_nothing():
    for before, after in zip(TRAINING, widened(TRAINING, ROBOT, 1.0), strict=True):
        assert after.per == before.per and after.every == before.every
        ends = (after.distribution.low, after.distribution.high)
        assert ends == pytest.approx((before.distribution.low, before.distribution.high))


def test_what_is_taken_from_a_base_leaves_some_of_it():
    robots = RobotBatch(ROBOT, 200)
    base = float(robots.model.body_mass[1])
    trained = (
        Variation(payload, Uniform(-0.65 * base, 0.2)),
        Variation(mass_scale, Uniform(0.8, 1.0), Per.BODY),
    )
    taken, scaled = widened(trained, ROBOT)
    assert taken.distribution.low == pytest.approx(-0.95 * 0.8**1.75 * base)
    require_fit((taken, scaled), robots)
    randomise((scaled, taken), robots, np.arange(200), np.random.default_rng(0))
    assert (robots.field("body_mass")[:, 1] > 0).all()


def test_robots_beyond_training_are_possible_ones():
    robots = RobotBatch(ROBOT, 200)
    at_reset = [v for v in widened(TRAINING, ROBOT) if v.every is None]
    randomise(at_reset, robots, np.arange(200), np.random.default_rng(0))
    for name in ("body_mass", "body_inertia", "dof_armature", "dof_frictionloss"):
        field = robots.field(name)[:, 1:] if name.startswith("body") else robots.field(name)[:, 6:]
        assert (field > 0).all(), name
    assert (robots.sensor_errors.imu_delay <= 1.0).all()
    assert (robots.field("actuator_delay") <= MAX_DELAY + 1e-12).all()


def test_a_variation_that_nobody_can_widen_is_refused():
    def tail_length(robots, ids, value): ...

    with pytest.raises(UsageError, match="found the variation tail_length, allowed"):
        widened((Variation(tail_length, Uniform(0, 1), Per.ROBOT),), ROBOT)


def test_each_gait_is_pushed_and_varied_by_its_own_measure():
    trial = walking(load_robot("go1"), "joint_target")
    assert trial.training == GO1.randomisation
    assert trial.pushes[0].distribution.high == 0.7
    assert walking(ROBOT, "joint_target").pushes[0].distribution.high == 0.5
