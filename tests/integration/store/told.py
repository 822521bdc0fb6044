"""Operations of agents: batches right and wrong, full states, epochs, boots, heartbeats, mail, order states."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.integration.store.pair import CODES, SHOPS, Pair, Till, operation

from tillbridge_protocol.changes import Change, FeedInfo, FrozenBatch, FullPart, Source, encode_change, freeze
from tillbridge_protocol.heartbeat import FeedHealth, Heartbeat, HeldFile, OrdersHealth
from tillbridge_protocol.orders import ORDERS_FEED, STATES
from tillbridge_protocol.positions import Ack, Boot, Position
from tillbridge_protocol.records import (
    AsOf,
    Cost,
    OrderState,
    Price,
    Product,
    Record,
    SaleLine,
    Scan,
    StockLevel,
    key_of,
    kind_of,
)
from tillbridge_server.agents import inbox, mailbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.core.reservations import moves_itself
from tillbridge_server.store import order_reading, orders

_STRAY = (
    b'{"feed":"stock","kind":"loyalty_points","key":"1","op":"gone"}',
    b'{"feed":"nowhere","kind":"stock_level","key":"001","op":"gone"}',
    b'{"feed":"sales","kind":"sale_line","key":"R1","op":"gone"}',
    b'{"feed":"stock","kind":"stock_level","key":"a\\u0000b","op":"gone"}',
)


@operation(2)
def tell_everything(pair: Pair) -> None:
    """A till whose every item has stock and price, and that takes orders."""
    till = pair.till()
    _beat(pair, till, [], OrdersHealth())
    whole: list[Record] = []
    for code in CODES:
        whole += [StockLevel(code, Decimal(9)), Price(code, Decimal("12.90"), "CHF"), Product(code, f"Größe {code}")]
    _send(pair, till, [_put("stock", one) for one in whole])


@operation(10)
def tell_changes(pair: Pair) -> None:
    """What changed in a stock or price file; now and then something wrong in between."""
    changes = [_change(pair, code) for code in pair.codes(5)]
    if pair.rng.random() < 0.15:
        changes.insert(pair.rng.randint(0, len(changes)), pair.rng.choice(_STRAY))
    _send(pair, pair.till(), changes)


@operation(4)
def fall_to_zero(pair: Pair) -> None:
    """A file that takes much to zero, or halves its prices: breakers trip."""
    falls: list[Record] = [
        StockLevel(code, Decimal(0)) if pair.rng.random() < 0.7 else Price(code, Decimal("0.50"), "CHF")
        for code in pair.codes(9)
    ]
    _send(pair, pair.till(), [_put("stock", one, file=pair.rng.choice(("BAD.CSV", "bad.csv"))) for one in falls])


@operation(5)
def tell_full_state(pair: Pair) -> None:
    """Everything of a feed, in parts; some never get their last one."""
    till, parts = pair.till(), pair.rng.randint(1, 3)
    full = pair.new_id("full")
    for part in range(parts):
        last = part == parts - 1
        if last and pair.rng.random() < 0.2:
            return
        changes = [_put("stock", record) for code in pair.codes(8)
                   for record in (_record(pair, code), StockLevel(code, Decimal(5)))]
        _send(pair, till, changes, full=FullPart("stock", full, part, last))


@operation(8)
def tell_events(pair: Pair) -> None:
    """Sale lines and scans; ids come again, with the same content or another one."""
    changes = []
    for _ in range(pair.rng.randint(1, 4)):
        number = pair.rng.choice(("R1", "R2", "R3", "r1", "R1!2", pair.new_id("R")))
        code, pieces = pair.rng.choice(pair.codes(3)), Decimal(pair.rng.randint(-1, 2))
        at = pair.now - dt.timedelta(minutes=pair.rng.randint(0, 3))
        order = pair.rng.choice([None, *pair.orders, *pair.orders, *(one.lower() for one in pair.orders)])
        changes.append(_put("sales", SaleLine(number, code, pieces, at, Decimal("9.90"), order=order)))
        if pair.rng.random() < 0.3:
            changes.append(_put("scans", Scan(pair.new_id("s"), code, at)))
    _send(pair, pair.till(), changes)


@operation(8)
def tell_order_states(pair: Pair) -> None:
    """What became of web orders, also of one that nobody knows."""
    order = pair.rng.choice([*pair.orders[-3:], "WINDOW-9999-XYZ"])
    known = pair.both(order_reading.show_order, order, pair.now)
    there = [till for till in pair.tills if known and till.location == known["order"]["location"]]
    told = [
        _put(ORDERS_FEED, OrderState(
            pair.new_id("o"), order, pair.rng.choice((1, 1, 1, 2)), pair.rng.choice(sorted(STATES)), pair.now,
            sequence=pair.rng.choice((None, 7)), file=pair.rng.choice((None, "ORD7.CSV")),
            message=pair.rng.choice((None, "Nein, größer.")),
        ))
        for _ in range(pair.rng.randint(1, 3))
    ]
    _send(pair, pair.rng.choice(there or pair.tills), told)


@operation(3)
def send_again(pair: Pair) -> None:
    """The ack was lost: the same bytes come once more."""
    till = pair.till()
    if till.last is not None:
        _deliver(pair, till, till.last)


@operation(2)
def send_wrong(pair: Pair) -> None:
    """A batch that does not fit: from ahead, from behind with other bytes, of another location."""
    till = pair.till()
    skip = pair.rng.choice((0, -1, 2))
    batch = freeze(
        agent=till.agent, location=till.location if skip else "elsewhere", epoch=till.position.epoch,
        seq=max(1, till.position.seq + 1 + skip), prev=till.position.head, feeds={}, full=None, changes=[],
    )
    _deliver(pair, till, batch)


@operation(2)
def begin_epoch(pair: Pair) -> None:
    """The outbox was lost or restored: a new life of it, or by mistake an old one."""
    till = pair.till()
    if pair.rng.random() < 0.8:
        till.epochs += 1
    till.position = Position(f"epoch-{till.epochs if pair.rng.random() < 0.9 else 1}", 0, "")
    _send(pair, till, [_change(pair, code) for code in pair.codes(3)])


@operation(1)
def start_again(pair: Pair) -> None:
    """The agent's process starts anew; rarely as a copy of itself that was running all the time."""
    till = pair.till()
    till.boot, till.requests = pair.new_id("boot-"), 0
    if pair.rng.random() < 0.05:
        till.boot = "boot-1"


