"""Starts, kills and asks the real programs of a small store; everything that happens is told to its story."""

import asyncio
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tillbridge_agent.local import NotRunning as AgentNotRunning
from tillbridge_agent.local import ask as ask_agent
from tillbridge_server.config import load_config
from tillbridge_server.door import NotRunning as ServerNotRunning
from tillbridge_server.door import ask as ask_server
from tillbridge_server.errors import TillbridgeError

CRASHED = 137
CALL_S = 60.0
READY_S = 40.0
LOOK_S = 0.03
LOG_LINES = 25
_PR_SET_PDEATHSIG = 1


class Story:
    """What happened in one seed, with seconds since its begin; printed when it fails."""

    def __init__(self) -> None:
        """Begins now."""
        self._began = time.monotonic()
        self.lines: list[str] = []

    def tell(self, what: str) -> None:
        """One more line."""
        self.lines.append(f"{time.monotonic() - self._began:7.2f}s  {what}")


class Program:
    """One of the two programs, started again and again with one log."""

    def __init__(self, name: str, line: list[str], log: Path, story: Story) -> None:
        """`name` is agent or server, `line` its command."""
        self.name, self._line, self._log, self._story = name, line, log, story
        self._process: subprocess.Popen[bytes] | None = None
        self.armed = ""

    def start(self, crash_at: str = "") -> None:
        """Start it; `crash_at` is "point:n" or empty."""
        assert not self.running, f"{self.name} runs already"
        self.armed = crash_at
        self._story.tell(f"{self.name} starts" + (f", to die at {crash_at}" if crash_at else ""))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(crash_at),
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    @property
    def running(self) -> bool:
        """Whether it is there now."""
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Ask it to end; it must obey."""
        if self._process is None or not self.running:
            return
        self._story.tell(f"{self.name} is asked to stop")
        self._process.terminate()
        code = self._process.wait(timeout=20)
        # Asked within its first moments it is not listening yet, and the system ends it.
        assert code in (0, CRASHED, -signal.SIGTERM), f"{self.name} ended with {code} when asked to stop"

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def last_lines(self) -> list[str]:
        """The end of its log."""
        if not self._log.exists():
            return []
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]


def environment(crash_at: str) -> dict[str, str]:
    """The environment of a process that dies at this point; empty for one that lives."""
    return {**os.environ, "TILLBRIDGE_CRASH_AT": crash_at}


def command(name: str) -> str:
    """The program beside this Python."""
    return str(Path(sys.executable).parent / name)


def run(line: list[str], crash_at: str = "") -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        line, capture_output=True, text=True, encoding="utf-8", timeout=CALL_S, check=False, env=environment(crash_at)
    )


def until(done: Callable[[], bool], within_s: float) -> bool:
    """Whether it became true in time."""
    ends = time.monotonic() + within_s
    while not done():
        if time.monotonic() > ends:
            return False
        time.sleep(LOOK_S)
    return True


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET on this machine. Raises OSError when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def window(port: int) -> dict[str, Any] | None:
    """The shop window's items, or None when the server does not answer."""
    try:
        status, body = get(port, "/shop/items.json")
    except OSError:
        return None
    return json.loads(body) if status == 200 else None


def server_verb(server_toml: Path, verb: str, **arguments: Any) -> Any:
    """Ask the running server as its command line does; None when it is not there, or died over it."""
    try:
        return ask_server(load_config(server_toml), verb, arguments)
    except ServerNotRunning:
        return None
    except TillbridgeError as error:
        if "did not say" in error.message:
            return None
        raise


def agent_status(state: Path) -> Any:
    """The status document of the running agent; None when it is not running."""
    try:
        return asyncio.run(ask_agent(state, "status", {}))
    except AgentNotRunning:
        return None


def _end_with_parent() -> None:
    """The kernel ends this child when the tests are killed without a chance to do it themselves."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
