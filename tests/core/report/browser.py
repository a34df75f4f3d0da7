"""Chromium without a window, which tests drive as a reader would: by keys, the mouse and sizes.

The devtools protocol over two pipes, so that neither a port nor a library is needed.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--no-first-run", "--remote-debugging-pipe"),
)
KEYS = {"Tab": 9, "Enter": 13, "Space": 32, "ArrowDown": 40}
TEXT = {"Enter": "\r", "Space": " "}

Message = dict[str, Any]


class Page:
    """A tab of the browser.  complaints: what it wrote to its console, and errors of scripts."""

    def __init__(self, to: int, answers: Iterator[Message]) -> None:
        self._to, self._answers = to, answers
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Message:
        """Do it, and give what it gives."""
        number = next(self._numbers)
        message: Message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == number)["result"]

    def open(self, path: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Show a file in a window of this size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.complaints.clear()
        self.call("Page.navigate", url=path.as_uri())
        self._until(lambda event: event.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Value of an expression, or of what it promises."""
        given = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **given)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, times: int = 1) -> None:
        code = {"key": " " if key == "Space" else key, "code": key}
        code["windowsVirtualKeyCode"] = KEYS[key]  # type: ignore[assignment]
        for _ in range(times):
            text = {"text": TEXT[key]} if key in TEXT else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def click(self, element: str) -> None:
        """Click into the middle of what an expression gives."""
        x, y = self.middle(element)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, element: str) -> tuple[float, float]:
        """Place of an element, which is scrolled into view."""
        box = self.run(
            f"(() => {{ const it = {element}; it.scrollIntoView({{ block: 'center' }});"
            " const { x, y, width, height } = it.getBoundingClientRect();"
            " return [x + width / 2, y + height / 2]; })()"
        )
        return box[0], box[1]

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        given = {"captureBeyondViewport": whole}
        return base64.b64decode(self.call("Page.captureScreenshot", **given)["data"])

    def _until(self, found: Any) -> Message:
        for message in self._answers:
            self._note(message)
            if "error" in message:
                raise AssertionError(message["error"])
            if found(message):
                return message
        raise AssertionError("Chromium ended")

    def _note(self, event: Message) -> None:
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(event["params"]["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(event["params"]["args"]))
            case "Log.entryAdded":
                self.complaints.append(event["params"]["entry"]["text"])


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """One tab of a browser whose profile is in the folder."""
    assert CHROMIUM
    (theirs, to), (of, ours) = os.pipe(), os.pipe()
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    redirect = f'exec "$@" 3<&{theirs} 4>&{ours}'
    with subprocess.Popen(
        ["bash", "-c", redirect, "bash", *command],
        pass_fds=(theirs, ours),
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        os.close(ours)
        page = Page(to, _messages(of))
        try:
            yield page
        finally:
            process.terminate()
            os.close(to)
            os.close(of)


def _messages(source: int) -> Iterator[Message]:
    rest = b""
    while data := os.read(source, 1 << 16):
        *whole, rest = (rest + data).split(b"\0")
        yield from map(json.loads, whole)
