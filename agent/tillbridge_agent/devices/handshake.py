"""Which labels of a scanner that waits for an ACK are new, and which are the last one sent once more. Pure.

Such a scanner sends a label, waits for the ACK, and sends the label again when none comes. The agent writes the
ACK when the scan is on disk. Between the two the cable can be pulled, the agent can die, and the ACK can be lost:
then the label comes again and is not counted again. Nothing in the protocol numbers the labels. So the same label
scanned twice in a row is known for two only while the line stays open between them, or after the first was
quietly acked.
"""

from dataclasses import dataclass
from enum import Enum

from tillbridge_agent.devices.events import Scanned

#: A label that began no later than this after our ACK was written had been sent before the ACK was heard.
CROSSING_S = 0.15


class Verdict(Enum):
    """NEW: keep it, then answer. REPEATED: answer. CROSSED: an answer is on its way already."""

    NEW = "new"
    REPEATED = "repeated"
    CROSSED = "crossed"


@dataclass(frozen=True, slots=True)
class Kept:
    """The last label that was kept; `acked` when the scanner has surely heard so."""

    text: str
    symbology: str | None
    acked: bool


class Handshake:
    """Judges the labels of one device over all openings of its port; without `waits` it never answers.

    `ack_wait_s` is how long the scanner waits for its ACK: if it has been silent for longer on an open line, it
    has heard it.
    """

    def __init__(self, kept: Kept | None, *, waits: bool, ack_wait_s: float) -> None:
        self._waits, self._ack_wait_s = waits, ack_wait_s
        self._last = None if kept is None else (kept.text, kept.symbology)
        self._acked = kept is None or kept.acked
        self._first = True
        self._ack_at: float | None = None

    def opened(self) -> None:
        """The port was opened: what comes first may be what was not answered before."""
        self._first, self._ack_at = True, None

    def judge(self, scanned: Scanned) -> Verdict:
        """What to do with a label; a NEW one is the last one from now on."""
        first, self._first = self._first, False
        label = (scanned.text, scanned.symbology)
        if label == self._last and self._waits:
            if first:
                if not self._acked:
                    return Verdict.REPEATED
            elif self._ack_at is None or scanned.began <= self._ack_at + CROSSING_S:
                return Verdict.CROSSED
        if label == self._last and scanned.again:
            return Verdict.REPEATED
        self._last, self._acked, self._ack_at = label, not self._waits, None
        return Verdict.NEW

    def answered(self, now: float) -> None:
        """The ACK of the last label was written."""
        self._ack_at = now

    def heard(self, now: float) -> bool:
        """True once, when the silence of the open line tells that the scanner has heard the last ACK."""
        if self._acked or self._ack_at is None or now - self._ack_at < self._ack_wait_s + CROSSING_S:
            return False
        self._acked = True
        return True
