"""The outbox in its database: what freezing, settling and a new epoch do to queued changes."""

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tillbridge_agent.store import order_states, outbox
from tillbridge_agent.store.database import open_database, transact
from tillbridge_agent.store.outbox import Sender
from tillbridge_protocol.changes import Change, FeedInfo, FrozenBatch, decode_change, open_batch
from tillbridge_protocol.orders import ORDERS_FEED
from tillbridge_protocol.positions import Ack, Position
from tillbridge_protocol.records import OrderState, SaleLine, StockLevel

AT = "2026-03-14T09:26:53+00:00"
SENDER = Sender("a1", "mallow", {"stock": FeedInfo("pos"), "sales": FeedInfo("pos")})


@pytest.fixture
def conn(tmp_path: Path) -> sqlite3.Connection:
    """An agent's database with its first epoch begun."""
    connection = open_database(tmp_path / "agent.db")
    transact(connection, outbox.ensure_epoch, "e1")
    return connection


def stock(code: str, count: int) -> Change:
    """A count."""
    return Change("stock", "stock_level", code, "put", StockLevel(code, Decimal(count)))


def sale(number: str) -> Change:
    """A sale line."""
    line = SaleLine(number, "001", Decimal(1), datetime(2026, 3, 14, tzinfo=UTC))
    return Change("sales", "sale_line", number, "put", line)


def frozen(conn: sqlite3.Connection) -> FrozenBatch:
    """The next batch."""
    batch = transact(conn, outbox.freeze_changes, SENDER, AT)
    assert batch is not None
    return batch


def keys(batch: FrozenBatch) -> list[str]:
    """What is in a batch: kind and key, with the count of a stock level."""
    found = []
    for raw in open_batch(batch.body).changes:
        change = decode_change(raw)
        count = f"={change.record.on_hand}" if isinstance(change.record, StockLevel) else ""
        found.append(f"{change.key}{count}")
    return found


def ack(batch: FrozenBatch, durable: int) -> Ack:
    """The server's answer to it."""
    return Ack(batch.epoch, batch.seq, batch.head, durable)


def test_state_coalesces_and_events_do_not(conn: sqlite3.Connection) -> None:
    """Of 1,000 counts of one code the last is sent; every sale line is."""
    for count in range(1_000):
        transact(conn, outbox.put_changes, [stock("001", count), sale(f"R{count % 3}/{count}")], AT)
    batch = frozen(conn)
    assert keys(batch)[0] == "001=999"
    assert len(keys(batch)) == 1_001


def test_a_retry_sends_the_same_bytes(conn: sqlite3.Connection) -> None:
    """A change that comes while a batch is in flight waits for the next one."""
    transact(conn, outbox.put_changes, [stock("001", 5)], AT)
    batch = frozen(conn)
    transact(conn, outbox.put_changes, [stock("001", 6)], AT)
    assert transact(conn, outbox.in_flight) == batch
    transact(conn, outbox.settle, ack(batch, 1))
    assert transact(conn, outbox.position) == Position("e1", 1, batch.head)
    following = frozen(conn)
    assert keys(following) == ["001=6"]
    assert open_batch(following.body).prev == batch.head


def test_current_state_goes_before_the_backlog_of_events(conn: sqlite3.Connection) -> None:
    """After an outage shoppers get today's stock first."""
    transact(conn, outbox.put_changes, [sale(f"R{n}") for n in range(6_000)], AT)
    transact(conn, outbox.put_changes, [stock("001", 1)], AT)
    assert keys(frozen(conn))[0] == "001=1"


def test_an_ack_for_another_batch_is_our_bug(conn: sqlite3.Connection) -> None:
    """The conversation never lets one through; the store would rather stop than delete."""
    transact(conn, outbox.put_changes, [stock("001", 5)], AT)
    batch = frozen(conn)
    with pytest.raises(AssertionError):
        transact(conn, outbox.settle, Ack("e1", 1, "f" * 64, 1))
    assert transact(conn, outbox.in_flight) == batch


def test_events_are_kept_until_they_are_durable(conn: sqlite3.Connection) -> None:
    """A server restored from its backup must get again what that backup does not hold."""
    transact(conn, outbox.put_changes, [sale("R1")], AT)
    first = frozen(conn)
    transact(conn, outbox.settle, ack(first, 0))
    transact(conn, outbox.put_changes, [sale("R2"), stock("001", 5)], AT)
    second = frozen(conn)
    transact(conn, outbox.settle, ack(second, 1))
    transact(conn, outbox.start_epoch, "e2")
    again = frozen(conn)
    assert keys(again) == ["R2"]
    assert (again.epoch, again.seq, open_batch(again.body).prev) == ("e2", 1, "")


def test_a_new_epoch_drops_state_and_keeps_unsent_events(conn: sqlite3.Connection) -> None:
    """Each feed owes its full state instead; nothing in flight is forgotten that only existed there."""
    transact(conn, outbox.put_changes, [stock("001", 5), sale("R1")], AT)
    frozen(conn)
    transact(conn, outbox.put_changes, [stock("002", 7), sale("R2")], AT)
    transact(conn, outbox.start_epoch, "e2")
    assert transact(conn, outbox.in_flight) is None
    assert keys(frozen(conn)) == ["R1", "R2"]


def test_another_identity_starts_another_epoch(conn: sqlite3.Connection) -> None:
    """What was frozen in the old name would be refused for ever."""
    transact(conn, outbox.adopt, "a1", "unused")
    transact(conn, outbox.put_changes, [sale("R1")], AT)
    frozen(conn)
    transact(conn, outbox.adopt, "a1", "unused")
    assert transact(conn, outbox.in_flight) is not None
    transact(conn, outbox.adopt, "a2", "e9")
    assert transact(conn, outbox.position) == Position("e9", 0, "")
    assert keys(frozen(conn)) == ["R1"]


