"""Worlds: batched MuJoCo environments, tasks, randomisation, and the plant of emulated robots.

Importing it registers `Surefoot/Walk-v0` with Gymnasium, for `make` and `make_vec`.
"""

import os
import sys

import gymnasium

# Where there is no display, MuJoCo must be told to render without one before it is first imported.
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")

# By name: what an environment needs is imported when one is made.
gymnasium.register(
    "Surefoot/Walk-v0",
    entry_point=f"{__name__}.single:SingleWalkEnv",
    vector_entry_point=f"{__name__}.walk:WalkEnv",
)
