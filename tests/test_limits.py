"""The pure limiter: what it lets through, what it refuses, and which limit wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from surefoot.models.errors import NonFiniteError, SurefootError, require_finite
from surefoot.models.limits import Limits, Reason, limit_target, limit_torque
from surefoot.models.robot_file import load_robot

ROBOT = load_robot("quadruped")
LIMITS = Limits.of(ROBOT)
N = len(ROBOT.joints)
NAMES = ("target", "previous_target", "joint_pos", "joint_vel")

# One joint: ±1 rad, 2 N·m at 10 N·m/rad is ±0.2 rad, 0.1 rad a tick, kd / kp = 0.05 s, 3 rad/s.
ONE = Limits(*(np.array([x]) for x in (-1.0, 1.0, 2.0, 0.1, 10.0, 0.5, 3.0)))


def vectors(lowest: float, highest: float) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (N,), elements=st.floats(lowest, highest))


def limit_one(target: float, previous: float, pos: float, vel: float) -> tuple[float, int]:
    limited, reasons = limit_target(ONE, *(np.array([x]) for x in (target, previous, pos, vel)))
    return float(limited[0]), int(reasons[0])


def windows(
    previous: np.ndarray, pos: np.ndarray, vel: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rate, torque and position windows [rad], written out once more."""
    centre, reach = pos + LIMITS.kd / LIMITS.kp * vel, LIMITS.torque / LIMITS.kp
    return [
        (previous - LIMITS.step, previous + LIMITS.step),
        (centre - reach, centre + reach),
        (LIMITS.lower, LIMITS.upper),
    ]


@pytest.mark.parametrize(
    ("target", "previous", "pos", "vel", "limited", "reasons"),
    [
        (0.05, 0.0, 0.0, 0.0, 0.05, 0),  # free
        (0.5, 0.0, 0.0, 0.0, 0.1, Reason.RATE),  # 0 + 0.1
        (0.5, 0.5, 0.2, 0.0, 0.4, Reason.TORQUE),  # 0.2 + 0.2
        (0.5, 0.5, 0.2, 1.0, 0.45, Reason.TORQUE),  # damping moves the window by 0.05 s · 1 rad/s
        (1.5, 0.95, 0.95, 0.0, 1.0, Reason.RATE | Reason.POSITION),  # 1.05, then the stop
        (0.0, 0.0, 0.6, 0.0, 0.4, Reason.TORQUE),  # shoved: torque wins over rate
        (1.0, 1.0, 1.5, 0.0, 1.0, Reason.TORQUE | Reason.POSITION),  # shoved out: position wins
        (-9.0, 0.0, 0.0, 0.0, -0.1, Reason.RATE),
    ],
)
def test_by_hand(
    target: float, previous: float, pos: float, vel: float, limited: float, reasons: int
):
    found, why = limit_one(target, previous, pos, vel)
    assert found == pytest.approx(limited, abs=1e-12)
    assert why == reasons


def test_limits_of_the_quadruped():
    np.testing.assert_allclose(LIMITS.step, 0.32)  # 16 rad/s · 20 ms
    np.testing.assert_allclose(LIMITS.torque / LIMITS.kp, 0.1449, atol=1e-4)


@given(vectors(-1e6, 1e6), vectors(-1e6, 1e6), vectors(-1e6, 1e6), vectors(-1e6, 1e6))
def test_position_holds_whatever_comes(target, previous, pos, vel):
    limited, _ = limit_target(LIMITS, target, previous, pos, vel)
    assert (limited >= LIMITS.lower).all()
    assert (limited <= LIMITS.upper).all()


@given(vectors(-10, 10), vectors(-4, 4), vectors(-4, 4), vectors(-20, 20))
def test_predicted_torque_holds_where_position_allows(target, previous, pos, vel):
    limited, _ = limit_target(LIMITS, target, previous, pos, vel)
    torque = LIMITS.kp * (limited - pos) - LIMITS.kd * vel
    _, (low, high), (lower, upper) = windows(previous, pos, vel)
    compatible = (low <= upper) & (high >= lower)
    assert (np.abs(torque)[compatible] <= LIMITS.torque[compatible] + 1e-9).all()
    # Where they are disjoint the target is the stop that is nearest to the torque window.
    nearest = np.where(low > upper, upper, lower)
    np.testing.assert_array_equal(limited[~compatible], nearest[~compatible])


@given(vectors(-10, 10), vectors(-3, 3), vectors(-3, 3), vectors(-8, 8), vectors(0, 1))
def test_the_result_is_the_nearest_that_is_allowed(target, previous, pos, vel, where):
    low = np.max([window[0] for window in windows(previous, pos, vel)], axis=0)
    high = np.min([window[1] for window in windows(previous, pos, vel)], axis=0)
    assume((low <= high).any())
    limited, _ = limit_target(LIMITS, target, previous, pos, vel)
    joint = low <= high  # where the three windows meet
    other = (low + where * (high - low))[joint]  # any target that all three allow
    assert (limited[joint] >= low[joint]).all()
    assert (limited[joint] <= high[joint]).all()
    assert (np.abs(limited - target)[joint] <= np.abs(other - target[joint]) + 1e-12).all()


