"""Framing of line scanners as a fold over single bytes, so that portions of any size give the same events.

A frame is [prefix] [AIM id] label [suffix]. What is not a frame is noise and is told with its reason; noise
never reaches into the next good frame where a prefix, a silence or NUL bytes lie between.
"""

import re

from tillbridge_agent.devices.events import Event, Scanned, noise
from tillbridge_agent.devices.line_scanner.config import LineScannerConfig

GS = "\x1d"
_AIM = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_AIM_CHARS = 3
#: What lines make of an unplugged cable or a break; in no label.
_JUNK = frozenset((0x00, 0xFF))
_JUNK_BYTES_MAX = 256
_MARK_BYTES_MAX = 8
_LINE_ENDS = b"\r\n"
#: Control characters that labels do hold: GS1 and ISO 15434 separators, end of transmission, tab, line ends.
_IN_LABELS = frozenset("\t\n\r\x04\x1c\x1d\x1e\x1f")

_SEEKING, _INSIDE, _SKIPPING = "seeking", "inside", "skipping"


class LineScanner:
    """The fold of one opening of a port; see DeviceProtocol."""

    config_type = LineScannerConfig

    def __init__(self, config: LineScannerConfig) -> None:
        self.config = config
        self.ack, self.nak = config.ack.encode("latin-1"), config.nak.encode("latin-1")
        self._prefix, self._suffix = config.prefix.encode("latin-1"), config.suffix.encode("latin-1")
        #: A printable prefix may also stand in a label, so only one with a control character begins a frame anew.
        self._resyncs = any(byte < 0x20 for byte in self._prefix)
        self._bound = len(self._prefix) + config.length_max + len(self._suffix) + len(_LINE_ENDS)
        self._bound += _AIM_CHARS if config.aim else 0
        self._gap_s, self._repeat_s = config.gap_ms / 1000, config.repeat_ms / 1000
        self._raw, self._junk = bytearray(), bytearray()
        self._began = self._at = 0.0
        self._before: tuple[str, str | None, float] | None = None
        self._state = self._start = _SEEKING if self._prefix else _INSIDE

    def feed(self, data: bytes, now: float) -> list[Event]:
        """The events that are complete with these bytes at this instant (seconds)."""
        events: list[Event] = []
        if (self._raw or self._junk or self._state == _SKIPPING) and now - self._at > self._gap_s:
            events += self._silence(now)
        for byte in data:
            self._take(byte, now, events)
        if data:
            self._at = now
        return events

    def cut(self) -> list[Event]:
        """What the unplugged cable left half."""
        told = self._state == _SKIPPING
        left = bytes(self._junk + (b"" if told else self._raw)).strip(_LINE_ENDS)
        self._again()
        self._junk.clear()
        return [noise("half", left)] if left else []

    def _again(self) -> None:
        self._raw.clear()
        self._state = self._start

    def _silence(self, now: float) -> list[Event]:
        """Nothing came for longer than a label takes: what stands there is complete, or never will be."""
        events: list[Event] = []
        self._flush(events)
        if self._state == _INSIDE and not self._suffix:
            self._complete(bytes(self._raw[len(self._prefix):]), now, events)
        elif self._state != _SKIPPING and (left := bytes(self._raw).strip(_LINE_ENDS)):
            events.append(noise("no_prefix" if self._state == _SEEKING else "half", left))
        self._again()
        return events

    def _take(self, byte: int, now: float, events: list[Event]) -> None:
        if byte in _JUNK:
            self._damage(byte, events)
            return
        self._flush(events)
        if not self._raw:
            self._began = now
        self._raw.append(byte)
        if self._state == _SEEKING:
            self._seek(now, events)
        elif self._state == _SKIPPING:
            if self._suffix and self._raw.endswith(self._suffix):
                self._again()
            del self._raw[:-_MARK_BYTES_MAX]
        else:
            self._inside(now, events)

    def _damage(self, byte: int, events: list[Event]) -> None:
        """NUL and 0xFF end whatever was under way: what comes behind them is another frame."""
        if self._state != _SKIPPING:
            self._junk += self._raw
        self._junk.append(byte)
        self._again()
        if len(self._junk) >= _JUNK_BYTES_MAX:
            self._flush(events)

    def _flush(self, events: list[Event]) -> None:
        if self._junk:
            events.append(noise("line", self._junk))
            self._junk.clear()

    def _seek(self, now: float, events: list[Event]) -> None:
        """Between frames, where each begins with a prefix."""
        kept = len(self._prefix)
        found = self._raw.endswith(self._prefix)
        if not found and len(self._raw) < _JUNK_BYTES_MAX + kept:
            return
        before = bytes(self._raw[:-kept])
        if before.strip(_LINE_ENDS):
            events.append(noise("no_prefix", before))
        del self._raw[:-kept]
        if found:
            self._state, self._began = _INSIDE, now

    def _inside(self, now: float, events: list[Event]) -> None:
        """In a frame, or before one where there is no prefix."""
        prefix, suffix = len(self._prefix), len(self._suffix)
        if suffix and len(self._raw) >= prefix + suffix and self._raw.endswith(self._suffix):
            body = bytes(self._raw[prefix:-suffix])
            self._again()
            self._complete(body, now, events)
        elif self._resyncs and len(self._raw) >= 2 * prefix and self._raw.endswith(self._prefix):
            body = bytes(self._raw[prefix:-prefix])
            if not suffix:
                self._complete(body, now, events)
            elif body.strip(_LINE_ENDS):
                events.append(noise("half", self._raw[:-prefix]))
            self._raw[:], self._began = self._prefix, now
        elif len(self._raw) > self._bound:
            events.append(noise("long", self._raw))
            self._raw.clear()
            self._state = _SEEKING if prefix else _SKIPPING

    def _complete(self, body: bytes, now: float, events: list[Event]) -> None:
        raw = body
        body = body.strip(_LINE_ENDS)
        if not body:
            return  # a line end too many, as CR LF where only CR was agreed
        read = self._read(body)
        if isinstance(read, str):
            events.append(noise(read, raw))
            return
        symbology, text = read
        before, self._before = self._before, (text, symbology, now)
        same = before is not None and before[:2] == (text, symbology) and now - before[2] <= self._repeat_s
        events.append(Scanned(text, symbology, raw, self._began, again=same and self._repeat_s > 0))

    def _read(self, body: bytes) -> tuple[str | None, str] | str:
        """Symbology and text of a frame, or the reason why it is noise."""
        try:
            text = body.decode(self.config.encoding)
        except UnicodeError:
            return "text"
        symbology = None
        if self.config.aim:
            if not _AIM.match(text):
                return "aim_missing"
            symbology, text = text[:_AIM_CHARS], text[_AIM_CHARS:]
        text = text.replace(self.config.separator, GS)
        if len(text) < self.config.length_min:
            return "short"
        if len(text) > self.config.length_max:
            return "long"
        if any((char < " " or char == "\x7f") and char not in _IN_LABELS for char in text) or "\0" in text:
            return "text"
        return symbology, text
