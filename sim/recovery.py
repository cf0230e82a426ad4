"""How often a robot that was thrown off its way came back: pure functions of arrays (T, N)."""

from __future__ import annotations

import numpy as np

# A robot is disturbed once it tilts or misses its command by more than the first of these, and back
# once it has been within the second for `BACK`. Misses are in the score's σ.
TILTED, UPRIGHT = 0.3, 0.15  # angle between the base's z axis and up [rad]
MISSED, MET = 2.0, 1.0
BACK = 0.25  # [s]
IN_TIME = 2.0  # from the disturbance to when it is back [s]


def tilt(qpos: np.ndarray) -> np.ndarray:
    """Angle between up and the z axis of free bases, `qpos` (T, N, nq) [rad]. Shape (T, N)."""
    x, y = qpos[..., 4], qpos[..., 5]
    return np.arccos(np.clip(1 - 2 * (x**2 + y**2), -1, 1))


def held(where: np.ndarray, ticks: int) -> np.ndarray:
    """Where it has been so for the last `ticks` ticks, this one among them. Shape (T, N)."""
    count = np.cumsum(where, axis=0, dtype=int)
    count[ticks:] -= count[:-ticks].copy()
    return count == ticks


def recoveries(
    upset: np.ndarray, calm: np.ndarray, alive: np.ndarray, settled: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many disturbances there were, and of how many a robot recovered. Shapes (N,).

    A disturbance begins in a tick in which a robot is upset that was calm before, under the same
    command. It recovers when it is calm again within `limit` ticks. It counts where the command
    stays for so long: this is known when it begins, and does not depend on what comes of it.

    Args:
        upset: who is beyond the bounds of a disturbance. bool, (T, N).
        calm: who is on its way. bool, (T, N).
        alive: who has not fallen so far. bool, (T, N).
        settled: whether the command is no longer new. bool, (T,).
        limit: ticks.
    """
    n = upset.shape[1]
    disturbances, recovered = np.zeros(n, int), np.zeros(n, int)
    ready = np.zeros(n, bool)  # calm since the command settled
    since = np.full(n, -1)  # when it was disturbed; -1: it is not
    decided = held(settled[:, None], limit + 1)[limit:, 0]  # what begins in a tick, `limit` later
    for tick in range(len(upset)):
        if not settled[tick]:
            ready[:] = False
        disturbed = since >= 0
        back = disturbed & alive[tick] & calm[tick]
        over = disturbed & (~alive[tick] | (tick - since >= limit))
        recovered += back
        since[back | over] = -1
        struck = ready & upset[tick] & alive[tick]
        ready[struck] = False
        if tick < len(decided) and decided[tick]:
            disturbances += struck
            since[struck] = tick
        ready |= calm[tick] & alive[tick] & (since < 0) & settled[tick]
    return disturbances, recovered