@operation(8)
def beat(pair: Pair) -> None:
    """A heartbeat with files that are held, feeds that were read, and whether orders can be placed."""
    till, rng = pair.till(), pair.rng
    held = [
        HeldFile(one, "stock", "S.CSV", pair.now, rng.choice(("guard", "column_missing")), "Too many: ‘Ä\0’.", "Look.",
                 rng.randint(0, 9), [{"key": "001", "was": None}])
        for one in ("h1", "H1", "h2") if rng.random() < 0.3
    ]
    _beat(pair, till, held, OrdersHealth() if rng.random() < 0.8 else None)


@operation(5)
def collect_mail(pair: Pair) -> None:
    """The agent has dealt with some of what it got, and asks for more."""
    till = pair.till()
    done = [one for one in till.mail if pair.rng.random() < 0.6]
    messages = pair.both(mailbox.collect, till.agent, done, pair.now)
    till.mail = [message.id for message in messages]


@operation(3)
def ask_standings(pair: Pair) -> None:
    """The agent wants to know how its orders stand."""
    till = pair.till()
    agent = pair.both(inbox.fleet.get, till.agent)
    if agent is not None:
        pair.both(orders.standings, till.agent, agent.known, till.position, pair.now)


def _beat(pair: Pair, till: Till, held: list[HeldFile], health: OrdersHealth | None) -> None:
    as_of = AsOf(pair.now - dt.timedelta(minutes=pair.rng.randint(1, 90)), pair.now, "observed")
    feeds = [FeedHealth("stock", "idle", as_of=as_of if pair.rng.random() < 0.5 else None)]
    heartbeat = Heartbeat("1", pair.now, 0, 0, None, feeds, held, [], 3_000_000_000, {"rows": 2**40}, health)
    pair.both(inbox.receive_heartbeat, till.agent, heartbeat, _lane(pair, till), now=pair.now, moves=_moves)


def _moves(location: str, feed: str) -> bool:
    return moves_itself(location, feed, SHOPS)


def _record(pair: Pair, code: str) -> Record:
    rng, amount = pair.rng, Decimal(pair.rng.randint(1, 2000)) / 100
    kind = rng.randrange(5)
    if kind == 0:
        return Price(code, amount, "CHF", *((amount / 2, "2026-11-20", "2026-11-24") if rng.random() < 0.3 else ()))
    if kind == 1:
        title = rng.choice((None, f"Größe {code}", "100% 'Oat'", '"a"'))
        return Product(code, title=title, gtin=rng.choice((None, "1")))
    if kind == 2:
        return Cost(code, amount, "CHF")
    as_of = AsOf(pair.now - dt.timedelta(minutes=rng.randint(1, 9)), pair.now, "data") if rng.random() < 0.4 else None
    return StockLevel(code, Decimal(rng.choice((-2, 0, 3, 5, 50, 10**12))), as_of)


def _change(pair: Pair, code: str) -> bytes:
    record, feed = _record(pair, code), "stock" if pair.rng.random() < 0.9 else "prices"
    if pair.rng.random() < 0.15:
        return encode_change(Change(feed, kind_of(record), code, "gone", None, Source("S.CSV", "ab")))
    return _put(feed, record)


def _put(feed: str, record: Record, file: str = "S.CSV") -> bytes:
    source = Source(file, file.lower(), 3_000_000_000, f"Zeile; {key_of(record)}\0")
    return encode_change(Change(feed, kind_of(record), key_of(record), "put", record, source))


def _send(pair: Pair, till: Till, changes: Sequence[bytes], full: FullPart | None = None) -> None:
    rng, at = pair.rng, till.position
    as_of = AsOf(pair.now - dt.timedelta(minutes=2), pair.now, "file_name") if rng.random() < 0.4 else None
    absence: Any = rng.choice(("zero", "zero", "zero", "nothing", "retire"))
    feeds = {
        "stock": FeedInfo("pos", absence=absence, as_of=as_of), "sales": FeedInfo("pos"), "scans": FeedInfo("pos"),
        "prices": FeedInfo("office" if rng.random() < 0.05 else "pos"), ORDERS_FEED: FeedInfo("main"),
    }
    _deliver(pair, till, freeze(
        agent=till.agent, location=till.location, epoch=at.epoch, seq=at.seq + 1, prev=at.head, feeds=feeds, full=full,
        changes=changes,
    ))


def _deliver(pair: Pair, till: Till, batch: FrozenBatch) -> None:
    answer = pair.both(
        inbox.receive_batch, till.agent, batch.body, _lane(pair, till), backs_up=False, now=pair.now, moves=_moves
    )
    if isinstance(answer, Ack):
        till.position, till.last = Position(answer.epoch, answer.seq, answer.head), batch


def _lane(pair: Pair, till: Till) -> Lane:
    till.requests += 1
    return Lane(till.position, Boot(till.boot, till.requests), pair.now)
