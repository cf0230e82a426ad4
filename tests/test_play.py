"""`surefoot play`: keys, pace, and the server for the browser."""

from __future__ import annotations

import http.client
import io
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from PIL import Image
from surefoot.cli import play as module
from surefoot.cli.browser_view import BrowserView, browser_view
from surefoot.cli.play import IN_BROWSER, IN_WINDOW, PUSH, RESET, SHOWN, STOP, Session, play
from surefoot.cli.play_views import _InBrowser, _InWindow
from surefoot.cli.trained import open_policy
from surefoot.models.errors import RenderError, UsageError
from surefoot.models.robot_file import MODELS
from surefoot.sim.video import scene
from verbs import refuse

WALK = MODELS / "quadruped" / "walk.onnx"


@pytest.fixture
def session() -> Session:
    return Session(open_policy(WALK, None))


# --- keys -------------------------------------------------------------------------------------


def test_the_keys_mean_nothing_to_mujocos_viewer():
    taken = {key for flags in (mujoco.mjVISSTRING, mujoco.mjRNDSTRING) for _, _, key in flags}
    taken |= set("012345 -=[]")  # geom groups, pause, speed, cameras
    assert not taken & {chr(number) for number in IN_WINDOW if number < 256}
    assert set(IN_WINDOW.values()) == set(IN_BROWSER.values()) == set(SHOWN)


def test_keys_change_the_command_within_its_range(session: Session):
    assert session.command.tolist() == [0, 0, 0]
    session.press("up")
    session.press("right")
    session.press("7")
    # A tenth of ±0.5 m/s, ±0.3 m/s and ±1 rad/s.
    assert session.command == pytest.approx([0.05, -0.03, 0.1])
    assert session.env.inputs["command"][0] == pytest.approx([0.05, -0.03, 0.1])
    assert session.caption == "vx 0.05 m/s   vy -0.03 m/s   yaw_rate 0.10 rad/s"
    for _ in range(30):
        session.press("up")
        session.press("9")
    assert session.command == pytest.approx([0.5, -0.03, -1.0])
    session.press(STOP)
    assert session.command.tolist() == [0, 0, 0]


def test_it_walks_as_it_is_driven(session: Session):
    for _ in range(8):
        session.press("up")
    heading = _heading(session)
    before = session.qpos[:2].copy()
    for _ in range(200):
        session.step()
    forward = (session.qpos[:2] - before) @ heading
    assert 1.0 < forward < 1.8  # 0.4 m/s for 4 s
    assert not session.fallen


def _heading(session: Session) -> np.ndarray:
    w, z = session.qpos[[3, 6]]
    return np.array([w * w - z * z, 2 * w * z])


def test_a_push_is_a_push(session: Session):
    before = session.env.robots.qvel[0].copy()
    session.press(PUSH)
    change = session.env.robots.qvel[0] - before
    assert 0.0 < np.abs(change[:2]).max() <= 0.5
    assert (change[2:] == 0).all()


def test_a_fallen_robot_lies_until_it_starts_anew(session: Session):
    session.press("up")
    session.env.robots.qpos[0, 3:7] = [0, 1, 0, 0]  # on its back
    session.step()
    assert session.caption == "fallen: Backspace starts anew"
    session.step()
    assert session.fallen
    session.press(RESET)
    session.step()
    assert not session.fallen
    assert session.command == pytest.approx([0.05, 0, 0])  # what was commanded still is


def test_it_goes_on_beyond_an_episodes_time(session: Session):
    session.env.ticks[:] = session.env.episode_ticks - 2
    for _ in range(4):
        session.step()
    assert session.env.ticks[0] == session.env.episode_ticks + 2


def test_help_names_every_key(session: Session):
    for shown in SHOWN.values():
        assert shown in session.help
    assert "vx more, less [m/s]" in session.help


def test_an_arm_is_shown_its_goal(tame_arm_policy: Path, session: Session):
    arm = Session(open_policy(tame_arm_policy, None))
    arm.press("up")  # a tenth of half of 0.1 to 0.28 m
    assert arm.goal == pytest.approx([0.199, 0.0, 0.145])
    assert "Enter      the goal in the middle of the workspace" in arm.help
    assert "Enter      stop" in session.help and session.goal is None
    shown = []
    view = _InBrowser(SimpleNamespace(show=shown.append), lambda *seen: seen)  # pyright: ignore
    view.show(arm)
    (_, caption, goal), *_ = shown
    assert caption == "x 0.20 m   y 0.00 m   z 0.14 m" and goal == pytest.approx(arm.goal)


def test_the_window_shows_the_goal_once(tame_arm_policy: Path):
    arm = Session(open_policy(tame_arm_policy, None))
    model = scene(arm.env.robot)
    view = _InWindow(model)
    geoms = mujoco.MjvScene(model, maxgeom=10)
    view.handle = SimpleNamespace(
        lock=nullcontext,
        user_scn=geoms,
        set_texts=lambda texts: None,
        sync=lambda: None,
        is_running=lambda: True,
    )
    for _ in range(3):
        view.show(arm)
    assert geoms.ngeom == 1
    assert geoms.geoms[0].pos == pytest.approx([0.19, 0.0, 0.145])


# --- pace -------------------------------------------------------------------------------------


