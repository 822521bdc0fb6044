"""A scanner on a pseudo terminal and the agent's loop over it: what was delivered is queued, each label once."""

import datetime as dt
import errno
import json
import os
import select
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from tests.fakes.cable import cable, scanner_device

from tillbridge_agent import statuspage
from tillbridge_agent.core.device import DeviceConfig, PortConfig
from tillbridge_agent.scanning import NOISE_IN_A_ROW, ScannerLoop, device_document, device_health, troubles
from tillbridge_agent.simulate.scanner import Scanner, ScannerOptions
from tillbridge_agent.sources import serial_port
from tillbridge_agent.sources.serial_port import PortTrouble, open_port
from tillbridge_agent.store import devices, outbox
from tillbridge_agent.store.database import AgentStore
from tillbridge_protocol.changes import decode_change
from tillbridge_protocol.records import Scan


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AgentStore]:
    """An agent's database."""
    made = AgentStore(tmp_path / "agent.db")
    yield made
    made.close()


class Running:
    """A scanner's loop at work in a thread."""

    def __init__(self, store: AgentStore, config: DeviceConfig, **otherwise: Any) -> None:
        self.woken = 0
        self.loop = ScannerLoop(config, store, lambda: dt.datetime.now(dt.UTC), lambda: None, **otherwise)
        self._thread = threading.Thread(target=self.loop.work, args=(self._wake,), daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        self.woken += 1

    def stop(self) -> None:
        """End it."""
        self.loop.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for it; it has to come."""
    ends = time.monotonic() + 20
    while not done():
        assert time.monotonic() < ends, f"never: {what}"
        time.sleep(0.005)


def heard(ours: int) -> bytes:
    """What the loop answered; it has to."""
    assert select.select([ours], [], [], 20)[0], "never answered"
    return os.read(ours, 10)


def scans(store: AgentStore) -> list[Scan]:
    """The scans in the queue, as they were read."""

    def read(conn: sqlite3.Connection) -> list[Scan]:
        bodies = [row["body"] for row in conn.execute("SELECT body FROM change ORDER BY id")]
        return [record for body in bodies if isinstance(record := decode_change(body).record, Scan)]

    return store.submit(read).result()


def texts(store: AgentStore) -> list[str]:
    """Their labels."""
    return [scan.text for scan in scans(store)]


def test_a_port_keeps_what_came_before_it_was_opened(tmp_path: Path) -> None:
    """A label that waits in the cable is not thrown away by opening."""
    with cable(tmp_path / "port") as ours:
        for _ in range(2):
            os.write(ours, b"7612\r")
            port = open_port(PortConfig(path=str(tmp_path / "port")))
            assert port.read() == b"7612\r"
            assert port.waiting() == b""
            port.write(b"\x06")
            assert heard(ours) == b"\x06"
            port.close()


def test_the_line_is_set_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pseudo terminals know 8N1 only, so here the driver is asked what it was told."""
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(serial.Serial, "open", lambda port: told.append(
        (port.port, port.baudrate, port.bytesize, port.parity, port.stopbits, port.exclusive)
    ))
    open_port(PortConfig(path="COM9", baud=4800, line="7O2"))
    assert told == [("COM9", 4800, 7, "O", 2, True)]


def test_a_port_that_goes_away_says_so(tmp_path: Path) -> None:
    """Read, look and write alike."""
    with cable(tmp_path / "port"):
        port = open_port(PortConfig(path=str(tmp_path / "port")))
    for call in (port.read, port.waiting, lambda: port.write(b"\x06")):
        with pytest.raises(PortTrouble, match="has gone away") as trouble:
            call()
        assert trouble.value.code == "port_gone"
    port.close()


def test_a_port_has_one_reader(tmp_path: Path) -> None:
    """A second one would get half of each label."""
    with cable(tmp_path / "port"):
        port = open_port(PortConfig(path=str(tmp_path / "port")))
        with pytest.raises(PortTrouble, match="Another program uses") as trouble:
            open_port(PortConfig(path=str(tmp_path / "port")))
        assert trouble.value.code == "port_busy"
        port.close()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (serial.SerialException(errno.EACCES, "could not open port"), "port_denied", "dialout"),
        (serial.SerialException(errno.EBUSY, "could not open port"), "port_busy", "Another program"),
        (serial.SerialException(errno.ENXIO, "could not open port"), "port_missing", "no device"),
        (ValueError("Invalid baud rate: 1"), "port_settings", "Compare baud and line"),
        (serial.SerialException("could not open port 'COM9': FileNotFoundError(2, '', None, 2)"), "port_missing", "no"),
    ],
)
def test_what_hinders_opening_is_said(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, words: str,
) -> None:
    """In words an operator can act on."""
    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(PortTrouble) as trouble:
        open_port(PortConfig(path="COM9"))
    assert trouble.value.code == code
    assert words in str(trouble.value)


