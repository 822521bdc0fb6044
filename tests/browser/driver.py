"""A small W3C WebDriver client: one headless Chromium, its size, its keys, its console; no library needed."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)
TAB, ENTER, SPACE, ESCAPE, SHIFT, DOWN = "\ue004", "\ue007", " ", "\ue00c", "\ue008", "\ue015"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
START_TRIES = 100


def find_browser() -> tuple[str, str] | None:
    """(chromium, chromedriver), or None where one of them is missing."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One window. Use `size` before `open`; `close` ends browser and driver."""

    def __init__(self, browser: str, driver: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._home = tempfile.mkdtemp(prefix="tillbridge-browser-")
        self._driver = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._home},
        )
        self._base = f"http://127.0.0.1:{port}"
        self._wait_for_driver()
        options = {"binary": browser, "args": [*FLAGS, f"--user-data-dir={self._home}/profile"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def _wait_for_driver(self) -> None:
        for _ in range(START_TRIES):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver does not answer")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"].partition("\n")[0]) from None

    def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call(method, self._session + path, body)

    def cdp(self, command: str, **params: Any) -> Any:
        """A command of the browser's own protocol."""
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Lay pages out in this many CSS pixels; narrow widths count as a phone."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        ])

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self._do("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        """Where the window is."""
        return str(self._do("GET", "/url"))

    def run(self, script: str, *args: Any) -> Any:
        """The value of a function body in the page."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script: str, tries: int = 100) -> Any:
        """Run a function body until its value is true."""
        for _ in range(tries):
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never became true: {script}")

    def keys(self, *keys: str) -> None:
        """Press keys one after the other, as a person would, wherever the focus is."""
        actions = [{"type": kind, "value": char} for key in keys for char in key for kind in ("keyDown", "keyUp")]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def focus(self) -> dict[str, Any]:
        """What has the focus: tag, text or label, name, href, and whether its outline can be seen."""
        return dict(self.run("""
            const e = document.activeElement, s = getComputedStyle(e), card = e.closest('.choice');
            const shown = x => x && x.outlineStyle !== 'none' && parseFloat(x.outlineWidth) >= 2;
            const label = e.labels && e.labels[0] ? e.labels[0].innerText : '';
            return {tag: e.tagName, text: (e.innerText || label || '').trim().replaceAll('\u00a0', ' '),
                    name: e.name || '',
                    value: e.value || '', type: e.type || '', href: e.getAttribute('href') || '', id: e.id,
                    outlined: !!(shown(s) || (card && shown(getComputedStyle(card))))};
        """))

    def console(self) -> list[str]:
        """What the page complained about since the last look."""
        lines = self._do("POST", "/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def forget(self) -> None:
        """No cookies any more."""
        self._do("DELETE", "/cookie")

    def picture(self, path: Path, width: int, *, dark: bool = False) -> None:
        """The whole page as PNG."""
        height = self.run("return document.documentElement.scrollHeight")
        self.size(width, max(int(height), 600), dark=dark)
        path.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))

    def close(self) -> None:
        """End the session, the driver and what they left on disk."""
        try:
            self._do("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(10)
            shutil.rmtree(self._home, ignore_errors=True)
