"""Writes the simulated shop's files the way tills do: in place, slowly, in torn pieces; never by renaming."""

import os
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from tillbridge_agent.simulate.export import has_order_column, read_journal, render_journal, render_journal_header
from tillbridge_agent.simulate.till import SoldLine

EXPORT_NAME = "BESTAND.CSV"
JOURNAL_NAME = "JOURNAL.CSV"
#: Matches the stock feed's pattern as well, so the agent has to judge it.
BROKEN_NAME = "BESTAND_DEFEKT.CSV"

EXPORT_WRITE_S_MIN = 0.32
CHUNKS = 12
BROKEN_BYTES = 6_000
#: How long the last row of the journal stays torn.
TORN_S = 0.02

Idle = Callable[[float], None]


def write_in_place(path: Path, data: bytes, idle: Idle) -> tuple[datetime, datetime]:
    """Truncates `path` and writes `data` piece by piece; `idle` passes the seconds between two pieces.

    Returns when it began and ended, UTC; at least EXPORT_WRITE_S_MIN lie between them. Pieces end anywhere,
    in the middle of rows and of characters.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    size = max(1, -(-len(data) // CHUNKS))
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    with path.open("wb", buffering=0) as file:
        for number, piece in enumerate(pieces):
            if number == len(pieces) - 1:
                idle(max(0.0, EXPORT_WRITE_S_MIN - (time.monotonic() - clock)))
            elif number:
                idle(EXPORT_WRITE_S_MIN / CHUNKS)
            file.write(piece)
        os.fsync(file.fileno())
    return started, datetime.now(UTC)


def write_broken(path: Path, rng: random.Random) -> None:
    """Drops a file that no code page can explain: binary, with the export's name pattern, new bytes each time.

    It ends as a whole file does, with a line end: what looks half-written would only be waited for.
    """
    path.write_bytes(b"\x00\x01BAK" + rng.randbytes(BROKEN_BYTES) + b"\r\n")


class Journal:
    """The append-only sales journal; what it was given is on the disk when `append` returns."""

    def __init__(self, path: Path, idle: Idle) -> None:
        """Opens or starts the journal; a row torn by a crash is cut off, it was never finished."""
        self._path = path
        self._idle = idle
        kept = path.read_bytes() if path.exists() else b""
        self.lines, whole = read_journal(kept)
        self.with_order = has_order_column(kept[:whole])
        with path.open("ab") as file:
            if whole < len(kept):
                file.truncate(whole)
            if not whole:
                file.write(render_journal_header())

    def append(self, lines: Iterable[SoldLine]) -> None:
        """Adds the lines of one receipt in two writes that tear the last row; each write is fsynced."""
        new = list(lines)
        if not new:
            return
        data = render_journal(new, with_order=self.with_order)
        torn = len(data) - len(data) // (2 * len(new))
        with self._path.open("ab", buffering=0) as file:
            file.write(data[:torn])
            os.fsync(file.fileno())
            self._idle(TORN_S)
            file.write(data[torn:])
            os.fsync(file.fileno())
        self.lines += new
