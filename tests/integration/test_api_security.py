"""What the agents' API refuses: the documented code, signed, nothing else changed, and the rest flows."""

import asyncio
import datetime as dt
import gzip
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.office import NOW, Office, flows, on_hand, open_office, refused, sale, stock

from tillbridge_agent.core.uplink import State, Uplink
from tillbridge_agent.transport import Clock, Transport
from tillbridge_protocol import signing
from tillbridge_protocol.limits import (
    BATCH_UNPACKED_BYTES_MAX,
    BODY_BYTES_MAX,
    CLOCK_WINDOW_S,
)
from tillbridge_protocol.positions import Ack, ErrorAnswer
from tillbridge_server.agents import fleet

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A running office."""
    async with open_office(tmp_path) as opened:
        yield opened


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


_CUT, _SHORT = gzip.compress(b"{", mtime=0), gzip.compress(b'{"v":1}', mtime=0)


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", _CUT, _SHORT, b"{}"], ids=["none", "head", "cut", "short", "plain"])
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
