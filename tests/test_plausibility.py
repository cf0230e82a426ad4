"""Which readings of a motor are taken, which are refused, and which are a lost turn."""

import math

import pytest
from surefoot.hardware.dynamixel.plausibility import Plausibility, allowed_jump, judge

TURN = 2 * math.pi


@pytest.mark.parametrize(
    ("velocity", "jump", "verdict"),
    [
        (0.0, 0.0, Plausibility(True)),
        (-24.0, 0.8, Plausibility(True)),
        (24.1, 0.0, Plausibility(False, 0, "velocity 24.1 rad/s")),
        (0.0, -0.9, Plausibility(False, 0, "position jump of -0.90 rad")),
        (0.0, math.pi, Plausibility(False, 0, "position jump of 3.14 rad")),
        (0.0, TURN + 0.1, Plausibility(True, 1, "position +1 turns off, unwrapped")),
        (0.0, -2 * TURN - 0.7, Plausibility(True, -2, "position -2 turns off, unwrapped")),
        (0.0, TURN + 0.9, Plausibility(False, 0, "position jump of 7.18 rad")),
    ],
)
def test_verdicts(velocity: float, jump: float, verdict: Plausibility) -> None:
    found = judge(velocity, jump, top_velocity=24.0, allowed_jump=0.8, turn=TURN, powered=False)
    assert found == verdict


@pytest.mark.parametrize("jump", [TURN + 0.1, -2 * TURN - 0.7, 0.9])
def test_under_torque_no_turn_is_lost(jump: float) -> None:
    found = judge(0.0, jump, top_velocity=24.0, allowed_jump=0.8, turn=TURN, powered=True)
    assert found == Plausibility(False, 0, f"position jump of {jump:.2f} rad")


def test_a_jump_may_grow_with_time_up_to_half_a_turn() -> None:
    assert allowed_jump(0.8, 0.004, 8.0, TURN) == 0.8
    # A few ticks allow no more than one: 1.5 times 8 rad/s makes 0.72 rad in 0.06 s.
    assert allowed_jump(0.8, 0.06, 8.0, TURN) == 0.8
    assert allowed_jump(0.8, 0.1, 8.0, TURN) == pytest.approx(1.2)
    assert allowed_jump(0.8, math.inf, 8.0, TURN) == 0.499 * TURN
    assert allowed_jump(0.8, 1.0, 8.0, TURN / 4) == 0.499 * TURN / 4
