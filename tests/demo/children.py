"""Starts, watches and ends the demo's processes; each has its own log file and its own process group."""

import os
import subprocess
from pathlib import Path

STOP_S = 10.0
TAIL_LINES = 15


class Child:
    """One process of the demo. It is always reaped, also when it has to be killed."""

    def __init__(self, name: str, command: list[str], folder: Path, log: Path) -> None:
        """Starts `command` in `folder`; stdout and stderr go to `log`, which begins anew."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # A group of its own: Ctrl-C reaches the demo alone, which then ends its children in order.
        group = {"start_new_session": True} if os.name == "posix" else {"creationflags": 0x200}
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **group,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Asks it to end by itself; `stop` waits for that."""
        if self.exit_code() is None:
            self._process.terminate()

    def stop(self, wait_s: float = STOP_S) -> int:
        """Ends it, by force if it does not obey within `wait_s`; returns its exit code."""
        self.ask_to_stop()
        try:
            return int(self._process.wait(timeout=wait_s))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return int(self._process.wait())

    def wait(self, wait_s: float) -> int | None:
        """Its exit code, None if it still runs after `wait_s`."""
        try:
            return int(self._process.wait(timeout=wait_s))
        except subprocess.TimeoutExpired:
            return None

    def last_lines(self) -> list[str]:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
