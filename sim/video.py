"""Pictures of a robot in motion, rendered without a display."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import imageio.v2 as imageio
import mujoco
import numpy as np
from PIL import Image

from ..models.errors import RenderError, UsageError
from ..models.robot import Robot
from .robot_batch import RobotBatch
from .world import build_spec

SIZE = (480, 640)  # height, width [pixel]
FRAME_RATE = 25  # [Hz]
FORMATS = (".mp4", ".gif")
COLOURS = 64  # of a GIF, which has half the size and half the frames a second


def scene(robot: Robot) -> mujoco.MjModel:
    """The robot on a chequered floor, for looking at."""
    spec = build_spec(robot)
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
    material = spec.add_material(name="floor", texrepeat=[2.5, 2.5], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    floor = spec.geom("floor")
    floor.material = "floor"
    floor.rgba = [1, 1, 1, 1]
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.visual.quality.shadowsize = 4096
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


def frames(time: np.ndarray, qpos: np.ndarray) -> np.ndarray:
    """The states at the frames of a video.

    Args:
        time: rising [s]. Shape (T,).
        qpos: states at these times. Shape (T, nq).

    Returns:
        The first state at or after each frame's time. Shape (frames, nq).
    """
    return qpos[np.searchsorted(time, np.arange(time[0], time[-1], 1.0 / FRAME_RATE))]


def write_video(
    robot: Robot,
    qpos: Iterable[np.ndarray],
    path: Path,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Render states `qpos` (nq,), at 25 a second, into an .mp4 or a .gif.

    Raises:
        UsageError: another ending.
        RenderError: this machine cannot render.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"video: found {path.name}, allowed are {', '.join(FORMATS)}")
    model = scene(robot)
    data = mujoco.MjData(model)
    if path.suffix == ".gif":
        with _renderer(model, SIZE[0] // 2, SIZE[1] // 2) as renderer:
            images = []
            for index, state in enumerate(qpos):
                if index % 2 == 0:
                    image = Image.fromarray(_frame(model, data, renderer, state))
                    images.append(image.quantize(COLOURS, dither=Image.Dither.NONE))
                on_frame()
        images[0].save(
            path, save_all=True, append_images=images[1:], duration=2000 / FRAME_RATE, loop=0
        )
        return
    with imageio.get_writer(path, fps=FRAME_RATE) as writer, _renderer(model, *SIZE) as renderer:
        for state in qpos:
            writer.append_data(_frame(model, data, renderer, state))  # pyright: ignore
            on_frame()


def snapshot(robots: RobotBatch) -> np.ndarray:
    """The first robot as an RGB image. Shape (480, 640, 3), uint8."""
    model = scene(robots.robot)
    data = mujoco.MjData(model)
    with _renderer(model, *SIZE) as renderer:
        return _frame(model, data, renderer, robots.qpos[0])


def _renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    try:
        return mujoco.Renderer(model, height, width)
    except (mujoco.FatalError, RuntimeError, ImportError) as error:
        raise RenderError(
            f"this machine cannot render ({error}); on Linux without a display it takes libEGL"
        ) from None


def _frame(
    model: mujoco.MjModel, data: mujoco.MjData, renderer: mujoco.Renderer, qpos: np.ndarray
) -> np.ndarray:
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    renderer.update_scene(data, camera="track")
    return renderer.render()
