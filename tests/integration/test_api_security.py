"""What the agents' API refuses: the documented code, signed, nothing else changed, and the rest flows."""

import asyncio
import datetime as dt
import gzip
import json
import secrets
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.office import NOW, Came, Office, Till, open_office

from tillbridge_agent.core.uplink import State, Uplink
from tillbridge_agent.transport import Clock, Transport
from tillbridge_protocol import signing
from tillbridge_protocol.enrollment import EnrollAnswer
from tillbridge_protocol.errors import CODES
from tillbridge_protocol.limits import (
    BATCH_UNPACKED_BYTES_MAX,
    BODY_BYTES_MAX,
    CLOCK_WINDOW_S,
    CODE_LIFE_S,
    CODE_TRIES_MAX,
)
from tillbridge_protocol.positions import Ack, ErrorAnswer, Resync
from tillbridge_protocol.records import SaleLine, StockLevel
from tillbridge_server.agents import fleet
from tillbridge_server.store.tables import agent, dead_letter, fact, hold, ledger

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A running office."""
    async with open_office(tmp_path) as opened:
        yield opened


def stock(code: str = "1028", on_hand: str = "3") -> StockLevel:
    """A count."""
    return StockLevel(code, Decimal(on_hand))


def sale(number: str = "7/1", quantity: str = "1") -> SaleLine:
    """A line of a receipt."""
    return SaleLine(number, "1028", Decimal(quantity), NOW, Decimal("12.90"))


def on_hand(office: Office) -> dict[str, str]:
    """What the server knows of every code."""
    return {row.code: json.loads(row.value)["on_hand"] for row in office.rows(fact)}


async def refused(office: Office, came: Came, code: str, before: object, *, signed: bool = True) -> None:
    """The documented code under its status, signed, with a hint; and not one row is another."""
    assert isinstance(came.answer, ErrorAnswer)
    assert (came.code, came.status, came.signed) == (code, CODES[code].status, signed)
    assert came.answer.message
    assert came.answer.hint == CODES[code].hint
    assert office.dump() == before


async def flows(till: Till) -> None:
    """The next batch is applied as if nothing had been."""
    code = secrets.token_hex(4)
    came = await till.send(till.batch(stock(code, "9")))
    assert isinstance(came.answer, Ack), came
    assert came.answer.dead == []
    assert on_hand(till.office)[code] == "9"


# -- requests that are not what they say ---------------------------------------------------------------------


async def test_wrong_signature(office: Office) -> None:
    """Somebody else's key under our key id."""
    till = await office.till()
    await flows(till)
    before = office.dump()
    came = await till.send(till.batch(stock()), key=Ed25519PrivateKey.generate())
    await refused(office, came, "signature_invalid", before)
    await flows(till)


@pytest.mark.parametrize("header", ["tillbridge-position", "tillbridge-boot", "content-type"])
async def test_changed_header(office: Office, header: str) -> None:
    """Every header that means something is covered."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock())
    request = till.request("/v1/batches", batch.body)
    request.headers[header] += "x"
    await refused(office, await office.send(request, batch.body), "signature_invalid", before)
    await flows(till)


async def test_other_path(office: Office) -> None:
    """A heartbeat's signature opens no other door."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock())
    request = till.request("/v1/heartbeat", batch.body)
    request.url = office.url + "/v1/batches"
    await refused(office, await office.send(request, batch.body), "signature_invalid", before)


async def test_replayed_nonce(office: Office) -> None:
    """The very same request once more: refused, and what it did the first time is done once."""
    till = await office.till()
    batch = till.batch(stock(), sale())
    request = till.request("/v1/batches", batch.body)
    first = await office.send(request, batch.body)
    assert isinstance(first.answer, Ack)
    before = office.dump()
    await refused(office, await office.send(request, batch.body), "replayed", before)
    # The agent that never heard the ack signs afresh, and hears it now.
    again = await till.send(batch)
    assert isinstance(again.answer, Ack)
    assert again.answer.repeated
    assert office.dump()["ledger"] == before["ledger"]
    await flows(till)


async def test_nonce_of_a_bad_signature_is_not_burned(office: Office) -> None:
    """Who guesses a nonce cannot lock the agent out with it."""
    till = await office.till()
    batch = till.batch(stock())
    forged = await till.send(batch, nonce="the-next-nonce", key=Ed25519PrivateKey.generate())
    assert forged.code == "signature_invalid"
    came = await till.send(batch, nonce="the-next-nonce")
    assert isinstance(came.answer, Ack)


