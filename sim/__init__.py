"""Worlds: batched MuJoCo environments, tasks, randomisation, and the plant of emulated robots.

Importing it registers `Surefoot/Walk-v0` and `Surefoot/Reach-v0` with Gymnasium, for `make` and
`make_vec`.
"""

import os
import sys
from ctypes.util import find_library

import gymnasium

# Where there is no display, MuJoCo must be told how to render before it is first imported; told of
# a library that isn't there, it could not be imported at all.
if sys.platform == "linux" and not os.environ.get("DISPLAY") and find_library("EGL"):
    os.environ.setdefault("MUJOCO_GL", "egl")

# By name: what an environment needs is imported when one is made.
gymnasium.register(
    "Surefoot/Walk-v0",
    entry_point=f"{__name__}.single:SingleWalkEnv",
    vector_entry_point=f"{__name__}.walk:WalkEnv",
)
gymnasium.register(
    "Surefoot/Reach-v0",
    entry_point=f"{__name__}.single:SingleReachEnv",
    vector_entry_point=f"{__name__}.reach:ReachEnv",
)