@given(vectors(-10, 10), vectors(-3, 3), vectors(-3, 3), vectors(-8, 8))
def test_reasons_are_there_exactly_where_the_target_changed(target, previous, pos, vel):
    limited, reasons = limit_target(LIMITS, target, previous, pos, vel)
    assert reasons.dtype == np.uint8
    assert not (reasons[limited != target] == 0).any()
    # Changed and changed back again keeps its reasons; one reason alone means a change.
    single = np.isin(reasons, [Reason.RATE, Reason.TORQUE, Reason.POSITION])
    assert (limited[single] != target[single]).all()


@given(vectors(-3, 3), vectors(-3, 3), vectors(-3, 3), vectors(-8, 8))
def test_limiting_twice_changes_nothing(target, previous, pos, vel):
    once, _ = limit_target(LIMITS, target, previous, pos, vel)
    low = np.max([window[0] for window in windows(previous, pos, vel)], axis=0)
    high = np.min([window[1] for window in windows(previous, pos, vel)], axis=0)
    twice, reasons = limit_target(LIMITS, once, previous, pos, vel)
    meet = low <= high
    np.testing.assert_array_equal(twice[meet], once[meet])
    assert not reasons[meet].any()


@given(st.data(), st.sampled_from([(1,), (5,), (2, 3)]))
def test_batched_is_row_by_row(data, batch):
    shape = (*batch, N)
    given_arrays = [data.draw(arrays(np.float64, shape, elements=st.floats(-4, 4))) for _ in NAMES]
    limited, reasons = limit_target(LIMITS, *given_arrays)
    assert limited.shape == reasons.shape == shape
    for index in np.ndindex(*batch):
        row, why = limit_target(LIMITS, *(array[index] for array in given_arrays))
        np.testing.assert_array_equal(limited[index], row)
        np.testing.assert_array_equal(reasons[index], why)


@given(
    st.sampled_from(NAMES),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.integers(0, N - 1),
    st.booleans(),
)
def test_non_finite_is_refused_and_never_clamped(name, value, joint, batched):
    values = {key: np.zeros((3, N) if batched else (N,)) for key in NAMES}
    where = (1, joint) if batched else (joint,)
    values[name][where] = value
    with pytest.raises(NonFiniteError) as caught:
        limit_target(LIMITS, **values)
    found = f"{name}{list(where)}: found {value}, allowed is a finite number"
    assert str(caught.value) == found


def test_inputs_are_left_alone():
    values = [np.full(N, x) for x in (5.0, 0.0, 0.1, 0.2)]
    copies = [value.copy() for value in values]
    limit_target(LIMITS, *values)
    for value, copy in zip(values, copies, strict=True):
        np.testing.assert_array_equal(value, copy)


def test_require_finite_names_the_first():
    require_finite(a=np.zeros(3), b=np.zeros((2, 2)), c=np.array(1.0))
    with pytest.raises(NonFiniteError, match=r"^b\[1, 0\]: found -inf, allowed is a finite"):
        require_finite(a=np.zeros(3), b=np.array([[0, 0], [-np.inf, np.nan]]))
    with pytest.raises(SurefootError, match=r"^c\[0\]: found nan"):
        require_finite(c=np.array(np.nan))
    with pytest.raises(ValueError):
        require_finite(c=np.array([np.nan]))


# --- joint torques ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    # Of ONE: range ±1 rad, 2 N·m, 3 rad/s, 10 N·m/rad, 0.5 N·m·s/rad.
    ("torque", "pos", "vel", "limited", "reasons"),
    [
        (1.5, 0.0, 0.0, 1.5, 0),  # free: 10 · 1 rad is beyond the torque limit
        (-1.5, 0.0, 0.0, -1.5, 0),
        (9.0, 0.0, 0.0, 1.5, Reason.TORQUE | Reason.VELOCITY),  # 0.5 · (3 − 0): 2, then 1.5
        (1.0, 0.0, 2.0, 0.5, Reason.VELOCITY),  # 0.5 · (3 − 2)
        (1.0, 0.0, 4.0, -0.5, Reason.VELOCITY),  # too fast: it is braked
        (-1.0, 0.0, 4.0, -1.0, 0),  # braking is free
        (-1.0, 0.0, -4.0, 0.5, Reason.VELOCITY),
        (1.5, 0.9, 0.0, 1.0, Reason.POSITION),  # 10 · 0.1
        (1.5, 1.0, 0.0, 0.0, Reason.POSITION),
        (1.5, 1.1, 0.0, -1.0, Reason.POSITION),  # beyond: repelled
        (1.5, 1.5, 0.0, -2.0, Reason.POSITION),  # never beyond the torque limit
        (1.0, 0.5, 2.0, 0.5, Reason.VELOCITY),  # 10 · 0.5 − 3 · 0.5 · 2 = 2
        (0.5, 0.7, 2.0, 0.0, Reason.POSITION),  # 3 − 3: braked before it is near
        (0.5, 0.8, 2.0, -1.0, Reason.POSITION),  # 2 − 3, and no harder than 0.5 · 2
        (0.5, 0.9, 2.0, -1.0, Reason.POSITION),  # 1 − 3, likewise
        (0.5, 1.05, 2.0, -1.5, Reason.POSITION),  # −0.5 − 0.5 · 2
        (0.5, 0.9, -2.0, 0.5, 0),  # on its way back it is free
        (-0.5, -0.8, -2.0, 1.0, Reason.POSITION),  # the other end alike
    ],
)
def test_torques_by_hand(torque: float, pos: float, vel: float, limited: float, reasons: int):
    found, why = limit_torque(ONE, *(np.array([x]) for x in (torque, pos, vel)))
    assert found[0] == pytest.approx(limited, abs=1e-12)
    assert why[0] == reasons