async def test_tampered_body(office: Office) -> None:
    """One byte of the body is another."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock(on_hand="3"))
    request = till.request("/v1/batches", batch.body)
    tampered = till.batch(stock(on_hand="4"))
    assert tampered.body != batch.body
    await refused(office, await office.send(request, tampered.body), "digest_mismatch", before)
    await flows(till)


async def test_unknown_key(office: Office) -> None:
    """A key id that was never enrolled."""
    till = await office.till()
    before = office.dump()
    came = await till.send(till.batch(stock()), key_id="a/nobody/1")
    await refused(office, came, "key_unknown", before)
    await flows(till)


async def test_revoked_key(office: Office) -> None:
    """A revoked agent is refused on every lane, also when the server has its key in memory; others flow."""
    till, other = await office.till(), await office.till("sorrel")
    await flows(till)
    with office.store.engine.begin() as conn:
        assert fleet.revoke(conn, till.agent, "ana", "the till was sold", NOW)
    before = office.dump()
    await refused(office, await till.send(till.batch(stock())), "key_revoked", before)
    for path, body in (("/v1/mailbox", b'{"wait_s":0.0}'), ("/v1/heartbeat", _heartbeat())):
        await refused(office, await office.send(till.request(path, body), body), "key_revoked", before)
    await flows(other)


async def test_unsigned(office: Office) -> None:
    """Without a signature there is nothing to bind an answer to: it is plain, and no agent acts on it."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock())
    request = till.request("/v1/batches", batch.body)
    for name in ("signature", "signature-input"):
        request.headers = {key: value for key, value in request.headers.items() if key.lower() != name}
    await refused(office, await office.send(request, batch.body), "signature_missing", before, signed=False)
    await flows(till)


async def test_wrong_authority(office: Office) -> None:
    """Signed for a name this server does not have: a proxy's, or another server's."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock())
    request = till.request("/v1/batches", batch.body, url="http://shop.example")
    request.url, request.headers["host"] = office.url + "/v1/batches", "shop.example"
    came = await office.send(request, batch.body)
    await refused(office, came, "authority_wrong", before)
    await flows(till)


async def test_signed_for_another_server(office: Office) -> None:
    """A request made for another server and sent here under our name."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock())
    request = till.request("/v1/batches", batch.body, url="http://other.example")
    request.url = office.url + "/v1/batches"
    await refused(office, await office.send(request, batch.body), "signature_invalid", before)


# -- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off_s", [-CLOCK_WINDOW_S - 60, CLOCK_WINDOW_S + 60])
async def test_clock_off(office: Office, off_s: int) -> None:
    """A request made at another time than ours."""
    till = await office.till()
    before = office.dump()
    came = await till.send(till.batch(stock()), now=NOW + dt.timedelta(seconds=off_s))
    await refused(office, came, "clock", before)
    await flows(till)


async def test_made_before_the_server_started(office: Office) -> None:
    """The nonces of then are not in memory any more, so such a request is never believed."""
    till = await office.till()
    office.api.started = NOW
    before = office.dump()
    came = await till.send(till.batch(stock()), now=NOW - MINUTE)
    await refused(office, came, "clock", before)
    await flows(till)


async def test_agent_corrects_its_clock(office: Office) -> None:
    """A till whose clock is a year off is refused once, learns the time from the signed answer, and is in."""
    till = await office.till()
    clock = Clock(lambda: NOW - dt.timedelta(days=365))
    transport, uplink = Transport(till.identity, clock, office.session), Uplink(heartbeat_s=15)
    batch = till.batch(stock())
    first = await transport.send_batch(batch, till.position)
    assert isinstance(first, ErrorAnswer)
    assert first.code == "clock"
    uplink.answered(0.0, first, position=till.position, in_flight=batch, rng=Random(1))
    assert uplink.quiet_until == 0.0, "it tries again at once"
    second = await transport.send_batch(batch, till.position)
    assert isinstance(second, Ack)
    uplink.answered(0.0, second, position=till.position, in_flight=batch, rng=Random(1))
    assert uplink.state is State.ONLINE
    assert on_hand(office) == {"1028": "3"}


# -- bodies ------------------------------------------------------------------------------------------------------


async def test_too_large_body(office: Office) -> None:
    """Larger than any request of ours: refused before it is read."""
    till = await office.till()
    before, body = office.dump(), secrets.token_bytes(BODY_BYTES_MAX + 1)
    came = await office.send(till.request("/v1/batches", body), body)
    await refused(office, came, "too_large", before)
    await flows(till)