def test_the_backlog_counts_what_waits_and_what_flies(conn: sqlite3.Connection) -> None:
    """`status` and the heartbeat tell it."""
    transact(conn, outbox.put_changes, [stock("001", 5), sale("R1")], AT)
    frozen(conn)
    transact(conn, outbox.put_changes, [sale("R2")], AT)
    backlog = transact(conn, outbox.backlog)
    assert (backlog.changes, backlog.events, backlog.in_flight, backlog.oldest_at) == (1, 2, True, AT)


def test_events_of_a_new_epoch_are_the_same_bytes(conn: sqlite3.Connection) -> None:
    """Also what the server made a dead letter of: a change that cannot be believed must not end a new epoch."""
    odd = Change("sales", "sale_line", "k" * 300, "put", sale("R1").record)
    transact(conn, outbox.put_changes, [odd, stock("001", 1)], AT)
    sent = frozen(conn)
    transact(conn, outbox.settle, ack(sent, 0))
    transact(conn, outbox.put_changes, [sale("R2")], AT)
    transact(conn, outbox.start_epoch, "e2")
    transact(conn, outbox.start_epoch, "e3")
    again = open_batch(frozen(conn).body).changes
    assert bytes(again[0]) == bytes(open_batch(sent.body).changes[1])
    assert len(again) == 2


def order_state(number: str) -> Change:
    """A state of an order."""
    record = OrderState(number, "W-1", 1, "received", datetime(2026, 3, 14, tzinfo=UTC))
    return Change(ORDERS_FEED, "order_state", number, "put", record)


def test_states_of_orders_go_first_and_are_counted(conn: sqlite3.Connection) -> None:
    """Before state and before other events, also while full states are owed; unacked until the ack."""
    transact(conn, outbox.put_changes, [sale("R1"), stock("001", 5), order_state("s1"), order_state("s2")], AT)
    conn.execute(
        "INSERT INTO feed (name, fingerprint, config, file, sha256, encoding, columns, rows, counts, bytes, mtime_ns, "
        "accepted_at, full) VALUES ('other', '', '', '', '', '', '[]', 9, '[0,0,0,0,1]', 0, 0, ?, 1)", (AT,),
    )
    batch = frozen(conn)
    assert keys(batch) == ["s1", "s2", "001=5"]
    assert transact(conn, order_states.unacked)
    transact(conn, outbox.settle, ack(batch, 0))
    assert not transact(conn, order_states.unacked)


def test_a_feed_is_confirmed_only_when_nothing_of_it_waits(conn: sqlite3.Connection) -> None:
    """Neither queued nor in flight nor owed in full; then the heartbeat may say when its last file was true."""
    conn.execute(
        "INSERT INTO feed (name, fingerprint, config, file, sha256, encoding, columns, rows, counts, bytes, mtime_ns, "
        "accepted_at, as_of_from, as_of_to, as_of_kind, full) "
        "VALUES ('stock', '', '', '', '', '', '[]', 9, '[0,0,0,0,1]', 0, 0, ?, ?, ?, 'observed', 0)", (AT, AT, AT),
    )
    assert set(transact(conn, outbox.confirmed)) == {"stock"}
    transact(conn, outbox.put_changes, [stock("001", 5)], AT)
    assert transact(conn, outbox.confirmed) == {}
    batch = frozen(conn)
    assert transact(conn, outbox.confirmed) == {}
    transact(conn, outbox.settle, ack(batch, 1))
    assert transact(conn, outbox.confirmed)["stock"].kind == "observed"
    conn.execute("INSERT INTO kept (feed, kind, key, change) VALUES ('stock', 'price', '001', '')")
    assert set(transact(conn, outbox.confirmed)) == {"stock"}
    conn.execute("INSERT INTO kept (feed, kind, key, change) VALUES ('stock', 'stock_level', '001', '')")
    assert transact(conn, outbox.confirmed) == {}, "one count of it could not be read: it is older than the file"
    conn.execute("DELETE FROM kept")
    conn.execute("UPDATE feed SET full = 1")
    assert transact(conn, outbox.confirmed) == {}


def test_a_new_epoch_tells_every_order_that_is_not_final(conn: sqlite3.Connection) -> None:
    """Its present state under a fresh id, of the newest revision only; what was counted or called off is quiet."""
    for order, revision, state in (("A", 1, "cancelled"), ("A", 2, "taken"), ("B", 1, "accepted"), ("C", 1, "counted")):
        conn.execute(
            "INSERT INTO web_order (id, revision, state, sha256, placed_at, received_at, state_at, confirmed) "
            "VALUES (?, ?, ?, '', '', ?, ?, 1)", (order, revision, state, AT, AT),
        )
    transact(conn, outbox.start_epoch, "e2")
    told = [decode_change(raw).record for raw in open_batch(frozen(conn).body).changes]
    assert [(one.order, one.revision, one.state) for one in told if isinstance(one, OrderState)] == [
        ("A", 2, "taken"), ("B", 1, "accepted"),
    ]


def test_an_empty_batch_begins_an_epoch_once(conn: sqlite3.Connection) -> None:
    """Head office then knows where this agent stands, although it has nothing to say."""
    batch = transact(conn, outbox.freeze_nothing, SENDER, AT)
    assert batch is not None
    assert (batch.seq, keys(batch)) == (1, [])
    assert transact(conn, outbox.freeze_nothing, SENDER, AT) is None
    transact(conn, outbox.settle, ack(batch, 1))
    assert transact(conn, outbox.freeze_nothing, SENDER, AT) is None
