"""Walking robots put into states by hand."""

from __future__ import annotations

import numpy as np
from surefoot.models.robot_file import load_robot
from surefoot.sim.walk import WalkEnv

ROBOT = load_robot("quadruped")
N = len(ROBOT.joints)
PERIOD = ROBOT.control_period


def some_actions(ticks: int, num_envs: int, scale: float = 1.0, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((ticks, num_envs, N)).astype(np.float32)


def still(num_envs: int = 1) -> np.ndarray:
    return np.zeros((num_envs, N), np.float32)


def nominal(num_envs: int = 1, seed: int = 0) -> WalkEnv:
    env = WalkEnv(num_envs, ROBOT, randomisation=(), nthread=1)
    env.reset(seed=seed)
    return env


def place(
    env: WalkEnv,
    height: float,
    quaternion: tuple[float, ...] = (1, 0, 0, 0),
    joint_pos: np.ndarray | None = None,
) -> None:
    """Put every robot at rest into a pose, in the middle of its episode."""
    pose = ROBOT.default_pose if joint_pos is None else joint_pos
    qpos = np.concatenate(([0, 0, height], quaternion, pose))
    ids = np.arange(env.num_envs)
    env.robots.reset(ids, np.tile(qpos, (env.num_envs, 1)), np.zeros((env.num_envs, 6 + N)))
    env.target[:] = pose
    env.feet_before[:] = env.robots.feet


def topple(env: WalkEnv, index: int) -> None:
    """Lay a robot on its back, well above the floor."""
    env.robots.qpos[index, 2:7] = [0.5, 0.0, 1.0, 0.0, 0.0]
