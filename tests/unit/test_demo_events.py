"""The live line: joins the agent's events, the till's writes and the observer's sights."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.demo.compare import Sight
from tests.demo.events import LogTail, Stories, set_aside
from tests.demo.truth import Value, Write

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
VALUE = Value(Decimal(3), Decimal("9.95"))


def at(seconds: float) -> float:
    """Seconds since 1970 of a moment of the story."""
    return (START + timedelta(seconds=seconds)).timestamp()


def iso(seconds: float) -> str:
    """The same moment as text."""
    return (START + timedelta(seconds=seconds)).isoformat()


def accepted(seconds: float, feed: str = "stock", changes: int = 2) -> dict[str, Any]:
    """An export accepted after 20 ms of work."""
    return {
        "event": "accepted", "feed": feed, "file": "BESTAND.CSV", "rows": 200, "changes": changes,
        "settled_at": iso(seconds), "captured_at": iso(seconds + 0.02),
    }


def test_a_story_is_told_once_it_is_published() -> None:
    """Each step with its own milliseconds, counted from the end of the write."""
    stories = Stories("stock")
    writes = [Write(1, at(0), at(0.4), {"a": VALUE}), Write(2, at(3), at(3.4), {"a": VALUE})]
    stories.take(accepted(1.0), at(1.1))
    stories.take(accepted(1.0, feed="sales"), at(1.1))
    assert stories.finished(writes, [], at(1.1)) == []
    stories.take({"event": "synced", "seq": 4, "ms": 9, "timestamp": iso(1.05)}, at(1.2))
    sights = [Sight(at(0.9), "a", VALUE), Sight(at(1.08), "a", VALUE), Sight(at(1.2), "z", VALUE)]
    (story,) = stories.finished(writes, sights, at(1.2))
    assert story.line().endswith(
        "BESTAND.CSV  settled 600 ms → 200 rows  20 ms →  2 changes → synced  30 ms → published  30 ms"
    )
    assert stories.finished(writes, sights, at(9)) == []


def test_a_story_that_does_not_come_to_an_end_is_told_as_it_is() -> None:
    """With no line to the server nothing is synced, and that is what the person reads."""
    stories = Stories("stock")
    stories.take(accepted(1.0), at(1.1))
    assert stories.finished([], [], at(3)) == []
    (story,) = stories.finished([], [], at(7))
    assert story.line().endswith("settled → 200 rows  20 ms →  2 changes → synced (not yet) → published (not yet)")


def test_an_export_without_changes_waits_for_nothing() -> None:
    """There is nothing to sync or to publish."""
    stories = Stories("stock")
    stories.take(accepted(1.0, changes=0), at(1.1))
    (story,) = stories.finished([], [], at(1.1))
    assert story.line().endswith("200 rows  20 ms →  0 changes")


def test_the_first_load_is_told_as_everything() -> None:
    """It has no differences, but all of it is synced and published."""
    stories = Stories("stock")
    stories.take(accepted(1.0, changes=0) | {"full": True}, at(1.1))
    stories.take({"event": "synced", "seq": 1, "ms": 9, "timestamp": iso(1.1)}, at(1.2))
    write = Write(1, at(0), at(0.4), {"a": VALUE})
    assert stories.finished([write], [], at(1.2)) == []
    (story,) = stories.finished([write], [Sight(at(1.3), "a", VALUE)], at(1.3))
    assert story.line().endswith("200 rows  20 ms → everything → synced  80 ms → published 200 ms")


def test_a_file_set_aside_is_told_with_its_reason() -> None:
    """Quarantined and held files are named; other events are not."""
    told = set_aside({"event": "quarantine", "file": "X.CSV", "message": "It is no text.", "timestamp": iso(0)}, at(9))
    assert told is not None
    assert told.endswith("  X.CSV  quarantined: It is no text.")
    assert set_aside({"event": "synced"}, at(0)) is None


def test_the_log_is_read_by_whole_lines_only(tmp_path: Path) -> None:
    """Half a line waits; lines that are no events are passed over."""
    path = tmp_path / "agent.log"
    tail = LogTail(path)
    assert tail.new_events() == []
    first, second = (json.dumps({"event": "accepted", "n": n}).encode() + b"\n" for n in (1, 2))
    path.write_bytes(first + b"Traceback\n{broken\n[1]\n" + second[:9])
    assert [event["n"] for event in tail.new_events()] == [1]
    path.write_bytes(path.read_bytes() + second[9:])
    assert [event["n"] for event in tail.new_events()] == [2]