def test_no_such_port_is_missing(tmp_path: Path) -> None:
    """As before it is plugged in for the first time."""
    with pytest.raises(PortTrouble, match="There is no device at") as trouble:
        open_port(PortConfig(path=str(tmp_path / "none")))
    assert trouble.value.code == "port_missing"


def test_usb_devices_are_found_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they are plugged in; the serial number tells two of a kind apart."""
    class Info:
        def __init__(self, device: str, vid: int | None, pid: int | None, number: str | None) -> None:
            self.device, self.vid, self.pid, self.serial_number = device, vid, pid, number

    there = [Info("COM1", None, None, None), Info("COM7", 0x05F9, 0x4204, "A"), Info("COM3", 0x05F9, 0x4204, "B:1")]
    monkeypatch.setattr(serial_port.list_ports, "comports", lambda: there)
    assert serial_port.find_port("usb:05f9:4204") == "COM7"
    assert serial_port.find_port("usb:05f9:4204:B:1") == "COM3"
    assert serial_port.find_port("COM5") == "COM5"
    with pytest.raises(PortTrouble, match="No USB device"):
        serial_port.find_port("usb:05f9:4204:C")


def test_each_label_is_queued_once_over_unplugs_and_restarts(store: AgentStore, tmp_path: Path) -> None:
    """A scanner with handshake, a cable that goes again and again, noise, and a loop that is stopped half way."""
    log = tmp_path / "delivered.jsonl"
    machine = Scanner(ScannerOptions(
        link=tmp_path / "port", log=log, count=300, rate=0, seed=7, prefix=b"\x02", aim=True, ack=True,
        ack_wait_s=1.0, unplug=0.2, noise=0.2,
    ), lambda: dt.datetime.now(dt.UTC))
    thread = threading.Thread(target=machine.run, daemon=True)
    thread.start()
    config = scanner_device(tmp_path / "port", prefix="\x02", aim=True, ack="\x06", ack_wait_ms=1000)
    restarts = 0
    while thread.is_alive():
        running = Running(store, config)
        thread.join(0.7)
        running.stop()
        restarts += 1
    delivered = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(delivered) == 300
    assert restarts > 1
    found = scans(store)
    assert [(scan.text, scan.symbology) for scan in found] == [(one["text"], one["symbology"]) for one in delivered]
    assert len({scan.id for scan in found}) == 300
    assert {scan.device for scan in found} == {"counter"}
    row = store.submit(devices.read_device, "counter").result()
    assert (row.scans, row.kept is not None and row.kept.text) == (300, delivered[-1]["text"])
    assert row.noise > 10
    assert store.submit(outbox.counters).result()["scans"] == 300


def test_without_a_handshake_nothing_is_lost_while_the_agent_lives(store: AgentStore, tmp_path: Path) -> None:
    """Unplugs and noise; the same label twice is two scans."""
    log, labels = tmp_path / "delivered.jsonl", ("7612345000003",)
    running = Running(store, scanner_device(tmp_path / "port", prefix="\x02"))
    Scanner(ScannerOptions(
        link=tmp_path / "port", log=log, count=200, rate=0, seed=3, prefix=b"\x02", unplug=0.1, noise=0.1,
        labels=labels,
    ), lambda: dt.datetime.now(dt.UTC)).run()
    until(lambda: len(texts(store)) == 200, "200 scans")
    running.stop()
    assert texts(store) == list(labels) * 200
    assert running.woken > 0
    assert running.loop.repeated == 0


def test_the_repeat_after_a_death_is_answered_and_not_counted(store: AgentStore, tmp_path: Path) -> None:
    """The agent died between the commit and its answer."""
    port = tmp_path / "port"
    config = scanner_device(port, ack="\x06", nak="\x15")
    store.submit(
        devices.keep_scans, "counter", [], repeated=0, noise=0, acked=False, at="2026-11-23T09:00:00+00:00"
    ).result()
    with cable(port) as ours:
        running = Running(store, config)
        os.write(ours, b"7612\r")
        assert heard(ours) == b"\x06"
        running.stop()
        again = Running(store, config)
        os.write(ours, b"7612\r")
        assert heard(ours) == b"\x06"
        os.write(ours, b"4012\r")
        assert heard(ours) == b"\x06"
        os.write(ours, b"40\x0112\r")
        assert heard(ours) == b"\x15"
        again.stop()
    assert texts(store) == ["7612", "4012"]
    assert (again.loop.scans, again.loop.repeated, again.loop.noise) == (2, 1, 1)


def test_a_full_disk_is_answered_with_silence(store: AgentStore, tmp_path: Path) -> None:
    """No ACK before the scan is on disk; when there is room again nothing is missing."""
    class Full:
        def __init__(self) -> None:
            self.full = True

        def submit(self, call: Any, *args: Any, **kwargs: Any) -> Any:
            if self.full and call is devices.keep_scans:
                def fail(_: sqlite3.Connection) -> None:
                    raise sqlite3.OperationalError("database or disk is full")

                return store.submit(fail)
            return store.submit(call, *args, **kwargs)

    disk: Any = Full()
    with cable(tmp_path / "port") as ours:
        running = Running(disk, scanner_device(tmp_path / "port", ack="\x06"))
        os.write(ours, b"7612\r")
        until(lambda: running.loop.state == "failing", "the trouble is told")
        assert "cannot be written" in running.loop.problem
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 10)
        disk.full = False
        os.set_blocking(ours, True)
        assert heard(ours) == b"\x06"
        running.stop()
    assert texts(store) == ["7612"]
    assert (running.loop.state, running.loop.problem) == ("open", "")


def test_a_device_is_told_everywhere(store: AgentStore, tmp_path: Path) -> None:
    """In `status`, in the heartbeat, in the problems, and as a row of the status page; nothing of it is markup."""
    port = tmp_path / "<b>port"
    with cable(port) as ours:
        running = Running(store, scanner_device(port))
        os.write(ours, b"7612\r")
        until(lambda: running.loop.scans == 1, "the scan is kept")
        document, health = device_document(running.loop), device_health(running.loop)
        assert troubles([running.loop]) == []
    until(lambda: running.loop.state == "missing", "it is unplugged")
    running.stop()
    assert (document["state"], document["scans"], document["port"]) == ("open", 1, str(port))
    assert document["last_at"].endswith("Z")
    assert (health.name, health.state, health.scans, health.last_at) == ("counter", "open", 1, running.loop.last_at)
    (problem,) = troubles([running.loop])
    assert problem["code"] in ("port_gone", "port_missing")
    assert problem["message"].startswith("counter: ")
    rows = statuspage.devices_table([document])
    assert '<td class="n" data-what="scans">1</td>' in rows
    assert "&lt;b&gt;port" in rows
    assert statuspage.devices_table([]) == ""


def test_noise_in_a_row_is_a_problem_until_a_label_is_read(store: AgentStore, tmp_path: Path) -> None:
    """Something is set up wrong, and the hint names what."""
    with cable(tmp_path / "port") as ours:
        running = Running(store, scanner_device(tmp_path / "port", aim=True))
        os.write(ours, b"7612\r" * NOISE_IN_A_ROW)
        until(lambda: bool(running.loop.problem), "the problem is told")
        assert "AIM id" in running.loop.hint
        os.write(ours, b"]E07612\r")
        until(lambda: not running.loop.problem, "the problem is over")
        running.stop()
    assert running.loop.noise == NOISE_IN_A_ROW
