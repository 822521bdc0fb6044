"""What both programs tell systemd: the right words at its socket, a sign of life only from what answers."""

import asyncio
import importlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tillbridge_agent.store import outbox
from tillbridge_agent.store.database import AgentStore

PACKAGES = ("tillbridge_agent", "tillbridge_server")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="NOT RUN: systemd is on Linux only")


@pytest.fixture(params=PACKAGES)
def notify(request: pytest.FixtureRequest) -> ModuleType:
    """The helper of each program; neither may import the other's."""
    return importlib.import_module(f"{request.param}.service.notify")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_words_arrive(notify: ModuleType, manager: socket.socket) -> None:
    """Several lines are one message."""
    notify.say("READY=1", "STATUS=mallow")
    assert manager.recv(100) == b"READY=1\nSTATUS=mallow"


def test_an_abstract_socket(notify: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that starts with @ is a name without a file."""
    name = f"tillbridge-test-{os.getpid()}-{notify.__name__}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify.say("STOPPING=1")
        assert listening.recv(100) == b"STOPPING=1"


def test_nobody_listens(notify: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a service manager, or with one that went away, the program goes on."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.say("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify.say("READY=1")


@pytest.mark.parametrize(("microseconds", "watched_pid", "seconds"), [
    ("15000000", None, 15.0), ("15000000", "own", 15.0), ("15000000", "1", None), ("0", None, None), ("", None, None),
    ("soon", None, None), (None, None, None),
])
def test_watchdog_time(
    notify: ModuleType, monkeypatch: pytest.MonkeyPatch, microseconds: str | None, watched_pid: str | None,
    seconds: float | None,
) -> None:
    """Only a watchdog of this very process counts, not one inherited from a parent."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if watched_pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if watched_pid == "own" else watched_pid)
    assert notify.watchdog_s() == seconds


async def test_what_hangs_gives_no_sign(notify: ModuleType, manager: socket.socket, tmp_path: Path) -> None:
    """While the store's thread is stuck there is silence; once it answers, with an error too, there are signs."""
    store, stuck = AgentStore(tmp_path / "agent.db"), threading.Event()
    held = store.submit(lambda connection: stuck.wait())
    signs = asyncio.create_task(notify.keep_alive(lambda: store.run(outbox.meta, "epoch"), 0.004))
    other = asyncio.create_task(notify.keep_alive(_broken, 0.004))
    loop = asyncio.get_running_loop()
    try:
        assert await loop.sock_recv(manager, 100) == b"WATCHDOG=1", "an error is an answer too"
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        while _pending(manager):
            pass
        await asyncio.sleep(0.02)
        assert not _pending(manager), "a stuck store must keep silent"
        stuck.set()
        assert await loop.sock_recv(manager, 100) == b"WATCHDOG=1"
    finally:
        stuck.set()
        signs.cancel()
        await asyncio.gather(signs, return_exceptions=True)
        held.result()
        store.close()


async def _broken() -> None:
    raise OSError("the disk is full")


def _pending(listening: socket.socket) -> bytes:
    try:
        return listening.recv(100)
    except BlockingIOError:
        return b""


def test_both_programs_have_the_same_file() -> None:
    """Neither may import the other's, and none may fall behind."""
    files = [importlib.import_module(f"{package}.service.notify").__file__ for package in PACKAGES]
    assert len({Path(str(file)).read_bytes() for file in files}) == 1
