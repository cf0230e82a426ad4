"""Videos: how many frames, how large, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")
from PIL import Image
from surefoot.models.errors import RenderError, UsageError
from surefoot.models.robot_file import load_robot
from surefoot.sim.robot_batch import RobotBatch
from surefoot.sim.video import camera, frames, snapshot, write_video

ROBOT = load_robot("quadruped")
STANDING = np.concatenate(([0, 0, 0.17, 1, 0, 0, 0], ROBOT.default_pose))


@pytest.fixture(scope="module")
def _renders() -> None:
    try:
        snapshot(RobotBatch(ROBOT, 1))
    except RenderError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "rate"), [("walk.mp4", 15), ("walk.gif", 10)])
def test_each_frame_is_the_first_state_at_its_time(name: str, rate: int):
    time = np.arange(0.0, 2.001, 0.02) + 100.0
    rows = frames(time, Path(name))
    assert len(rows) == 2 * rate
    late = time[rows] - (100.0 + np.arange(len(rows)) / rate)
    assert (late > -1e-9).all() and (late < 0.02).all()


def test_other_endings_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"walk.avi, allowed are .mp4, .gif"):
        frames(np.arange(3.0), Path("walk.avi"))
    with pytest.raises(UsageError, match=r".mp4, .gif"):
        write_video(ROBOT, STANDING[None], tmp_path / "walk.avi")


@pytest.mark.usefixtures("_renders")
def test_a_gif_shows_every_state_and_its_caption(tmp_path: Path):
    states = np.repeat(STANDING[None], 3, 0)
    states[:, 2] += [0.0, 0.05, 0.1]
    counted: list[int] = []
    path = tmp_path / "walk.gif"
    write_video(ROBOT, states, path, ["", "RUN", "RUN"], lambda: counted.append(1))
    with Image.open(path) as gif:
        assert (gif.size, gif.n_frames, len(counted)) == ((320, 240), 3, 3)
        assert gif.info["duration"] == 100  # ms
        images = []
        for index in range(3):
            gif.seek(index)
            images.append(np.asarray(gif.convert("L"), np.float64))
    words = (slice(15, 35), slice(5, 40))  # rows, columns of the caption
    assert images[0][words].min() > 120 > images[1][words].min()
    assert np.abs(images[2] - images[1]).max() > 50


@pytest.mark.usefixtures("_renders")
def test_a_video_has_a_frame_for_each_state(tmp_path: Path):
    import imageio.v2 as imageio

    path = tmp_path / "walk.mp4"
    write_video(ROBOT, np.repeat(STANDING[None], 4, 0), path)
    with imageio.get_reader(path) as reader:
        assert reader.count_frames() == 4
        assert reader.get_data(0).shape == (480, 640, 3)


@pytest.mark.usefixtures("_renders")
def test_a_goal_is_a_green_ball_for_one_picture():
    with camera(ROBOT) as picture:
        without = picture(STANDING, "").astype(int)
        with_goal = picture(STANDING, "", np.array([0.0, -0.2, 0.1])).astype(int)
        nowhere = picture(STANDING, "", np.full(3, np.nan))
        again = picture(STANDING, "")
    ball = np.abs(with_goal - without).max(-1) > 20
    assert 100 < ball.sum() < 20_000
    red, green, blue = with_goal[ball].mean(0)
    assert green > red + 20 and green > blue + 20
    assert (nowhere == without).all() and (again == without).all()
