"""What the agent says of itself: the `status` document, the heartbeat, the lists of holds and quarantine."""

import datetime as dt
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tillbridge_agent import ordertold
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.uplink import State, Uplink
from tillbridge_agent.identity import Identity
from tillbridge_agent.store import captures, outbox, setaside
from tillbridge_agent.sync import BatchLane
from tillbridge_agent.watch import FeedWatch
from tillbridge_protocol.heartbeat import DeviceHealth, FeedHealth, Heartbeat, HeldFile, OrdersHealth, Quarantined
from tillbridge_protocol.records import AsOf

#: Entries told to head office in one heartbeat; the counts tell the rest.
TOLD_MAX = 50
DISK_FREE_BYTES_MIN = 200 * 1024 * 1024


@dataclass(frozen=True)
class Facts:
    """Everything in the database that a status or heartbeat tells, read in one transaction."""

    position: dict[str, Any]
    backlog: outbox.Backlog
    known: dict[str, captures.Known]
    journals: dict[str, sqlite3.Row]
    held: dict[str, int]
    quarantined: dict[str, int]
    holds: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    counters: dict[str, int]
    as_of: dict[str, AsOf]
    orders: ordertold.OrderFacts


def read_facts(conn: sqlite3.Connection) -> Facts:
    """All of it, consistent."""
    at = outbox.position(conn)
    held, bad = setaside.counts(conn)
    return Facts(
        position={
            "epoch": at.epoch if at else "", "seq": at.seq if at else 0, "head": at.head if at else "",
            "durable_seq": int(outbox.meta(conn, "durable_seq") or 0),
        },
        backlog=outbox.backlog(conn), known={one.feed: one for one in captures.known_all(conn)},
        journals=captures.journals_read(conn), held=held, quarantined=bad, holds=setaside.holds(conn),
        quarantine=setaside.quarantine(conn), counters=outbox.counters(conn), as_of=outbox.confirmed(conn),
        orders=ordertold.read_orders(conn, dt.datetime.now(dt.UTC)),
    )


