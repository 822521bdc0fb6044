"""Starts, watches and ends the demo's processes; each has its own log file and its own process group."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

STOP_S = 10.0
TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1


class Child:
    """One process of the demo. It is always reaped, also when it has to be killed."""

    def __init__(self, name: str, command: list[str], log: Path, keep_open: tuple[int, ...] = ()) -> None:
        """Starts `command`; stdout and stderr go to `log`, which begins anew. `keep_open`: files it inherits."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **_apart(keep_open),
            )

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self, wait_s: float = STOP_S) -> int:
        """Asks it to end, by force if it does not obey within `wait_s`; returns its exit code."""
        if self.exit_code() is None:
            self._process.terminate()
        code = self.wait(wait_s)
        if code is None:
            self._process.kill()
            code = self._process.wait()
        return code

    def wait(self, wait_s: float) -> int | None:
        """Its exit code, None if it still runs after `wait_s`."""
        try:
            return self._process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            return None

    def last_lines(self) -> list[str]:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]


def _apart(keep_open: tuple[int, ...]) -> dict[str, Any]:
    """A group of its own: Ctrl-C reaches the demo alone, which then ends its children in order."""
    if os.name != "posix":
        return {"creationflags": 0x200}
    apart: dict[str, Any] = {"start_new_session": True, "pass_fds": keep_open}
    if sys.platform == "linux":
        apart["preexec_fn"] = _end_with_parent
    return apart


def _end_with_parent() -> None:
    """Has the kernel end this child when the demo is killed without a chance to do it itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
