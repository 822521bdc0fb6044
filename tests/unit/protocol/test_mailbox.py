"""Mailbox and heartbeat: messages nobody knows harm no other, and health facts come through as told."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_protocol import heartbeat as h
from tillbridge_protocol import mailbox as m
from tillbridge_protocol.limits import POLL_WAIT_S_MAX
from tillbridge_protocol.orders import OrderStanding, OrderStandings, SignedOrder

NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
DECIDE = m.DecideHold(hold="h-1", decision="approve", reason="counted twice", by="Dana")
LOOK = m.LookAgain(feed="stock")
PLACE = m.PlaceOrder(SignedOrder('{"id":"WEB-1"}', "s/1", "00" * 64))
MARK = m.MarkOrder("WEB-1", 2, "imported", "receipt 231", "Dana")


def message(message_id: str, body: m.Body) -> m.Message:
    """A message as the server hands it out."""
    return m.Message(message_id, msgspec.Raw(msgspec.json.encode(body)))


@pytest.mark.parametrize("body", [DECIDE, LOOK, PLACE, MARK], ids=["decide", "look", "place", "mark"])
def test_bodies_come_back(body: m.Body) -> None:
    """Through a whole answer, as the agent gets it."""
    raw = msgspec.json.encode(m.Mail([message("1", body)]))
    assert m.decode_body(msgspec.json.decode(raw, type=m.Mail).messages[0].body) == body


def test_an_unknown_message_harms_no_other() -> None:
    """Of a later server, or of a form we do not know: None, and the ones beside it decode."""
    raw = (
        b'{"answer":"mail","messages":[{"id":"1","body":{"kind":"reboot","when":"now"}},'
        b'{"id":"2","body":{"kind":"look_again","feed":"stock","since":"yesterday"}},'
        b'{"id":"3","body":{"kind":"decide_hold","hold":"h","decision":"maybe","reason":"","by":""}},'
        b'{"id":"6","body":{"kind":"mark_order","order":"../x","revision":1,"mark":"imported","reason":"","by":""}},'
        b'{"id":"4","body":7},{"id":"5","body":null}]}'
    )
    mail = msgspec.json.decode(raw, type=m.Mail)
    assert [m.decode_body(each.body) for each in mail.messages] == [None, LOOK, None, None, None, None]


@given(st.binary(max_size=60))
def test_no_body_is_a_crash(raw: bytes) -> None:
    """Any bytes: a known message or None."""
    assert m.decode_body(raw) is None
    assert m.decode_body(b"[" * 50_000) is None


def test_a_poll_says_what_is_done() -> None:
    """Without words it waits as long as is allowed and has done nothing."""
    assert msgspec.json.decode(b"{}", type=m.Poll) == m.Poll(wait_s=POLL_WAIT_S_MAX, done=[])
    poll = m.Poll(wait_s=0.5, done=["1", "2"])
    assert msgspec.json.decode(msgspec.json.encode(poll), type=m.Poll) == poll


def test_standings_are_there_only_when_asked_for() -> None:
    """A poll of an older agent does not ask; mail without standings says nothing of them."""
    assert not msgspec.json.decode(b'{"wait_s": 1.0, "done": []}', type=m.Poll).standings
    assert b"standings" not in msgspec.json.encode(m.Mail([]))
    told = m.Mail([], OrderStandings("e", 17, [OrderStanding("WEB-1", 1, "received", "e"), OrderStanding("W", 2, "x")]))
    assert msgspec.json.decode(msgspec.json.encode(told), type=m.Mail) == told


def test_a_heartbeat_comes_back() -> None:
    """With everything a person at head office may have to decide on."""
    beat = h.Heartbeat(
        version="0.1.0", at=NOW, outbox_changes=3, outbox_events=1, oldest_unacked_at=None, disk_free_bytes=1,
        feeds=[
            h.FeedHealth("stock", "held", accepted_at=NOW, accepted_file="S.CSV", rows=7, holds=1, problem="rows lost"),
            h.FeedHealth("journal", "stopped"),
        ],
        holds=[h.HeldFile("h-1", "stock", "S.CSV", NOW, "rows_lost", "m", "h", 3, [{"ArtNr": "1", "EAN": None}])],
        quarantine=[h.Quarantined("q-1", "stock", "S.CSV", NOW, "cut_off", "m", 9)],
        counters={"files_accepted": 2}, orders=h.OrdersHealth({"uncertain": 1}, "waits for a person"),
        devices=[h.DeviceHealth("counter", "line_scanner", "open", last_at=NOW, scans=8, noise=1, problem="noise")],
    )
    assert msgspec.json.decode(msgspec.json.encode(beat), type=h.Heartbeat) == beat
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(beat).replace(b'"held"', b'"tired"'), type=h.Heartbeat)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(beat).replace(b"09:26:53Z", b"09:26:53"), type=h.Heartbeat)


def test_a_heartbeat_of_an_older_agent_places_no_orders() -> None:
    """Unknown is not zero: such an agent is never sent one."""
    raw = (
        b'{"version":"0.1.0","at":"2026-03-14T09:26:53Z","outbox_changes":0,"outbox_events":0,"oldest_unacked_at":null,'
        b'"feeds":[],"holds":[],"quarantine":[],"disk_free_bytes":1,"counters":{}}'
    )
    assert msgspec.json.decode(raw, type=h.Heartbeat).orders is None
    assert msgspec.json.decode(raw, type=h.Heartbeat).devices == []


def test_samples_are_not_shared() -> None:
    """Defaults that are lists belong to one heartbeat only."""
    first = h.HeldFile("1", "f", "a", NOW, "c", "m", "h")
    first.sample.append({"a": "b"})
    assert h.HeldFile("2", "f", "a", NOW, "c", "m", "h").sample == []