TORQUES = Limits.of(ROBOT, "joint_torque")


@given(vectors(-1e6, 1e6), vectors(-10, 10), vectors(-50, 50))
def test_no_torque_is_ever_beyond_its_limit(torque, pos, vel):
    limited, _ = limit_torque(TORQUES, torque, pos, vel)
    assert (np.abs(limited) <= TORQUES.torque).all()


@given(vectors(-10, 10), vectors(-4, 4), vectors(-50, 50))
def test_nothing_drives_a_joint_that_is_too_fast_or_outside(torque, pos, vel):
    limited, _ = limit_torque(TORQUES, torque, pos, vel)
    inside = (pos >= TORQUES.lower) & (pos <= TORQUES.upper)
    assert (limited[inside & (vel >= TORQUES.velocity)] <= 0).all()
    assert (limited[inside & (vel <= -TORQUES.velocity)] >= 0).all()
    assert (limited[(pos >= TORQUES.upper) & (vel >= 0)] <= 0).all()
    assert (limited[(pos <= TORQUES.lower) & (vel <= 0)] >= 0).all()


@given(vectors(-2, 2), vectors(-4, 4), vectors(-20, 20))
def test_limiting_a_torque_twice_changes_nothing_more(torque, pos, vel):
    once, _ = limit_torque(TORQUES, torque, pos, vel)
    twice, _ = limit_torque(TORQUES, once, pos, vel)
    np.testing.assert_array_equal(twice, once)


@given(vectors(-10, 10), vectors(-4, 4), vectors(-20, 20))
def test_torques_are_limited_alike_in_either_direction(torque, pos, vel):
    mirrored = replace(TORQUES, lower=-TORQUES.upper, upper=-TORQUES.lower)
    limited, why = limit_torque(TORQUES, torque, pos, vel)
    other, other_why = limit_torque(mirrored, -torque, -pos, -vel)
    np.testing.assert_allclose(other, -limited, atol=1e-12)
    np.testing.assert_array_equal(other_why, why)


@pytest.mark.parametrize("name", ["torque", "joint_pos", "joint_vel"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_torque_that_is_no_number_is_refused(name: str, value: float):
    arrays = {key: np.zeros((3, N)) for key in ("torque", "joint_pos", "joint_vel")}
    arrays[name][1, 5] = value
    with pytest.raises(NonFiniteError, match=rf"{name}\[1, 5\]"):
        limit_torque(TORQUES, **arrays)


def test_the_host_closes_a_loop_that_its_period_bears():
    np.testing.assert_allclose(TORQUES.kd, 0.5 * 0.014 / 0.02)  # 0.35 N·m·s/rad
    np.testing.assert_allclose(TORQUES.kp, 0.4 * 0.35 / 0.02)  # 7 N·m/rad, of 13.8
    np.testing.assert_allclose(TORQUES.velocity, 8.06)  # the motor's; rate_limit is 16
    soft = replace(ROBOT, joints=tuple(replace(j, kp=3.0) for j in ROBOT.joints))
    np.testing.assert_allclose(Limits.of(soft, "joint_torque").kp, 3.0)


@pytest.mark.parametrize("delay", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("load", [1.0, 1.5, 3.0, 10.0, 100.0])
def test_the_hosts_loop_is_stable_at_any_delay_and_load(delay: float, load: float):
    """Eigenvalues of joint and loop from tick to tick; `delay` in periods, `load` in rotors.

    State: angle, velocity · period, and the last acceleration · period² that was commanded, which
    acts until `delay` of the next period has passed.
    """
    period, inertia = ROBOT.control_period, load * ROBOT.armature[0]
    kp, kd = TORQUES.kp[0], TORQUES.kd[0]
    law = -np.array([kp * period**2, kd * period, 0.0]) / inertia
    left = 1 - delay
    step = np.array(
        [
            np.array([1, 1, delay * (1 - delay / 2)]) + left**2 / 2 * law,
            np.array([0, 1, delay]) + left * law,
            law,
        ]
    )
    assert np.abs(np.linalg.eigvals(step)).max() < 1.0
