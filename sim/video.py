"""Pictures of a robot in motion, rendered without a display."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import imageio.v2 as imageio
import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..models.errors import RenderError, UsageError
from ..models.robot import Robot
from .robot_batch import RobotBatch
from .terrain import Terrain
from .world import build_spec

SIZE = (480, 640)  # height, width [pixel]
FRAME_RATES = {".mp4": 15, ".gif": 10}  # [Hz]; a GIF's must divide 100
FORMATS = tuple(FRAME_RATES)
COLOURS = 32  # of a GIF, which has half the size: few, as it can hardly be compressed
INK = (40, 44, 52)  # of captions
GOAL_RADIUS = 0.02  # [m]
GOAL_COLOUR = (0.18, 0.6, 0.35, 0.5)  # red, green, blue, opacity


def scene(robot: Robot, terrain: Terrain | None = None) -> mujoco.MjModel:
    """The robot on a chequered floor, level or not, for looking at."""
    spec = build_spec(robot, terrain)
    spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        width=256,
        height=256,
        rgb1=[0.86, 0.87, 0.89],
        rgb2=[0.78, 0.8, 0.83],
    )
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        width=64,
        height=64,
        rgb1=[0.95, 0.96, 0.98],
        rgb2=[0.75, 0.81, 0.88],
    )
    material = spec.add_material(name="floor", texrepeat=[1.6, 1.6], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    floor = spec.geom("floor")
    floor.material = "floor"
    floor.rgba = [1, 1, 1, 1]
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    # Without a graphics card every sample costs: these two make it three times as fast.
    spec.visual.quality.shadowsize = 2048
    spec.visual.quality.offsamples = 0
    spec.stat.extent = 0.6  # [m]
    spec.visual.map.shadowclip = 4  # narrower maps leave specks at their edge
    spec.delete(spec.light("sun"))
    base = spec.worldbody.first_body()
    base.add_light(  # follows the robot, so that its shadow never leaves the map
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM,
        pos=[0, 0, 1],
        dir=[0.15, 0.25, -1],
        diffuse=[0.5, 0.5, 0.5],
        specular=[0.1, 0.1, 0.1],
    )
    return spec.compile()


def frames(time: np.ndarray, path: Path) -> np.ndarray:
    """Which states a video shows: the first one at or after each frame's time.

    Args:
        time: of the states, rising [s]. Shape (T,).
        path: of the video; its ending says how many frames a second it has.

    Returns:
        Indices into `time`. Shape (frames,).

    Raises:
        UsageError: another ending.
    """
    period = 1.0 / FRAME_RATES[_ending(path)]
    return np.searchsorted(time, np.arange(time[0], time[-1], period))


def write_video(
    robot: Robot,
    qpos: np.ndarray,
    path: Path,
    captions: Sequence[str] = (),
    on_frame: Callable[[], None] = lambda: None,
    terrain: Terrain | None = None,
    goals: np.ndarray | None = None,
) -> None:
    """Render states as the frames of an .mp4, at 15 a second, or of a .gif, at 10 a second.

    Args:
        robot: which moves.
        qpos: MuJoCo's positions in each frame. Shape (frames, nq).
        path: of the file to write.
        captions: what is written above each frame; nothing if empty.
        on_frame: called after each frame.
        terrain: the ground; None: level.
        goals: places to show as balls that one sees through [m]; NaN: none. Shape (frames, 3).

    Raises:
        UsageError: another ending.
        RenderError: this machine cannot render.
    """
    ending = _ending(path)
    with camera(robot, terrain) as picture:

        def image(index: int) -> np.ndarray:
            caption = captions[index] if captions else ""
            found = picture(qpos[index], caption, None if goals is None else goals[index])
            on_frame()
            return found

        if ending == ".gif":
            _write_gif([_halved(Image.fromarray(image(i))) for i in range(len(qpos))], path)
            return
        with imageio.get_writer(path, fps=FRAME_RATES[ending]) as writer:
            for index in range(len(qpos)):
                writer.append_data(image(index))  # pyright: ignore


def snapshot(robots: RobotBatch) -> np.ndarray:
    """The first robot as an RGB image. Shape (480, 640, 3), uint8."""
    with camera(robots.robot, robots.terrain) as picture:
        return picture(robots.qpos[0], "")


class Picture(Protocol):
    """Positions (nq,), a caption, and a goal (3,) [m] → RGB image (480, 640, 3), uint8."""

    def __call__(
        self, qpos: np.ndarray, caption: str, goal: np.ndarray | None = None, /
    ) -> np.ndarray: ...


@contextmanager
def camera(robot: Robot, terrain: Terrain | None = None) -> Iterator[Picture]:
    """What takes pictures of a robot.

    Raises:
        RenderError: this machine cannot render.
    """
    model = scene(robot, terrain)
    data = mujoco.MjData(model)
    with _renderer(model) as renderer:

        def picture(
            qpos: np.ndarray, caption: str, goal: np.ndarray | None = None, /
        ) -> np.ndarray:
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera="track")
            if goal is not None and np.isfinite(goal).all():
                _add_ball(renderer.scene, goal)
            if not caption:
                return renderer.render()
            image = Image.fromarray(renderer.render())
            _write_caption(image, caption)
            return np.asarray(image)

        yield picture


def _ending(path: Path) -> str:
    if path.suffix not in FRAME_RATES:
        raise UsageError(f"video: found {path.name}, allowed are {', '.join(FORMATS)}")
    return path.suffix


def _renderer(model: mujoco.MjModel) -> mujoco.Renderer:
    try:
        with warnings.catch_warnings(action="ignore"):  # GLFW warns of what fails right after
            return mujoco.Renderer(model, *SIZE)
    except (mujoco.FatalError, RuntimeError, ImportError) as error:
        chosen = os.environ.get("MUJOCO_GL")
        setting = f"MUJOCO_GL={chosen}" if chosen else "MUJOCO_GL unset"
        reason = str(error).partition(",")[0]
        raise RenderError(
            f"this machine cannot render with {setting} ({reason}); "
            "on Linux without a display it takes libEGL, and MUJOCO_GL=egl"
        ) from None


def _add_ball(shown: mujoco.MjvScene, place: np.ndarray) -> None:
    """A ball that is in no model, until the scene is updated."""
    size, upright = np.full(3, GOAL_RADIUS), np.eye(3).ravel()
    ball, colour = mujoco.mjtGeom.mjGEOM_SPHERE, np.array(GOAL_COLOUR, np.float32)
    mujoco.mjv_initGeom(shown.geoms[shown.ngeom], ball, size, place, upright, colour)
    shown.ngeom += 1


def _halved(image: Image.Image) -> Image.Image:
    return image.resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.BOX)


def _write_gif(images: list[Image.Image], path: Path) -> None:
    """With one palette for all, lest colours flicker."""
    palette = images[len(images) // 2].quantize(COLOURS)
    few = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    period = 1000 // FRAME_RATES[".gif"]  # [ms]
    few[0].save(path, save_all=True, append_images=few[1:], duration=period, loop=0)


def _write_caption(image: Image.Image, text: str) -> None:
    """Far above the robot, where the floor is pale and nothing moves."""
    draw = ImageDraw.Draw(image)
    draw.text((16, 36), text, fill=INK, font=ImageFont.load_default(22))
