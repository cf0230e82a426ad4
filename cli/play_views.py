"""Where `surefoot play` shows its robot: MuJoCo's viewer, or the browser."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import mujoco

from ..models.errors import RenderError
from ..models.robot import Robot
from ..sim.video import Picture, add_goal, camera, scene
from .browser_view import BrowserView, browser_view
from .play import IN_BROWSER, IN_WINDOW, Session


class _InBrowser:
    def __init__(self, view: BrowserView, picture: Picture) -> None:
        self._view, self._picture = view, picture

    def pressed(self) -> Iterable[str]:
        return self._view.pressed()

    def show(self, session: Session) -> bool:
        self._view.show(self._picture(session.qpos, session.caption, session.goal))
        return True


@contextmanager
def in_browser(robot: Robot, port: int, help_text: str) -> Iterator[tuple[_InBrowser, str]]:
    """A view in the browser, and its address.

    Raises:
        RenderError: this machine cannot render.
        UsageError: the port cannot be had.
    """
    with camera(robot) as picture, browser_view(port, IN_BROWSER, help_text) as view:
        yield _InBrowser(view, picture), view.url


class _InWindow:
    def __init__(self, model: mujoco.MjModel) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._pressed: SimpleQueue[str] = SimpleQueue()  # filled by the viewer's own thread

    def press(self, key: int) -> None:
        """A key by GLFW's number; one that means nothing is left to the viewer."""
        if key in IN_WINDOW:
            self._pressed.put(IN_WINDOW[key])

    def pressed(self) -> Iterable[str]:
        while not self._pressed.empty():
            yield self._pressed.get()

    def show(self, session: Session) -> bool:
        with self.handle.lock():
            self._data.qpos[:] = session.qpos
            mujoco.mj_forward(self._model, self._data)
            drawn = self.handle.user_scn
            assert drawn is not None, "a window has a scene"
            drawn.ngeom = 0
            if session.goal is not None:
                add_goal(drawn, self._data, session.goal)
        self.handle.set_texts((None, None, session.caption, None))
        self.handle.sync()
        return self.handle.is_running()

    def open(self) -> None:
        """Show the window, looking after the robot."""
        from mujoco import viewer

        self.handle = viewer.launch_passive(
            self._model,
            self._data,
            key_callback=self.press,
            show_left_ui=False,
            show_right_ui=False,
        )
        with self.handle.lock():
            look = self.handle.cam
            look.type, look.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
            look.distance, look.azimuth, look.elevation = 1.3, 110, -20  # [m], [°], [°]


@contextmanager
def in_window(robot: Robot) -> Iterator[_InWindow]:
    """MuJoCo's viewer. Raises RenderError where no window can be opened."""
    import glfw

    with warnings.catch_warnings(action="ignore"):  # it warns of what fails right after
        if not glfw.init():  # the viewer itself would wait for ever
            raise RenderError("no window can be opened on this display; --browser needs none")
    view = _InWindow(scene(robot))
    view.open()
    try:
        yield view
    finally:
        view.handle.close()
