"""Joins a device's port, its protocol and the outbox: one thread per device, one transaction per read.

What was read is committed before anything else is read, and before a scanner that waits hears its ACK. While the
database cannot be written, the port is not read: what comes meanwhile waits in it.
"""

import asyncio
import datetime as dt
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from tillbridge_agent.core.device import DeviceConfig, PortConfig
from tillbridge_agent.devices import NOISE_WORDS, DeviceProtocol, Event, Noise, Scanned, open_device
from tillbridge_agent.devices.handshake import Handshake, Verdict
from tillbridge_agent.sources.serial_port import Port, PortTrouble, open_port
from tillbridge_agent.store import devices
from tillbridge_agent.store.database import AgentStore
from tillbridge_protocol.changes import Change, Source
from tillbridge_protocol.heartbeat import DeviceHealth
from tillbridge_protocol.records import Scan

log = structlog.get_logger()
#: Waits between two looks for a port that cannot be opened: short at first, for a cable that was only loose.
REOPEN_S_MIN, REOPEN_S_MAX = 0.05, 3.0
STORE_RETRY_S = 2.0
#: So many labels in a row that are noise are told as a problem: something is set up wrong.
NOISE_IN_A_ROW = 3


@dataclass
class ScannerLoop:
    """One device's loop; `state`, `problem` and the counts are for status page and heartbeat.

    `state` is open, missing (nothing to open) or failing.
    """

    config: DeviceConfig
    store: AgentStore
    clock: Callable[[], dt.datetime]
    changed: Callable[[], None]
    opener: Callable[[PortConfig], Port] = open_port
    monotonic: Callable[[], float] = time.monotonic
    state: Literal["open", "missing", "failing"] = "missing"
    code: str = ""
    problem: str = ""
    hint: str = ""
    last_at: dt.datetime | None = None
    scans: int = 0
    repeated: int = 0
    noise: int = 0
    _noise_untold: int = 0
    _bad_in_a_row: int = 0
    _wake: Callable[[], object] = lambda: None
    _stopping: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        """For ever; cancelled, it ends when what was read is kept."""
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"device {self.config.name}")
        try:
            await loop.run_in_executor(executor, self.work, lambda: loop.call_soon_threadsafe(self.changed))
        finally:
            self._stopping.set()
            await loop.run_in_executor(None, executor.shutdown)

    def stop(self) -> None:
        """End `work` soon."""
        self._stopping.set()

    def work(self, wake: Callable[[], object]) -> None:
        """Blocking: open, talk until the port goes away, open again, until stopped; `wake` after each commit."""
        self._wake = wake
        row = self.store.submit(devices.read_device, self.config.name).result()
        self.scans, self.repeated, self.noise = row.scans, row.repeated, row.noise
        self.last_at = dt.datetime.fromisoformat(row.last_at) if row.last_at else None
        protocol = self.config.protocol
        shakes = Handshake(row.kept, waits=bool(protocol.ack), ack_wait_s=protocol.ack_wait_ms / 1000)
        wait_s = REOPEN_S_MIN
        while not self._stopping.is_set():
            try:
                port = self.opener(self.config.port)
            except PortTrouble as trouble:
                self._told(trouble)
                self._stopping.wait(wait_s)
                wait_s = min(wait_s * 2, REOPEN_S_MAX)
                continue
            wait_s = REOPEN_S_MIN
            log.info("device open", device=self.config.name, port=self.config.port.path)
            self._well()
            try:
                self._talk(_Talk(port, open_device(protocol), shakes))
            except PortTrouble as trouble:
                self._told(trouble)
            finally:
                port.close()

    def _talk(self, talk: "_Talk") -> None:
        talk.shakes.opened()
        try:
            while not self._stopping.is_set():
                events = talk.fold.feed(talk.port.read(), self.monotonic())
                if events:
                    self._take(talk, events)
                elif talk.shakes.heard(self.monotonic()):
                    self._kept(devices.note_acked, self.config.name)
        finally:
            self._count_noise(talk.fold.cut())

    def _take(self, talk: "_Talk", events: list[Event]) -> None:
        """Keep the events of one read, then answer once: the scanner waits for one label at a time."""
        answer, damaged = self._keep(talk, events)
        if talk.fold.ack:
            # What has come meanwhile was sent before our answer: it is judged, and kept, before it.
            while data := talk.port.waiting():
                more, bad = self._keep(talk, talk.fold.feed(data, self.monotonic()))
                answer, damaged = answer or more, damaged or bad
        if answer and talk.fold.ack:
            talk.port.write(talk.fold.ack)
            talk.shakes.answered(self.monotonic())
        elif damaged and talk.fold.nak:
            talk.port.write(talk.fold.nak)

    def _keep(self, talk: "_Talk", events: list[Event]) -> tuple[bool, bool]:
        """One transaction for these events; returns (an ACK is due, a label came damaged)."""
        scanned = [event for event in events if isinstance(event, Scanned)]
        verdicts = [(event, talk.shakes.judge(event)) for event in scanned]
        counts = Counter(verdict for _, verdict in verdicts)
        damaged = self._count_noise([event for event in events if isinstance(event, Noise)])
        if scanned:
            now = self.clock()
            fresh = [event for event, verdict in verdicts if verdict is Verdict.NEW]
            repeated = len(scanned) - len(fresh)
            self._kept(
                devices.keep_scans, self.config.name, [self._change(event, now) for event in fresh],
                repeated=repeated, noise=self._noise_untold, acked=not talk.fold.ack, at=now.isoformat(),
            )
            self._noise_untold, self._bad_in_a_row = 0, 0
            self._well()
            self.scans, self.repeated = self.scans + len(fresh), self.repeated + repeated
            if fresh:
                self.last_at = now
                self._wake()
        return counts[Verdict.NEW] + counts[Verdict.REPEATED] > 0, damaged

    def _kept(self, call: Callable[..., None], *args: object, **kwargs: object) -> None:
        """In the database, however long that takes: what was read is nowhere else."""
        while True:
            try:
                self.store.submit(call, *args, **kwargs).result()
            except sqlite3.Error as error:
                self.state, self.code = "failing", "disk"
                self.problem = f"Scans cannot be written to this disk: {error}."
                self.hint = "Make room on the disk. Nothing is lost: the device is not read on until then."
                log.warning("trouble", device=self.config.name, problem=self.problem)
                if self._stopping.wait(STORE_RETRY_S):
                    raise
                continue
            if self.state == "failing":
                self._well()
            return

    def _change(self, event: Scanned, now: dt.datetime) -> Change:
        scan = Scan(
            id=secrets.token_hex(16), text=event.text, at=now, device=self.config.name, symbology=event.symbology
        )
        text = event.raw.decode(self.config.protocol.encoding, errors="replace")
        return Change(self.config.name, "scan", scan.id, "put", scan, Source(text=text, captured_at=now))

    def _count_noise(self, events: list[Event] | list[Noise]) -> bool:
        """Count noise; returns whether one of these was a whole label that came damaged."""
        damaged = False
        for event in events:
            assert isinstance(event, Noise)
            self.noise, self._noise_untold = self.noise + 1, self._noise_untold + 1
            self._bad_in_a_row += 1
            damaged = damaged or event.reason in ("text", "aim_missing", "short", "long")
            log.info("noise", device=self.config.name, reason=event.reason, bytes=event.count)
            if self._bad_in_a_row >= NOISE_IN_A_ROW and self.state == "open":
                self.code, self.hint = "noise", NOISE_WORDS[event.reason]
                self.problem = f"The last {self._bad_in_a_row} readings were noise."
        return damaged

    def _well(self) -> None:
        self.state, self.code, self.problem, self.hint = "open", "", "", ""

    def _told(self, trouble: PortTrouble) -> None:
        if trouble.message != self.problem:
            log.warning("trouble", device=self.config.name, problem=trouble.message)
        self.state = "missing" if trouble.code in ("port_missing", "port_gone") else "failing"
        self.code, self.problem, self.hint = trouble.code, trouble.message, trouble.hint


def device_document(loop: ScannerLoop) -> dict[str, Any]:
    """The device as `status` tells it."""
    return {
        "name": loop.config.name, "type": loop.config.type, "port": loop.config.port.path, "state": loop.state,
        "last_at": None if loop.last_at is None else loop.last_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "scans": loop.scans, "repeated": loop.repeated, "noise": loop.noise, "problem": loop.problem,
    }


def device_health(loop: ScannerLoop) -> DeviceHealth:
    """The device as the heartbeat tells it."""
    return DeviceHealth(
        name=loop.config.name, type=loop.config.type, state=loop.state, last_at=loop.last_at, scans=loop.scans,
        repeated=loop.repeated, noise=loop.noise, problem=loop.problem,
    )


def troubles(loops: Sequence[ScannerLoop]) -> list[dict[str, str]]:
    """What a person should look at, as entries of `problems`."""
    return [
        {"code": loop.code, "message": f"{loop.config.name}: {loop.problem}", "hint": loop.hint}
        for loop in loops if loop.problem
    ]


@dataclass(frozen=True)
class _Talk:
    """One opening of the port: the port, the fold of its bytes, and what is answered."""

    port: Port
    fold: DeviceProtocol
    shakes: Handshake
