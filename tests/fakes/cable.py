"""A serial cable that a test holds one end of: a pseudo terminal behind a link, and the device said to be there."""

import contextlib
import os
import pty
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tillbridge_agent.core.device import DeviceConfig, PortConfig
from tillbridge_agent.devices.line_scanner import LineScannerConfig


@contextlib.contextmanager
def cable(link: Path) -> Iterator[int]:
    """Our end, as a file descriptor; leaving unplugs it."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    link.symlink_to(os.ttyname(theirs))
    try:
        yield ours
    finally:
        link.unlink()
        os.close(theirs)
        os.close(ours)


def scanner_device(link: Path, **protocol: Any) -> DeviceConfig:
    """A line scanner named counter at this link."""
    return DeviceConfig(name="counter", port=PortConfig(path=str(link)), protocol=LineScannerConfig(**protocol))