def status_document(
    facts: Facts, *, identity: Identity, version: str, feeds: Sequence[FeedConfig], watches: Mapping[str, FeedWatch],
    uplink: Uplink, lane: BatchLane, state: Path, troubles: Sequence[dict[str, str]] = (),
    devices: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The document of `status --json` (SHAPES), with `counters` added; `troubles` of the loops are problems too."""
    free = shutil.disk_usage(state).free
    database = state / "agent.db"
    copies = sum(map(_size, (state / "copies").iterdir()))
    return {
        "v": 1, "agent": identity.agent, "location": identity.location, "version": version,
        "server": {
            "url": identity.server, "state": uplink.state.value,
            "last_ack_at": _z(lane.last_ack_at), "error": lane.error,
        },
        "position": facts.position,
        "outbox": {
            "changes": facts.backlog.changes, "events": facts.backlog.events, "bytes": facts.backlog.bytes,
            "oldest_at": _z(_instant(facts.backlog.oldest_at)),
        },
        "feeds": [_feed(facts, feed, watches.get(feed.name)) for feed in sorted(feeds, key=lambda one: one.name)],
        "devices": sorted(devices, key=lambda one: str(one["name"])), "orders": ordertold.shown_counts(facts.orders),
        "disk": {"db": database.stat().st_size if database.exists() else 0, "copies": copies, "free": free},
        "problems": _problems(facts, watches, uplink, lane, free, troubles), "counters": facts.counters,
    }


def heartbeat(
    facts: Facts, *, version: str, now: dt.datetime, feeds: Sequence[FeedConfig], watches: Mapping[str, FeedWatch],
    state: Path, orders_problem: str | None = None, devices: Sequence[DeviceHealth] = (),
) -> Heartbeat:
    """The same facts as head office wants them; `orders_problem` None: this agent takes no orders."""
    return Heartbeat(
        version=version, at=now, outbox_changes=facts.backlog.changes, outbox_events=facts.backlog.events,
        oldest_unacked_at=_instant(facts.backlog.oldest_at),
        feeds=[_health(facts, feed, watches.get(feed.name)) for feed in feeds],
        holds=[
            HeldFile(
                id=one["id"], feed=one["feed"], file=one["file"], since=_at(one["since"]), code=one["code"],
                message=one["message"], hint=one["hint"], affected=one["affected"], sample=one["sample"],
            )
            for one in facts.holds[:TOLD_MAX]
        ],
        quarantine=[
            Quarantined(
                id=one["id"], feed=one["feed"], file=one["file"], since=_at(one["since"]), code=one["code"],
                message=one["message"], line=one["line"],
            )
            for one in facts.quarantine[:TOLD_MAX]
        ],
        disk_free_bytes=shutil.disk_usage(state).free, counters=facts.counters,
        orders=None if orders_problem is None else OrdersHealth(facts.orders.counts, orders_problem),
        devices=list(devices),
    )


@dataclass(frozen=True)
class _Last:
    """What a feed last believed: its file, the hash of what was read of it, how many rows, and when."""

    file: str
    sha256: str
    rows: int
    at: dt.datetime


def _last(facts: Facts, feed: FeedConfig) -> _Last | None:
    """The last accepted export, or of a journal what was read of it so far."""
    if known := facts.known.get(feed.name):
        return _Last(known.file, known.sha256, known.rows, _at(known.accepted_at))
    if (read := facts.journals.get(feed.name)) is None:
        return None
    rows = max(0, read["line"] - 1 - feed.reader.skip_lines - feed.reader.header)
    return _Last(read["file"], read["prefix"], rows, _at(read["looked_at"]))


def _feed(facts: Facts, feed: FeedConfig, watch: FeedWatch | None) -> dict[str, Any]:
    last = _last(facts, feed)
    return {
        "name": feed.name, "config": feed.fingerprint, "origin": "local",
        "state": _state(facts, feed.name, watch),
        "accepted": {
            "name": last.file if last else "", "sha256": last.sha256 if last else "",
            "rows": last.rows if last else 0, "at": _z(last.at) if last else None,
        },
        "pending_since": _z(watch.pending_since) if watch else None,
        "holds": facts.held.get(feed.name, 0), "quarantined": facts.quarantined.get(feed.name, 0),
    }


def _health(facts: Facts, feed: FeedConfig, watch: FeedWatch | None) -> FeedHealth:
    last = _last(facts, feed)
    return FeedHealth(
        name=feed.name, state=_state(facts, feed.name, watch),  # type: ignore[arg-type]
        accepted_at=last.at if last else None, accepted_file=last.file if last else "",
        rows=last.rows if last else 0, pending_since=watch.pending_since if watch else None,
        holds=facts.held.get(feed.name, 0), quarantined=facts.quarantined.get(feed.name, 0),
        problem=watch.problem if watch else "", as_of=facts.as_of.get(feed.name),
    )


def _state(facts: Facts, name: str, watch: FeedWatch | None) -> str:
    if watch is None:
        return "stopped"
    if watch.problem:
        return "failing"
    if facts.held.get(name):
        return "held"
    return "pending" if watch.pending_since else "idle"


def _problems(
    facts: Facts, watches: Mapping[str, FeedWatch], uplink: Uplink, lane: BatchLane, free: int,
    troubles: Sequence[dict[str, str]],
) -> list[dict[str, str]]:
    found = [
        {"code": one["code"], "message": f"{one['feed']}: {one['file']} is held. {one['message']}",
         "hint": f"{one['hint']} Then: tillbridge-agent holds show {one['id']}"}
        for one in facts.holds
    ]
    found += [
        {"code": one["code"], "message": f"{one['feed']}: {one['file']} is in quarantine. {one['message']}",
         "hint": one["hint"]}
        for one in facts.quarantine if one["whole_file"]
    ]
    found += [
        {"code": "folder", "message": watch.problem, "hint": "Nothing is lost; it is looked at again by itself."}
        for watch in watches.values() if watch.problem
    ]
    found += [*ordertold.problems(facts.orders), *troubles]
    if uplink.error is not None and uplink.state in (State.REFUSED, State.FROZEN):
        found.append({"code": uplink.error.code, "message": uplink.error.message, "hint": uplink.error.hint})
    elif uplink.state is State.OFFLINE and lane.error:
        found.append({"code": "offline", "message": lane.error, "hint": "Changes wait here; nothing is lost."})
    if free < DISK_FREE_BYTES_MIN:
        found.append({"code": "disk", "message": f"Only {free // 1024 // 1024} MB are free on this disk.",
                      "hint": "Make room; without it new exports cannot be kept."})
    return sorted(found, key=lambda one: (one["code"], one["message"]))


def hold_document(hold: Mapping[str, Any]) -> dict[str, Any]:
    """A hold as the verbs print it."""
    return {
        "id": hold["id"], "what": "file", "where": hold["feed"], "file": hold["file"], "since": _z(_at(hold["since"])),
        "reason": {"code": hold["code"], "message": hold["message"], "hint": hold["hint"]},
        "affected": hold["affected"], "sample": hold["sample"], "state": hold["state"],
    }


def quarantine_document(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A quarantine entry as the verbs print it."""
    return {
        "id": entry["id"], "what": "file" if entry["whole_file"] else "row", "feed": entry["feed"],
        "file": entry["file"], "since": _z(_at(entry["since"])), "line": entry["line"], "column": entry["column"],
        "text": entry["text"], "count": entry["n"],
        "reason": {"code": entry["code"], "message": entry["message"], "hint": entry["hint"]}, "state": entry["state"],
    }


def now_text() -> str:
    """This instant as the store keeps it."""
    return dt.datetime.now(dt.UTC).isoformat()


def _size(path: Path) -> int:
    """Bytes of a file; 0 when it is deleted just now."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _instant(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None


def _z(at: dt.datetime | None) -> str | None:
    return None if at is None else at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
