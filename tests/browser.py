"""A real browser for tests of pages: Chromium without a window, spoken to in its DevTools protocol over a
pair of pipes, so that no driver has to be installed.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Browser:
    """One page. `requests` are the addresses that it asked for, `faults` what it said on its console."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._write, self._read, self._received = to_browser, from_browser, b""
        self._n_sent, self._session = 0, ""
        self.requests: list[str] = []
        self.faults: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command. Raises RuntimeError where the browser refuses it."""
        self._n_sent += 1
        message: dict[str, Any] = {"id": self._n_sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._n_sent:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                result: dict[str, Any] = reply["result"]
                return result
            self._note(reply)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            part = os.read(self._read, 2**16)
            assert part, "the browser has ended"
            self._received += part
        line, _, self._received = self._received.partition(b"\0")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("method"), event.get("params", {}):
            case "Network.requestWillBeSent", params:
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown", params:
                self.faults.append(str(params["exceptionDetails"]))
            case "Log.entryAdded", params:
                self.faults.append(params["entry"]["text"])

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The expression's value as soon as it holds."""
        patience = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < patience, (
                f"{script}; {self.faults}; {self.run('document.body.innerText')}"
            )
            time.sleep(0.05)
        return found

    def close(self) -> None:
        os.write(self._write, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        self.resize(width, height)
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int = 900) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def press(self, key: str, modifiers: int = 0) -> None:
        """As `Tab`; modifiers: 2 Ctrl, 8 Shift."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, modifiers=modifiers
            )

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.send("Input.insertText", text=text)


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser whose profile is in `folder`."""
    assert CHROMIUM is not None
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()
    pipes = f"3<&{to_browser} 4>&{from_browser}"
    command = f'exec "$0" "$@" {pipes} 2>"{folder}/browser.log"'
    flags = [*FLAGS, f"--user-data-dir={folder}/profile", "about:blank"]
    process = subprocess.Popen(["bash", "-c", command, CHROMIUM, *flags], pass_fds=(to_browser, from_browser))
    os.close(to_browser)
    os.close(from_browser)
    browser = None
    try:
        browser = Browser(from_us, to_us)
        yield browser
    finally:
        if browser is not None:
            browser.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(from_us)
        os.close(to_us)
