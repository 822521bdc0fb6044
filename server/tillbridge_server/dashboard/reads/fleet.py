"""The locations as facts: agents, feeds, health; how old everything is and which state a person is told."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import msgspec
import sqlalchemy as sa

from tillbridge_protocol.heartbeat import FeedHealth, Heartbeat, HeldFile, Quarantined
from tillbridge_server.dashboard.say import count
from tillbridge_server.store.tables import agent, fact, feed, hold, ledger, location

Gives = Literal["stock", "price", "sales", "other"]
#: The age at which what a feed said is called late. A stock export comes many times a day, the others daily.
AGE_ALLOWED: dict[Gives, timedelta] = {
    "stock": timedelta(hours=2),
    "price": timedelta(hours=26),
    "sales": timedelta(hours=26),
    "other": timedelta(hours=26),
}
#: A backlog above this is shown as being behind.
BEHIND = 500


@dataclass(frozen=True)
class FeedState:
    """One feed at one location; `verdict` is one of fresh, late, held, failing, pending, unknown."""

    name: str
    gives: Gives
    brings: tuple[Gives, ...]
    numbering: str
    accepted_at: datetime | None
    as_of_to: datetime | None
    file: str
    rows: int
    holds: int
    quarantined: int
    problem: str
    verdict: str

    @property
    def allowed(self) -> timedelta:
        """The age up to which this feed is fresh."""
        return AGE_ALLOWED[self.gives]

    @property
    def at(self) -> datetime | None:
        """When the last export was accepted, else the moment its data were true."""
        return self.accepted_at or self.as_of_to


@dataclass(frozen=True)
class AgentState:
    """One agent: what it last said, and whether it may be believed to be there."""

    id: str
    status: str
    enrolled_at: datetime
    last_seen_at: datetime | None
    offline: bool
    heartbeat: Heartbeat | None
    seq: int
    host: dict[str, object]

    @property
    def backlog(self) -> int | None:
        """Changes and events not yet acked; None (unknown) while the agent is offline or never reported."""
        if self.offline or self.heartbeat is None:
            return None
        return self.heartbeat.outbox_changes + self.heartbeat.outbox_events


@dataclass(frozen=True)
class LocationState:
    """One location with everything a row of the overview needs. `rank` 0 is the worst."""

    id: str
    name: str
    phase: str
    time_zone: str
    agents: tuple[AgentState, ...]
    feeds: tuple[FeedState, ...]
    open_holds: tuple[tuple[str, int], ...]  # (what, SKUs touched)
    pill: str = "ok"
    word: str = "Fresh"
    note: str = ""
    rank: int = 9
    quarantine: tuple[Quarantined, ...] = field(default=())
    held_files: tuple[HeldFile, ...] = field(default=())

    @property
    def fresh(self) -> bool:
        """Nothing to say about it."""
        return self.pill == "ok"

    @property
    def offline(self) -> bool:
        """Every active agent is silent."""
        return self.word == "Offline"

    @property
    def last_seen_at(self) -> datetime | None:
        """The last contact of any of its agents."""
        return max((a.last_seen_at for a in self.agents if a.last_seen_at), default=None)

    @property
    def backlog(self) -> int | None:
        """Changes waiting at all its agents; None when one of them cannot be asked."""
        counts = [a.backlog for a in self.agents]
        return None if not counts or None in counts else sum(n for n in counts if n is not None)

    @property
    def takes_orders(self) -> bool:
        """Whether one of its agents is set up to place web orders at the till."""
        return any(a.heartbeat is not None and a.heartbeat.orders is not None for a in self.agents)

    @property
    def orders_problem(self) -> str:
        """What hinders its agents in placing web orders, "" when nothing does or they are silent."""
        beats = [a.heartbeat for a in self.agents if a.heartbeat is not None and not a.offline]
        return next((beat.orders.problem for beat in beats if beat.orders is not None and beat.orders.problem), "")

    @property
    def version(self) -> str:
        """The versions its agents run."""
        return ", ".join(sorted({a.heartbeat.version for a in self.agents if a.heartbeat}))

    def gives(self, what: Gives) -> FeedState | None:
        """The feed that brings this; of several, the oldest, and one that brings nothing else first."""
        some = [f for f in self.feeds if f.gives == what] or [f for f in self.feeds if what in f.brings]
        return min(some, key=lambda f: (f.at is not None, f.at)) if some else None


def fleet(conn: sa.Connection, now: datetime, offline_after: timedelta, only: str | None = None) -> list[LocationState]:
    """Every location (or the one), worst first, then by name."""
    places = sa.select(location)
    if only is not None:
        places = places.where(location.c.id == only)
    agents = _agents(conn, now, offline_after, only)
    feeds = _feed_rows(conn, only)
    holds = _open_holds(conn)
    found = []
    for row in conn.execute(places):
        here = tuple(agents.get(row.id, ()))
        health = _health(here)
        offline = bool(here) and all(a.offline for a in here)
        beats = [a.heartbeat for a in here if a.heartbeat]
        devices = {device.name for beat in beats for device in beat.devices}  # their scans come under their names
        states = tuple(
            _feed_state(f, health.get(f.name), now, offline) for f in feeds.get(row.id, ()) if f.name not in devices
        )
        bare = LocationState(
            id=row.id, name=row.name, phase=row.phase, time_zone=row.time_zone, agents=here, feeds=states,
            open_holds=tuple(holds.get(row.id, ())),
            quarantine=tuple(q for b in beats for q in b.quarantine),
            held_files=tuple(h for b in beats for h in b.holds),
        )
        rank, pill, word, note = _verdict(bare)
        found.append(replace(bare, rank=rank, pill=pill, word=word, note=note))
    return sorted(found, key=lambda place: (place.rank, place.name, place.id))


def _agents(
    conn: sa.Connection, now: datetime, offline_after: timedelta, only: str | None
) -> dict[str, list[AgentState]]:
    query = sa.select(agent).where(agent.c.status != "revoked").order_by(agent.c.enrolled_at, agent.c.id)
    if only is not None:
        query = query.where(agent.c.location_id == only)
    found: dict[str, list[AgentState]] = {}
    for row in conn.execute(query):
        found.setdefault(row.location_id, []).append(
            AgentState(
                id=row.id, status=row.status, enrolled_at=row.enrolled_at, last_seen_at=row.last_seen_at,
                offline=row.last_seen_at is None or now - row.last_seen_at > offline_after,
                heartbeat=_heartbeat(row.heartbeat), seq=row.seq, host=_host(row.host),
            )
        )
    return found


def _heartbeat(text: str | None) -> Heartbeat | None:
    """The stored heartbeat; None when there is none or a newer agent says it in a way we cannot read."""
    try:
        return None if text is None else msgspec.json.decode(text, type=Heartbeat)
    except msgspec.MsgspecError:
        return None


def _host(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.MsgspecError:
        return {}


def _health(agents: Iterable[AgentState]) -> dict[str, FeedHealth]:
    return {f.name: f for a in agents if a.heartbeat for f in a.heartbeat.feeds}


@dataclass(frozen=True)
class _FeedRow:
    name: str
    numbering: str
    as_of_to: datetime | None
    brings: tuple[Gives, ...]

    @property
    def gives(self) -> Gives:
        """One export often brings stock and prices; it is judged as the stock export, the stricter one."""
        return self.brings[0] if self.brings else "other"


def _feed_rows(conn: sa.Connection, only: str | None) -> dict[str, list[_FeedRow]]:
    """The feeds with what they give, told from the facts they brought; one look per feed and kind, by key."""

    def brings(kind: str) -> sa.ColumnElement[bool]:
        return sa.exists().where(
            fact.c.location_id == feed.c.location_id, fact.c.feed == feed.c.name, fact.c.kind == kind
        )

    journal = (
        sa.select(ledger.c.feed)
        .where(ledger.c.location_id == feed.c.location_id, ledger.c.kind == "sale_line")
        .order_by(ledger.c.id).limit(1).scalar_subquery()
    )
    query = sa.select(
        feed.c.location_id, feed.c.name, feed.c.numbering, feed.c.as_of_to,
        brings("stock_level").label("stock"), brings("price").label("price"), journal.label("journal"),
    ).order_by(feed.c.location_id, feed.c.name)
    if only is not None:
        query = query.where(feed.c.location_id == only)
    found: dict[str, list[_FeedRow]] = {}
    for row in conn.execute(query):
        said: tuple[tuple[Gives, bool], ...] = (
            ("stock", row.stock), ("price", row.price), ("sales", row.journal == row.name)
        )
        given = tuple(kind for kind, yes in said if yes)
        found.setdefault(row.location_id, []).append(_FeedRow(row.name, row.numbering, row.as_of_to, given))
    return found


def _feed_state(row: _FeedRow, health: FeedHealth | None, now: datetime, offline: bool) -> FeedState:
    accepted_at = health.accepted_at if health else None
    at = accepted_at or row.as_of_to
    if health is not None and health.holds:
        verdict = "held"
    elif health is not None and health.state in ("failing", "stopped"):
        verdict = "failing"
    elif at is None:
        verdict = "unknown"
    elif now - at > AGE_ALLOWED[row.gives]:
        verdict = "stop" if offline else "late"
    else:
        verdict = "fresh"
    return FeedState(
        name=row.name, gives=row.gives, brings=row.brings, numbering=row.numbering,
        accepted_at=accepted_at, as_of_to=row.as_of_to,
        file=health.accepted_file if health else "", rows=health.rows if health else 0,
        holds=health.holds if health else 0, quarantined=health.quarantined if health else 0,
        problem=health.problem if health else "", verdict=verdict,
    )


def _open_holds(conn: sa.Connection) -> dict[str, list[tuple[str, int]]]:
    """(what, SKUs touched) of the open holds by location; those of a whole storefront belong to none."""
    query = sa.select(hold.c.place, hold.c.what, hold.c.affected).where(hold.c.state == "open")
    found: dict[str, list[tuple[str, int]]] = {}
    for row in conn.execute(query):
        found.setdefault(row.place.partition("/")[0], []).append((row.what, row.affected))
    return found


def _verdict(place: LocationState) -> tuple[int, str, str, str]:
    """(rank, pill, word, note): the one worst thing to say about a location."""
    if not place.agents:
        return 6, "idle", "Not connected", "No agent has enrolled yet"
    if any(a.status == "frozen" for a in place.agents):
        return 0, "stop", "Frozen", "Two machines answer as one agent; nothing from them is used"
    silent = [a for a in place.agents if a.offline]
    if silent and len(silent) == len(place.agents):
        return 1, "stop", "Offline", "Its backlog is unknown until it calls"
    if silent:
        return 2, "stop", f"{len(silent)} of {len(place.agents)} offline", "The other agents flow"
    tripped = sum(touched for what, touched in place.open_holds if what == "breaker")
    if tripped:
        return 3, "trip", "Breaker tripped", f"{tripped:,} SKUs held, the rest flows"
    if place.open_holds:
        return 3, "held", "Held", f"{len(place.open_holds)} waiting for a decision; the rest flows"
    failing = [f for f in place.feeds if f.verdict == "failing"]
    if failing:
        return 2, "stop", "Failing", failing[0].problem or f"Feed {failing[0].name} cannot be read"
    if place.orders_problem:
        return 2, "stop", "Orders wait", place.orders_problem
    late = [f for f in place.feeds if f.verdict == "late"]
    if late:
        return 4, "late", "Late", f"No new file for feed {late[0].name}"
    if place.quarantine:
        what = count(len(place.quarantine), "file or row", "files or rows")
        return 5, "doubt", "Quarantine", f"{what} not readable, the rest flows"
    if (place.backlog or 0) > BEHIND:
        return 5, "late", "Behind", "Catching up after a pause"
    if place.phase == "observe":
        return 8, "ok", "Fresh", "Phase observe: nothing of it is on the web"
    return 9, "ok", "Fresh", ""
