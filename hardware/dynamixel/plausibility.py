"""Which readings a motor of a robot in one piece can have given. Pure.

A CRC passes one broken packet in 65536. A motor that lost power for a moment forgets its turns, and
its torque: one under torque forgets none, and its goals must not follow a reading that says so.
"""

from __future__ import annotations

from dataclasses import dataclass

SPEED_MARGIN = 1.5  # times the no-load speed: what a joint may do over several ticks


@dataclass(frozen=True)
class Plausibility:
    """What to do with one reading."""

    good: bool
    turns: int = 0  # whole turns of the shaft by which the position is off; take them away
    reason: str = ""  # what is implausible, for the log


def judge(
    velocity: float,
    jump: float,
    top_velocity: float,
    allowed_jump: float,
    turn: float,
    powered: bool,
) -> Plausibility:
    """Judge a reading by what the joint can have done since the last good one.

    Args:
        velocity: of the joint, as read [rad/s].
        jump: change of the joint's angle since the last good reading [rad].
        top_velocity: beyond which none is real [rad/s].
        allowed_jump: beyond which none is real [rad].
        turn: of the shaft, seen at the joint [rad].
        powered: the motor is under torque.
    """
    if abs(velocity) > top_velocity:
        return Plausibility(False, reason=f"velocity {velocity:.1f} rad/s")
    if abs(jump) <= allowed_jump:
        return Plausibility(True)
    turns = round(jump / turn)
    if turns and not powered and abs(jump - turns * turn) <= allowed_jump:
        return Plausibility(True, turns, f"position {turns:+d} turns off, unwrapped")
    return Plausibility(False, reason=f"position jump of {jump:.2f} rad")


def allowed_jump(joint_jump: float, elapsed: float, no_load_speed: float, turn: float) -> float:
    """Change of a joint's angle that may be real [rad].

    It does not grow by `joint_jump` in every tick: a refused jump would soon be allowed.

    Args:
        joint_jump: in one tick, more than any joint moves in it [rad].
        elapsed: since the last good reading [s].
        no_load_speed: of the motor, seen at the joint; gravity and shoves may exceed it [rad/s].
        turn: of the shaft, seen at the joint, half of which cannot be told from its opposite [rad].
    """
    moved = SPEED_MARGIN * no_load_speed * elapsed
    return min(max(joint_jump, moved), 0.499 * turn)
