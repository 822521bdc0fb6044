"""Follows the agent's log and makes one story per accepted export: settled, rows, changes, synced, published."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.demo.compare import Sight
from tests.demo.truth import Ordered, Write


class LogTail:
    """Reads the JSON lines a child appends to its log."""

    def __init__(self, path: Path) -> None:
        """Starts at the beginning of the file, which may not be there yet."""
        self._path = path
        self._at = 0

    def new_events(self) -> list[dict[str, Any]]:
        """The whole JSON objects written since the last call; other lines are not for us."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return [event for line in whole.splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


@dataclass(slots=True)
class Story:
    """One accepted export on its way; times in seconds since 1970, None = not yet.

    `full`: everything in it is sent anew, not the differences to the export before.
    """

    file: str
    rows: int
    changes: int
    full: bool
    settled_at: float
    captured_at: float
    write: Write | None = None
    synced_at: float | None = None
    published_at: float | None = None

    def line(self) -> str:
        """settled → rows → changes → synced → published, with the milliseconds of each step."""
        before = self.write.ended_at if self.write else None
        changes = "everything" if self.full else f"{self.changes:>2} changes"
        steps = (
            f"settled{_ms(self.settled_at, before)}",
            f"{self.rows} rows{_ms(self.captured_at, self.settled_at)}",
            changes,
            f"synced{_ms(self.synced_at, self.captured_at)}",
            f"published{_ms(self.published_at, self.synced_at)}",
        )
        # Without changes there is nothing to sync or to publish.
        return f"{clock(self.settled_at)}  {self.file}  " + " → ".join(steps if self.moves else steps[:3])

    @property
    def moves(self) -> bool:
        """Whether anything of it has to be sent."""
        return self.full or self.changes > 0


def clock(moment: float) -> str:
    """The local time of day."""
    return datetime.fromtimestamp(moment).astimezone().strftime("%H:%M:%S")


def set_aside(event: dict[str, Any], at: float) -> str | None:
    """The line about a file the agent did not believe, None for other events."""
    words = {"quarantine": "quarantined", "hold": "held"}.get(str(event["event"]))
    if words is None:
        return None
    moment = seconds(event["timestamp"]) if "timestamp" in event else at
    return f"{clock(moment)}  {event.get('file', '')}  {words}: {event.get('message', '')}"


def order_lines(before: Mapping[str, Ordered], now: Mapping[str, Ordered]) -> list[str]:
    """A line for every step a web order made at the till since the last look."""
    lines = []
    for order, told in now.items():
        known = before.get(order, Ordered(0, sold=False, export=None, lines={}))
        if told.imported > known.imported:
            lines.append(f"order {order}  imported at the till" + (" ONCE MORE" if known.imported else ""))
        if told.sold and not known.sold:
            lines.append(f"order {order}  sold at the till")
        if told.export is not None and told.export != known.export:
            lines.append(f"order {order}  counted by export {told.export}")
    return lines


def _ms(at: float | None, before: float | None) -> str:
    if at is None:
        return " (not yet)"
    return "" if before is None else f" {max(0.0, at - before) * 1000:>3.0f} ms"


class Stories:
    """Joins the agent's events, the simulator's writes and the observer's sights."""

    #: An export none of whose changes show up in the window is told after so long anyway.
    PATIENCE_S = 5.0

    def __init__(self, feed: str) -> None:
        """Tells about the exports of one feed."""
        self._feed = feed
        self._open: list[Story] = []
        self._sights_read = 0

    def take(self, event: dict[str, Any], at: float) -> None:
        """One event of the agent; `at` is when it was read, used where it carries no time of its own."""
        if event["event"] == "accepted" and event.get("feed") == self._feed:
            self._open.append(Story(
                file=str(event["file"]), rows=int(event["rows"]), changes=int(event["changes"]),
                full=bool(event.get("full")), settled_at=seconds(event["settled_at"]),
                captured_at=seconds(event["captured_at"]),
            ))
        elif event["event"] == "synced":
            moment = seconds(event["timestamp"]) if "timestamp" in event else at
            for story in self._open:
                if story.synced_at is None and story.captured_at <= moment:
                    story.synced_at = moment

    def finished(self, writes: list[Write], sights: list[Sight], now: float) -> list[Story]:
        """The stories that are complete, or too old to wait for, in order."""
        for story in self._open:
            story.write = next((w for w in reversed(writes) if w.ended_at <= story.settled_at), None)
            if story.write is not None and story.synced_at is not None:
                codes = story.write.changed.keys()
                after = _since(story.captured_at, sights)
                story.published_at = max((sight.at for sight in after if sight.code in codes), default=None)
        done: list[Story] = []
        while self._open and self._is_done(self._open[0], now):
            done.append(self._open.pop(0))
        return done

    def _is_done(self, story: Story, now: float) -> bool:
        if not story.moves:
            return True
        return story.published_at is not None or now - story.captured_at > self.PATIENCE_S


def _since(moment: float, sights: list[Sight]) -> Iterator[Sight]:
    """The latest sights, newest first, down to the moment."""
    return takewhile(lambda sight: sight.at >= moment, reversed(sights))


def seconds(text: str) -> float:
    """Seconds since 1970 of an ISO time."""
    return datetime.fromisoformat(text).timestamp()
