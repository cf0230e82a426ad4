"""How often a robot that was pushed came back to its way: pure functions of arrays (T, N)."""

from __future__ import annotations

import numpy as np

# A robot is on its way while velocity and turn miss the command by no more than their σ, and its
# base is tilted by no more than this.
UPRIGHT = 0.15  # angle between the base's z axis and up [rad]
BACK = 0.25  # on its way for so long, and it is back [s]
IN_TIME = 2.0  # from the push [s]


def held(where: np.ndarray, ticks: int) -> np.ndarray:
    """Where it has been so for the last `ticks` ticks, this one among them. Shape (T, N)."""
    count = np.cumsum(where, axis=0, dtype=int)
    count[ticks:] -= count[:-ticks].copy()
    return count == ticks


def recoveries(
    pushed: np.ndarray,
    on_way: np.ndarray,
    alive: np.ndarray,
    settled: np.ndarray,
    back: int,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """How many pushes hit robots that were on their way, and how often one was back. Shapes (N,).

    A push acts at the beginning of its tick. It counts if its robot had been on its way for `back`
    ticks, and if for `limit` ticks from its own on no command is new, no other push comes and the
    recording goes on: none of this depends on what comes of it. The robot is back if it has been on
    its way for `back` ticks on end within that time, and stands at the end of it.

    Args:
        pushed: whom a push hit. bool, (T, N).
        on_way: who does as it is commanded. bool, (T, N).
        alive: who has not fallen so far. bool, (T, N).
        settled: whether the command is no longer new. bool, (T,).
        back: ticks.
        limit: ticks.
    """
    pushes, recovered = (np.zeros(pushed.shape[1], int) for _ in range(2))
    steady = held(on_way & alive, back)
    for tick, robot in np.argwhere(pushed[: max(len(pushed) - limit + 1, 0)]):
        before, last = tick - 1, tick + limit - 1
        alone = not pushed[tick + 1 : last + 1, robot].any()
        if tick and steady[before, robot] and alone and settled[tick : last + 1].all():
            pushes[robot] += 1
            recovered[robot] += alive[last, robot] and steady[before + back : last + 1, robot].any()
    return pushes, recovered