class SlowView:
    """It takes its time to show, presses keys, and is closed after a few pictures."""

    def __init__(self, takes: float, pictures: int, keys: dict[int, list[str]]) -> None:
        self.now, self.takes, self.left, self.keys = 0.0, takes, pictures, keys
        self.shown = 0

    def pressed(self) -> list[str]:
        return self.keys.get(self.shown, [])

    def show(self, session: object) -> bool:
        self.now += self.takes
        self.shown += 1
        return self.shown <= self.left

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class Counted:
    """What `play` needs of a session."""

    class env:
        period = 0.02

    def __init__(self) -> None:
        self.steps, self.pressed = 0, []

    def step(self) -> None:
        self.steps += 1

    def press(self, key: str) -> None:
        self.pressed.append((self.steps, key))


@pytest.mark.parametrize("takes", [0.0, 0.003, 0.05])
def test_it_keeps_real_time(takes: float):
    session, view = Counted(), SlowView(takes, 100, {2: ["up"], 50: ["up", "down"]})
    play(session, view, lambda: view.now, view.sleep)  # pyright: ignore
    assert session.steps == pytest.approx(view.now / 0.02, abs=4)
    assert [key for _, key in session.pressed] == ["up", "up", "down"]


def test_a_computer_that_does_not_keep_up_is_slower_but_not_stuck():
    session, view = Counted(), SlowView(1.0, 10, {})
    play(session, view, lambda: view.now, view.sleep)  # pyright: ignore
    assert session.steps == pytest.approx(10 * module.LATEST / 0.02, abs=10)


# --- the browser ------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[BrowserView]:
    with browser_view(0, IN_BROWSER, "the keys") as view:
        yield view


def ask(server: BrowserView, method: str, path: str, body: str | None = None, **headers: str):
    connection = http.client.HTTPConnection(server.url.split("/")[2], timeout=10)
    connection.request(method, path, body, headers)
    return connection.getresponse()


def test_the_page_and_its_keys(server: BrowserView):
    page = ask(server, "GET", "/").read().decode()
    assert "the keys" in page and 'src="/stream"' in page and "ArrowUp" in page
    for key in ("ArrowUp", "q", "Enter"):
        assert ask(server, "POST", "/key", key).status == 204
    assert list(server.pressed()) == ["up", STOP]
    assert list(server.pressed()) == []


def test_keys_come_from_its_own_page_only(server: BrowserView):
    own = server.url.rstrip("/")
    assert ask(server, "POST", "/key", "ArrowUp", Origin=own).status == 204
    for headers in (
        {"Origin": "http://elsewhere.example"},
        {"Origin": "http://elsewhere.example:80", "Host": "elsewhere.example:80"},
        {"Content-Length": "1000000"},
        {"Content-Length": "many"},
    ):
        assert ask(server, "POST", "/key", "ArrowUp", **headers).status == 403
    assert ask(server, "POST", "/other", "ArrowUp").status == 403
    assert ask(server, "GET", "/etc/passwd").status == 404
    assert list(server.pressed()) == ["up"]


def test_the_stream_holds_the_newest_picture(server: BrowserView):
    server.show(np.zeros((8, 8, 3), np.uint8))
    server.show(np.full((8, 8, 3), 200, np.uint8))
    answer = ask(server, "GET", "/stream")
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    assert answer.readline() == b"--frame\r\n"
    assert answer.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(answer.readline().split()[1])
    answer.readline()
    image = Image.open(io.BytesIO(answer.read(length)))
    assert np.asarray(image).mean() == pytest.approx(200, abs=2)


def test_it_listens_on_this_computer_only(server: BrowserView):
    assert server.url.startswith("http://127.0.0.1:")
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(UsageError, match=f"--port: found {port}, which cannot be had.*another"):
        BrowserView(port, {}, "")
    with pytest.raises(UsageError, match="--port: found 70000"):
        BrowserView(70000, {}, "")


# --- the verb ---------------------------------------------------------------------------------


def test_play_refuses(capsys, tmp_path: Path):
    assert "found nothing, allowed is an .onnx" in refuse(capsys, "play", str(tmp_path / "no.onnx"))
    line = refuse(capsys, "play", str(tmp_path))
    assert "found a folder without policy.onnx, allowed is an .onnx file, or a run's f" in line
    assert f"allowed is {WALK}\n" in refuse(capsys, "play", str(WALK.parent))
    (tmp_path / "checkpoint.pt").touch()
    line = refuse(capsys, "play", str(tmp_path))
    assert f"a run without its policy.onnx, which surefoot export {tmp_path} writes" in line
    (tmp_path / "policy.onnx").write_text("no policy")
    line = refuse(capsys, "play", str(tmp_path))
    assert line.count(str(tmp_path)) == 1 and "ONNXRuntimeError" not in line
    assert "there is no robot" in refuse(capsys, "play", str(WALK), "--robot", "spot")


def test_a_display_that_is_none_is_one_line(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4711")
    assert "no window can be opened on this display" in refuse(capsys, "play", str(WALK))


def test_ctrl_c_ends_it_in_the_browser(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)

    def interrupted(session: Session, view: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "play", interrupted)
    try:
        assert module.run(module.Arguments(WALK, port=0)) == 0
    except RenderError as error:
        pytest.skip(f"{error}")
    out = capsys.readouterr().out
    assert "http://127.0.0.1:" in out and "Backspace" in out and out.endswith("Ended.\n")
