"""Whom the agents' API believes and what: single bad changes, clones, one-time codes."""

import datetime as dt
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.office import NOW, Office, Till, flows, on_hand, open_office, refused, sale, stock

from tillbridge_agent.core.uplink import State, Uplink
from tillbridge_agent.transport import Clock, Transport
from tillbridge_protocol.enrollment import EnrollAnswer
from tillbridge_protocol.limits import CODE_LIFE_S, CODE_TRIES_MAX
from tillbridge_protocol.positions import Ack, Resync
from tillbridge_server.agents import fleet
from tillbridge_server.store.tables import agent, dead_letter, hold, ledger

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A running office."""
    async with open_office(tmp_path) as opened:
        yield opened


# -- changes -----------------------------------------------------------------------------------------------------

_UNKNOWN = b'{"feed":"stock","kind":"weather","key":"k","op":"put","record":{"kind":"weather","rain":"1"}}'
_MALFORMED = b'{"feed":"stock","kind":"cost","key":"1030","op":"put","record":{"kind":"cost","code":"1030"}}'
_FOREIGN = b'{"feed":"other","kind":"stock_level","key":"1030","op":"gone"}'
_TAKEN_BACK = b'{"feed":"stock","kind":"sale_line","key":"7/1","op":"gone"}'


@pytest.mark.parametrize(("raw", "code"), [
    (_UNKNOWN, "change_unknown"), (_MALFORMED, "change_malformed"),
    (_FOREIGN, "change_refused"), (_TAKEN_BACK, "change_refused"),
])
async def test_one_bad_change(office: Office, raw: bytes, code: str) -> None:
    """One dead letter, named in the ack by its place; the rest of the batch is applied, and the next one too."""
    till = await office.till()
    came = await till.send(till.batch(stock("1", "1"), stock("2", "2"), sale(), raw=[raw]))
    assert isinstance(came.answer, Ack)
    assert [(note.index, note.code) for note in came.answer.dead] == [(3, code)]
    assert on_hand(office) == {"1": "1", "2": "2"}
    assert [row.id for row in office.rows(ledger)] == ["7/1"]
    letters = office.rows(dead_letter)
    assert [(letter.origin, letter.place, letter.code, letter.payload) for letter in letters] == [
        ("agent", till.agent, code, raw)
    ]
    await flows(till)
    assert len(office.rows(dead_letter)) == 1


async def test_repeat_names_the_same_dead_letter(office: Office) -> None:
    """The ack was lost: the repeat tells the same, and buries nothing twice."""
    till = await office.till()
    batch = till.batch(stock(), raw=[_UNKNOWN])
    first = await office.send(till.request("/v1/batches", batch.body), batch.body)
    before = office.dump()
    again = await till.send(batch)
    assert isinstance(first.answer, Ack)
    assert isinstance(again.answer, Ack)
    assert again.answer.repeated
    assert again.answer.dead == first.answer.dead
    assert office.dump()["dead_letter"] == before["dead_letter"]


async def test_same_sale_line_with_other_content(office: Office) -> None:
    """Both are kept and one is reported; nothing is added up."""
    till = await office.till()
    await till.send(till.batch(sale(quantity="1")))
    came = await till.send(till.batch(sale(quantity="2"), stock()))
    assert isinstance(came.answer, Ack)
    assert [(note.index, note.code) for note in came.answer.dead] == [(0, "conflict")]
    assert {row.id: row.quantity for row in office.rows(ledger)} == {"7/1": Decimal(1), "7/1!2": Decimal(2)}
    assert on_hand(office) == {"1028": "3"}


# -- clones ------------------------------------------------------------------------------------------------------


async def test_clone_is_frozen(office: Office) -> None:
    """Boots A, B, A: two machines use one identity; from then on neither is believed, and a person is asked."""
    till = await office.till()
    await flows(till)
    office.clock.now += MINUTE
    came = await till.send(till.batch(stock("b", "1")), boot="boot-2")
    assert isinstance(came.answer, Ack)
    office.clock.now += MINUTE
    came = await till.send(till.batch(stock("a", "1")), boot="boot-1")
    assert isinstance(came.answer, Resync), "nothing is told to the clone but that it is behind"
    assert "a" not in on_hand(office)
    assert [(row.what, row.code, row.place) for row in office.rows(hold)] == [("conflict", "clone", "mallow")]
    before = office.dump()
    for boot in ("boot-1", "boot-2", "boot-3"):
        await refused(office, await till.send(till.batch(stock("a", "1")), boot=boot), "frozen", before)
    assert [row.status for row in office.rows(agent)] == ["frozen"]


async def test_frozen_agent_says_so(office: Office) -> None:
    """The real agent stops trying hard, and its status can tell why."""
    till = await office.till()
    with office.store.engine.begin() as conn:
        fleet.freeze(conn, fleet.get(conn, till.agent), NOW)
    transport, uplink = Transport(till.identity, Clock(lambda: NOW), office.session), Uplink(heartbeat_s=15)
    batch = till.batch(stock())
    answer = await transport.send_batch(batch, till.position)
    uplink.answered(0.0, answer, position=till.position, in_flight=batch, rng=Random(1))
    assert uplink.state is State.FROZEN


# -- enrollment ----------------------------------------------------------------------------------------------------


def new_till(office: Office) -> Till:
    """A machine that is not enrolled."""
    return Till(office, Ed25519PrivateKey.generate())


async def test_same_code_same_key(office: Office) -> None:
    """The answer was lost: the same again, and one agent."""
    till, code = new_till(office), office.invite()
    first, again = await till.enroll(code), await till.enroll(code)
    assert isinstance(first.answer, EnrollAnswer)
    assert first.signed
    assert again.answer == first.answer
    assert len(office.rows(agent)) == 1


async def test_used_code(office: Office) -> None:
    """Another machine with the same code."""
    code = office.invite()
    await new_till(office).enroll(code)
    before = office.dump()
    await refused(office, await new_till(office).enroll(code), "code_used", before)


async def test_expired_code(office: Office) -> None:
    """An hour and a second later."""
    code, used = office.invite(), office.invite()
    till = new_till(office)
    await till.enroll(used)
    office.clock.now += dt.timedelta(seconds=CODE_LIFE_S + 1)
    before = office.dump()
    await refused(office, await new_till(office).enroll(code), "code_expired", before)
    await refused(office, await till.enroll(used), "code_expired", before)


async def test_enrollment_needs_the_key_itself(office: Office) -> None:
    """A public key that the sender cannot sign with is not enrolled, and the code is not used up."""
    code, till = office.invite(), new_till(office)
    before = office.dump()
    await refused(office, await till.enroll(code, signed_by=Ed25519PrivateKey.generate()), "signature_invalid", before)
    assert isinstance((await till.enroll(code)).answer, EnrollAnswer)


async def test_code_tries(office: Office) -> None:
    """Wrong codes are counted by address; after the last try even a right one must wait, for an hour."""
    code = office.invite()
    before = office.dump()
    for _ in range(CODE_TRIES_MAX):
        await refused(office, await new_till(office).enroll(code, secret="000000000000000"), "code_wrong", before)
    came = await new_till(office).enroll(code)
    await refused(office, came, "busy", before)
    assert came.answer.retry_after_s
    office.clock.now += dt.timedelta(seconds=CODE_LIFE_S + 1)
    assert isinstance((await new_till(office).enroll(office.invite())).answer, EnrollAnswer)


async def test_enrollment_with_the_wrong_time(office: Office) -> None:
    """A machine with the wrong time gets the time, not an identity."""
    code = office.invite()
    before = office.dump()
    await refused(office, await new_till(office).enroll(code, now=NOW - dt.timedelta(days=30)), "clock", before)
