"""Worlds: batched MuJoCo environments, tasks, randomisation, and the plant of emulated robots."""

import os
import sys

# Where there is no display, MuJoCo must be told to render without one before it is first imported.
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")
