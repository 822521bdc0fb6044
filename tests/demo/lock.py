"""One demo at a time on one state folder, waiting for what an earlier, killed run may have left behind."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 20.0


class StateInUse(Exception):
    """Another run works on the same state folder."""


@contextmanager
def state_lock(root: Path) -> Iterator[int | None]:
    """Holds the folder; gives the lock's file, which children inherit so that it is held until the last is gone.

    Raises StateInUse after WAIT_S. Where there is no flock (Windows) nothing is held and None is given.
    """
    try:
        import fcntl
    except ImportError:
        yield None
        return
    root.mkdir(parents=True, exist_ok=True)
    held = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        ends = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise StateInUse(
                        f"Another demo works in {root}. Stop it, or choose another folder with --state.",
                    ) from None
                time.sleep(0.2)
        yield held
    finally:
        os.close(held)
