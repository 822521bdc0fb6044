"""A simulated line scanner on a pseudo terminal: labels, noise, unplugged cables, and the patience of a handshake.

It keeps no secret: each label it holds for delivered is a line of its log. With a handshake that is a label whose
ACK it has heard; without one, a label that somebody has read out of the cable.
"""

import datetime as dt
import errno
import json
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

ACK, NAK = b"\x06", b"\x15"
#: What each kind of label is told by in front, and how its texts look (9: a digit).
KINDS = (("]E0", "9999999999999"), ("]E4", "99999999"), ("]C0", "A999999"), ("]d2", "0109999999999999921"))
_CHECK_S = 0.002


@dataclass(frozen=True)
class ScannerOptions:
    """What to simulate. `rate` is scans per second, 0 as many as are taken; shares are parts of all scans."""

    link: Path
    log: Path | None
    count: int | None
    rate: float
    seed: int
    prefix: bytes = b""
    suffix: bytes = b"\r"
    aim: bool = False
    ack: bool = False
    ack_wait_s: float = 2.0
    unplug: float = 0.0
    noise: float = 0.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Label:
    """One label: its AIM id and its text."""

    symbology: str
    text: str


@dataclass(frozen=True)
class Count:
    """What a run did."""

    delivered: int
    sent: int
    unplugged: int


class Scanner:
    """The machine; `run` blocks until the count is reached or `interrupt` is called from elsewhere."""

    def __init__(self, options: ScannerOptions, clock: Callable[[], dt.datetime]) -> None:
        self._options, self._clock = options, clock
        self._rng = Random(options.seed)
        self._over = threading.Event()
        self._cable = Cable(options.link)
        self._delivered = self._sent = self._unplugged = 0

    def interrupt(self) -> None:
        """Scan no more; the label under way is left as it is."""
        self._over.set()

    def run(self) -> Count:
        """Scan until it is over. Raises OSError when the link or the log cannot be written."""
        last: Label | None = None
        self._cable.plug()
        try:
            while not self._over.is_set() and self._delivered != self._options.count:
                label = self._draw(last)
                last = label
                self._disturb()
                if self._deliver(label):
                    self._note(label)
                if self._options.rate:
                    self._over.wait(self._rng.uniform(0.5, 1.5) / self._options.rate)
        finally:
            self._cable.unplug(forget=True)
        return Count(self._delivered, self._sent, self._unplugged)

    def _draw(self, last: Label | None) -> Label:
        """The next label. Never one twice in a row: a repeat after a broken line could not be told from it."""
        while True:
            symbology, form = self._rng.choice(KINDS)
            text = self._rng.choice(self._options.labels) if self._options.labels else "".join(
                str(self._rng.randrange(10)) if char == "9" else char for char in form
            )
            label = Label(symbology, text)
            if last is None or label.text != last.text or set(self._options.labels) == {label.text}:
                return label

    def _frame(self, label: Label) -> bytes:
        aim = label.symbology if self._options.aim else ""
        return self._options.prefix + f"{aim}{label.text}".encode() + self._options.suffix

    def _disturb(self) -> None:
        """Before a label, now and then: bytes that are none, the tail of one, or an unplugged cable."""
        if self._rng.random() < self._options.noise:
            junk = bytes(self._rng.choice((0, 255)) for _ in range(self._rng.randint(1, 5)))
            if (self._options.prefix or self._options.aim) and self._rng.random() < 0.5:
                junk += str(self._rng.randrange(10**6)).encode() + self._options.suffix
            self._cable.write(junk, self._over)
        if self._rng.random() < self._options.unplug / 2:
            self._replug()

    def _deliver(self, label: Label) -> bool:
        """Send a label until it is delivered; False when it is over before that."""
        frame = self._frame(label)
        self._cable.read()  # what was answered late is no answer to this label
        while not self._over.is_set():
            if self._rng.random() < self._options.unplug / 4:
                self._cable.write(frame[: self._rng.randrange(len(frame))], self._over)
                self._replug()
            self._sent += 1
            if not self._cable.write(frame, self._over):
                continue
            if self._options.ack and self._rng.random() < self._options.unplug / 4:
                self._over.wait(self._rng.choice((0.0, 0.001, 0.005, 0.05)))
                self._replug()
                continue
            if self._answered() if self._options.ack else self._cable.drained(self._over):
                return True
        return False

    def _answered(self) -> bool:
        """Whether the ACK comes before the patience ends; a NAK ends it at once."""
        ends = time.monotonic() + self._options.ack_wait_s
        while not self._over.is_set() and (left := ends - time.monotonic()) > 0:
            heard = self._cable.read(min(left, 0.1))
            if ACK in heard:
                return True
            if NAK in heard:
                return ACK in self._cable.read()
        return ACK in self._cable.read()

    def _replug(self) -> None:
        self._unplugged += 1
        if not self._options.ack:  # or what nobody asks for again would go with the cable
            self._cable.drained(self._over)
        self._cable.unplug()
        self._over.wait(self._rng.choice((0.0, 0.0, 0.02, 0.2)))
        self._cable.plug()

    def _note(self, label: Label) -> None:
        self._delivered += 1
        if self._options.log is None:
            return
        line = {"n": self._delivered, "text": label.text, "symbology": label.symbology if self._options.aim else None,
                "at": self._clock().isoformat()}
        with self._options.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


class Cable:
    """A pseudo terminal whose other end stands at `link`; plugged in again it is a new one at the same link."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self._ours = self._theirs = -1

    def plug(self) -> None:
        """Make the port; a link of an earlier run is replaced."""
        import pty
        import tty

        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._ours)
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        fresh = self._link.with_name(self._link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._theirs))
        fresh.replace(self._link)

    def unplug(self, *, forget: bool = False) -> None:
        """Take the port away, with whatever was in the cable; `forget` takes the link too."""
        if forget:
            self._link.unlink(missing_ok=True)
        for end in (self._ours, self._theirs):
            os.close(end)

    def write(self, data: bytes, over: threading.Event) -> bool:
        """Put bytes into the cable, waiting while it is full; False when it is over before that."""
        while data and not over.is_set():
            try:
                data = data[os.write(self._ours, data):]
            except BlockingIOError:
                over.wait(_CHECK_S)
        return not data

    def read(self, wait_s: float = 0.0) -> bytes:
        """What has come back; waits for a first byte."""
        ready, _, _ = select.select([self._ours], [], [], wait_s)
        try:
            return os.read(self._ours, 4096) if ready else b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def drained(self, over: threading.Event) -> bool:
        """Wait until somebody has read everything out of the cable; False when it is over before that."""
        # Looking so also carries over what is still on its way between the two ends.
        while select.select([self._theirs], [], [], 0.0)[0]:
            if over.wait(_CHECK_S):
                return False
        return True


def read_labels(path: Path) -> Sequence[str]:
    """The labels of a text file, one in a line."""
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
