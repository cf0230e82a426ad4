"""A robot in the browser: a picture stream and key presses over HTTP, on this computer only.

For computers without a display: `ssh -L 8000:127.0.0.1:8000 …` brings it to where one is. The
pictures are JPEGs in one endless answer (multipart/x-mixed-replace), which every browser shows as a
moving image; a page of a few lines sends the keys back. It listens on 127.0.0.1 and takes keys only
from its own page.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any, cast

import numpy as np
from PIL import Image

from ..models.errors import UsageError

HOST = "127.0.0.1"
BOUNDARY = "frame"
PATIENCE = 1.0  # without a new picture, after which it is seen whether anybody still looks [s]
LONGEST_KEY = 20  # of a browser's names for keys [bytes]

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>surefoot play</title>
<style>body { margin: 0; background: #dfe3ea; font: 15px system-ui, sans-serif; }
img { display: block; margin: auto; height: 85vh; } pre { width: 42rem; margin: .5rem auto; }
</style></head><body><img alt="" src="/stream"><pre>KEYS</pre><script>
const known = KNOWN;
addEventListener("keydown", (event) => {
  if (!known.includes(event.key)) return;
  event.preventDefault();
  fetch("/key", { method: "POST", body: event.key });
});
</script></body></html>
"""


class BrowserView:
    """A server with the newest picture, and the keys that were pressed."""

    def __init__(self, port: int, keys: dict[str, str], help_text: str) -> None:
        """Listen at once.

        Args:
            port: 0 for any free one.
            keys: a browser's name of a key → ours.
            help_text: what the keys do, shown under the picture.

        Raises:
            UsageError: the port cannot be had.
        """
        self._keys, self._pressed = keys, SimpleQueue()
        self._changed = threading.Condition()
        self._jpeg, self._count = b"", 0
        page = PAGE.replace("KEYS", help_text).replace("KNOWN", json.dumps(list(keys)))
        self.page = page.encode()
        try:
            self._server = _Server((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"--port: found {port}, which cannot be had: {reason}; give another"
            ) from None
        self._server.view = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{HOST}:{self._server.server_port}/"

    def show(self, image: np.ndarray) -> None:
        """Let everybody who looks see a picture. Shape (height, width, 3), uint8."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=80)
        with self._changed:
            self._jpeg, self._count = buffer.getvalue(), self._count + 1
            self._changed.notify_all()

    def pressed(self) -> Iterator[str]:
        """What was pressed since, by our names."""
        while True:
            try:
                yield self._pressed.get_nowait()
            except Empty:
                return

    def press(self, key: str) -> None:
        """A browser's key; one that means nothing is left."""
        if key in self._keys:
            self._pressed.put(self._keys[key])

    def picture_after(self, count: int) -> tuple[bytes, int]:
        """The newest picture and its number, as soon as it is another than number `count`."""
        with self._changed:
            self._changed.wait_for(lambda: self._count > count, PATIENCE)
            return self._jpeg, self._count

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def browser_view(port: int, keys: dict[str, str], help_text: str) -> Iterator[BrowserView]:
    """A `BrowserView`, closed in the end."""
    view = BrowserView(port, keys, help_text)
    try:
        yield view
    finally:
        view.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an open stream must not keep the program from ending
    view: BrowserView


class _Handler(BaseHTTPRequestHandler):
    @property
    def view(self) -> BrowserView:
        return cast("_Server", self.server).view

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(200, "text/html; charset=utf-8", self.view.page)
        elif self.path == "/stream":
            self._stream()
        else:
            self._answer(404, "text/plain", b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        sound = length.isdigit() and int(length) <= LONGEST_KEY
        if self.path != "/key" or not self._from_own_page() or not sound:
            self._answer(403, "text/plain", b"")
            return
        self.view.press(self.rfile.read(int(length)).decode(errors="replace"))
        self._answer(204, "text/plain", b"")

    def _from_own_page(self) -> bool:
        """Other sites' pages could send keys to this address, too: their origin gives them away."""
        host = self.headers.get("Host", "")
        return host.partition(":")[0] in (HOST, "localhost") and (
            self.headers.get("Origin") in (None, f"http://{host}")
        )

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.end_headers()
        count = 0
        try:
            while True:
                jpeg, count = self.view.picture_after(count)
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                self.wfile.write(f"{head}\r\n\r\n".encode() + jpeg + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return  # nobody looks any more

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for the keys."""
