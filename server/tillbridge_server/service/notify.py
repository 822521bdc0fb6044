"""Speaks to systemd (sd_notify): ready, stopping, and the signs of life its watchdog waits for."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable

#: Signs of life within one watchdog time: three may be late on a busy machine before systemd acts.
SIGNS = 4


def say(*lines: str) -> None:
    """Tell systemd `READY=1`, `STOPPING=1` or the like; does nothing where no one listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)


def watchdog_s() -> float | None:
    """Seconds of silence after which systemd restarts this process; None when nobody watches it."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) and ours else None


async def keep_alive(answers: Callable[[], Awaitable[object]], silence_s: float) -> None:
    """Give a sign of life, for ever, each time `answers` has come back; what hangs keeps it silent.

    An error of `answers` is an answer too: whoever raised it is alive.
    """
    while True:
        with contextlib.suppress(Exception):
            await answers()
        say("WATCHDOG=1")
        await asyncio.sleep(silence_s / SIGNS)