async def test_gzip_bomb(office: Office) -> None:
    """Small on the wire, huge when unpacked: never unpacked further than the bound."""
    till = await office.till()
    before, body = office.dump(), gzip.compress(b" " * (BATCH_UNPACKED_BYTES_MAX + 1), compresslevel=1)
    assert len(body) < BODY_BYTES_MAX
    came = await office.send(till.request("/v1/batches", body), body)
    await refused(office, came, "too_large", before)
    await flows(till)


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", gzip.compress(b"{", mtime=0), gzip.compress(b'{"v":1}', mtime=0), b"{}"])
async def test_malformed_batch(office: Office, body: bytes) -> None:
    """Authentic bytes that are no batch."""
    till = await office.till()
    before = office.dump()
    await refused(office, await office.send(till.request("/v1/batches", body), body), "malformed", before)
    await flows(till)


async def test_other_version(office: Office) -> None:
    """A content type, or a batch, that speaks a version of the future."""
    till = await office.till()
    before, batch = office.dump(), till.batch(stock())
    came = await till.send(batch, content_type="application/vnd.tillbridge.v2+gzip")
    await refused(office, came, "version", before)
    body = gzip.compress(gzip.decompress(batch.body).replace(b'{"v":1', b'{"v":2', 1))
    await refused(office, await office.send(till.request("/v1/batches", body), body), "version", before)
    await flows(till)


async def test_wrong_location(office: Office) -> None:
    """An agent speaks for its own location only."""
    till, other = await office.till(), await office.till("sorrel")
    before = office.dump()
    came = await till.send(till.batch(stock(), location=other.location))
    await refused(office, came, "wrong_location", before)
    await flows(till)
    await flows(other)


async def test_other_agents_batch(office: Office) -> None:
    """A batch that another agent made, signed by us."""
    till, other = await office.till(), await office.till()
    before, batch = office.dump(), other.batch(stock())
    came = await office.send(till.request("/v1/batches", batch.body), batch.body)
    await refused(office, came, "wrong_location", before)


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


# -- answers -----------------------------------------------------------------------------------------------------


async def test_mail_only_to_its_agent(office: Office) -> None:
    """A poll is answered at once with what waits for this agent, or empty after the wait it asked for."""
    till = await office.till()
    body = b'{"wait_s":0.05}'
    came = await office.send(till.request("/v1/mailbox", body), body)
    assert came.signed
    assert msgspec.to_builtins(came.answer) == {"answer": "mail", "messages": []}


async def test_poll_ends_with_the_server(tmp_path: Path) -> None:
    """A server that stops answers its long polls and does not wait for them."""
    async with asyncio.timeout(15):
        async with open_office(tmp_path) as office:
            till, body = await office.till(), b'{"wait_s":25.0}'
            poll = asyncio.create_task(office.send(till.request("/v1/mailbox", body), body))
            while till.agent not in office.api.mail:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            await office.runner.cleanup()
            assert (await poll).signed


async def test_answer_is_bound_to_its_request(office: Office) -> None:
    """The answer to one request is no answer to another, so an old one cannot be played back."""
    till = await office.till()
    first, second = till.batch(stock("1", "1")), till.batch(stock("2", "2"))
    one, two = till.request("/v1/batches", first.body), till.request("/v1/batches", second.body)
    async with office.session.post(one.url, data=first.body, headers=one.headers) as answer:
        content, status = await answer.read(), answer.status
        headers = {name.lower(): value for name, value in answer.headers.items()}
    of_one, of_two = signing.Response(status, one, headers), signing.Response(status, two, headers)
    signing.verify_response(of_one, content, key_of=lambda key_id: office.server_key)
    with pytest.raises(signing.ProtocolError, match="signature"):
        signing.verify_response(of_two, content, key_of=lambda key_id: office.server_key)


async def test_many_at_once(office: Office) -> None:
    """Good requests of several tills between bad ones: each gets its own answer."""
    tills = [await office.till(f"store-{number}") for number in range(4)]
    forged = Ed25519PrivateKey.generate()
    good = [till.send(till.batch(stock(till.location, "5"))) for till in tills]
    bad = [till.send(till.batch(stock(till.location, "6")), key=forged) for till in tills]
    came = await asyncio.gather(*good, *bad)
    assert [one.code for one in came[4:]] == ["signature_invalid"] * 4
    assert on_hand(office) == {till.location: "5" for till in tills}


async def test_unknown_address(office: Office) -> None:
    """Nothing of ours: no answer an agent would act on."""
    async with aiohttp.ClientSession() as session, session.get(office.url + "/v1/everything") as answer:
        assert answer.status == 404
        assert "signature" not in answer.headers


def _heartbeat() -> bytes:
    return msgspec.json.encode({
        "version": "1", "at": NOW, "outbox_changes": 0, "outbox_events": 0, "oldest_unacked_at": None, "feeds": [],
        "holds": [], "quarantine": [], "disk_free_bytes": 1, "counters": {},
    })
