"""A contact sensor's site is where its foot is, however the MJCF says so."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from surefoot.models.errors import RobotFileError
from surefoot.models.robot import Robot
from surefoot.models.robot_file import load_robot
from surefoot.sim.robot_batch import RobotBatch
from surefoot.sim.world import pose_on_floor

BIPED = load_robot("biped")
BAR = r'(<geom name="\w+_foot" class="foot") fromto="([^"]*)"/>'


def biped_with(folder: Path, change: Callable[[str], str]) -> Robot:
    """The biped with another MJCF."""
    folder = folder / "biped"
    shutil.copytree(BIPED.directory, folder)
    (mjcf,) = folder.glob("*.xml")
    before = mjcf.read_text()
    mjcf.write_text(change(before))
    assert mjcf.read_text() != before
    return load_robot(str(folder / "robot.toml"))


def bars(rotation: str) -> Callable[[str], str]:
    """The MJCF with the feet's bars, which lie along y, placed by their middle and a rotation."""

    def placed(match: re.Match[str]) -> str:
        ends = np.array(match.group(2).split(), float).reshape(2, 3)
        x, y, z = ends.mean(0)
        half = np.linalg.norm(ends[1] - ends[0]) / 2
        return f'{match.group(1)} pos="{x} {y} {z}" size="0.008 {half}" {rotation}/>'

    return lambda mjcf: re.sub(BAR, placed, mjcf)


def felt(robot: Robot) -> np.ndarray:
    """What the feet feel of a robot that has stood for a while [N]."""
    robots = RobotBatch(robot, 1, nthread=1)
    qpos = pose_on_floor(robots.model, robot.default_pose)
    robots.reset(np.array([0]), qpos[None], np.zeros((1, robots.model.nv)))
    for _ in range(25):
        robots.step(robot.default_pose[None])
    return robots.contact_force[0].copy()


@pytest.mark.parametrize(
    "rotation",
    [
        'quat="0.7071067811865476 0.7071067811865476 0 0"',
        'euler="-1.5707963267948966 0 0"',
        'axisangle="1 0 0 -1.5707963267948966"',
        'xyaxes="1 0 0 0 0 -1"',
        'zaxis="0 1 0"',
    ],
)
def test_one_bar_in_many_words_feels_the_same(tmp_path: Path, rotation: str):
    robot = biped_with(tmp_path, bars(rotation))
    np.testing.assert_allclose(felt(robot), felt(BIPED), atol=0.1)
    assert felt(robot).sum() > 20.0


def test_a_shape_that_no_site_can_have_is_refused(tmp_path: Path):
    robot = biped_with(
        tmp_path, lambda mjcf: re.sub(BAR, r'\1 type="plane" size="1 1 1"/>', mjcf, count=1)
    )
    with pytest.raises(RobotFileError, match=r"the type plane in biped[.]xml, allowed are sph"):
        RobotBatch(robot, 1)


def test_sensors_of_the_mjcfs_own_are_nobodys_contacts(tmp_path: Path):
    own = '<sensor><gyro site="imu"/></sensor></mujoco>'
    robot = biped_with(tmp_path, lambda mjcf: mjcf.replace("</mujoco>", own))
    np.testing.assert_array_equal(felt(robot), felt(BIPED))
