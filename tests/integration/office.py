"""A head office in this process for tests of the API: real HTTP on loopback, a database in memory, a clock to turn."""

import contextlib
import datetime as dt
import io
import itertools
import json
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import sqlalchemy as sa
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tillbridge_agent.identity import Identity
from tillbridge_protocol import signing
from tillbridge_protocol.changes import NO_HEAD, Change, FeedInfo, FrozenBatch, Source, encode_change, freeze
from tillbridge_protocol.enrollment import EnrollAnswer, EnrollmentCode, EnrollRequest, HostFacts, KeyStatement
from tillbridge_protocol.errors import CODES
from tillbridge_protocol.limits import BODY_BYTES_MAX
from tillbridge_protocol.mailbox import Mail
from tillbridge_protocol.positions import BOOT_HEADER, POSITION_HEADER, Ack, Boot, ErrorAnswer, Position, Resync
from tillbridge_protocol.records import Record, SaleLine, StockLevel, key_of, kind_of
from tillbridge_protocol.version import CONTENT_TYPE_BATCH, CONTENT_TYPE_JSON
from tillbridge_server.agents import enrollment
from tillbridge_server.agents.api import AgentApi
from tillbridge_server.agents.keys import load_keys, make_keys
from tillbridge_server.config import ServerConfig
from tillbridge_server.store.database import Store, make_engine
from tillbridge_server.store.migrations import migrate
from tillbridge_server.store.tables import fact, metadata

LOCATION = "mallow"
NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
#: What a call may always leave behind: when an agent was last heard.
_FREE = {"last_seen_at"}

Answered = Ack | Resync | ErrorAnswer | Mail | EnrollAnswer


@dataclass(frozen=True)
class Came:
    """An answer: its status, what it says, and whether our server signed it for this very request."""

    status: int
    answer: Any
    signed: bool

    @property
    def code(self) -> str:
        """The error code; empty for anything else."""
        return self.answer.code if isinstance(self.answer, ErrorAnswer) else ""


@dataclass
class Office:
    """The server of the tests; `now` is its clock."""

    api: AgentApi
    store: Store
    port: int
    session: aiohttp.ClientSession
    clock: "TurnedClock"
    runner: web.AppRunner

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def server_key(self) -> Ed25519PublicKey:
        """The key its answers are signed with."""
        return self.api.keys.key.public_key()

    def invite(self, location: str = LOCATION) -> EnrollmentCode:
        """A fresh code for a location, which is made if it is new."""
        with self.store.engine.begin() as conn:
            enrollment.ensure_location(
                conn, location_id=location, name="", phase="everything", time_zone="UTC", by="test", now=self.clock.now
            )
            return enrollment.make_invite(
                conn, location_id=location, random_bytes=secrets.token_bytes(16), root=self.api.keys.root, by="test",
                now=self.clock.now,
            )

    async def till(self, location: str = LOCATION) -> "Till":
        """An enrolled till."""
        till = Till(self, Ed25519PrivateKey.generate())
        came = await till.enroll(self.invite(location))
        assert isinstance(came.answer, EnrollAnswer), came
        till.agent, till.key_id, till.location = came.answer.agent, came.answer.key_id, came.answer.location
        return till

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, without what any call may touch."""
        with self.store.engine.begin() as conn:
            return {
                table.name: sorted(
                    (tuple(str(value) for name, value in row._mapping.items() if name not in _FREE)
                     for row in conn.execute(sa.select(table))),
                )
                for table in metadata.sorted_tables
            }

    def rows(self, table: sa.Table) -> Sequence[Any]:
        """Every row of one table."""
        with self.store.engine.begin() as conn:
            return conn.execute(sa.select(table)).all()

    async def send(self, request: signing.Request, body: bytes) -> Came:
        """Send exactly this, and judge the answer as an agent does."""
        async with self.session.request(
            request.method, request.url, data=io.BytesIO(body), headers=request.headers, allow_redirects=False
        ) as answer:
            content, status = await answer.read(), answer.status
            headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            signing.verify_response(
                signing.Response(status, request, headers), content, key_of=lambda key_id: self.server_key
            )
            signed = True
        except signing.ProtocolError:
            signed = False
        return Came(status, msgspec.json.decode(content, type=Answered), signed)


class TurnedClock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        """It is NOW."""
        self.now = NOW

    def __call__(self) -> dt.datetime:
        """What time it is."""
        return self.now


@dataclass
class Till:
    """An agent made by hand: signs what it is told, and keeps its position like a real one."""

    office: Office
    key: Ed25519PrivateKey
    agent: str = ""
    key_id: str = ""
    location: str = LOCATION
    boot: str = "boot-1"
    position: Position = field(default_factory=lambda: Position("epoch-1", 0, NO_HEAD))
    _requests: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def identity(self) -> Identity:
        """The same till as the real agent keeps it on disk."""
        statement = msgspec.json.decode(self.office.api.keys.hello.statement, type=KeyStatement)
        return Identity(
            agent=self.agent, key_id=self.key_id, location=self.location, server=self.office.url,
            private_key=self.key.private_bytes_raw().hex(), root=statement.root,
            server_keys={statement.key_id: statement.key}, tls_ca="",
        )

    def batch(self, *records: Record, raw: Sequence[bytes] = (), location: str | None = None) -> FrozenBatch:
        """The next batch: these records put by the feed `stock`, then changes given as bytes."""
        changes = [
            encode_change(Change("stock", kind_of(one), key_of(one), "put", one, Source(file="STOCK.CSV", line=2)))
            for one in records
        ]
        return freeze(
            agent=self.agent, location=location or self.location, epoch=self.position.epoch, seq=self.position.seq + 1,
            prev=self.position.head, feeds={"stock": FeedInfo(numbering="pos")}, full=None, changes=[*changes, *raw],
        )

    def request(
        self, path: str, body: bytes, *, now: dt.datetime | None = None, nonce: str | None = None,
        key: Ed25519PrivateKey | None = None, key_id: str | None = None, boot: str | None = None,
        content_type: str | None = None, url: str | None = None,
    ) -> signing.Request:
        """A signed request as the agent makes it, but for what is given otherwise."""
        spoken = content_type or (CONTENT_TYPE_BATCH if path == "/v1/batches" else CONTENT_TYPE_JSON)
        request = signing.Request("POST", (url or self.office.url) + path, {
            "content-type": spoken, POSITION_HEADER: self.position.header(),
            BOOT_HEADER: Boot(boot or self.boot, next(self._requests)).header(),
        })
        signing.sign_request(
            request, body, key=key or self.key, key_id=key_id or self.key_id, now=now or self.office.clock.now,
            nonce=nonce or secrets.token_hex(16),
        )
        return request

    async def send(self, batch: FrozenBatch, **otherwise: Any) -> Came:
        """Send a batch; an ack of it moves the position."""
        came = await self.office.send(self.request("/v1/batches", batch.body, **otherwise), batch.body)
        if isinstance(came.answer, Ack):
            assert came.signed
            assert (came.answer.epoch, came.answer.seq, came.answer.head) == (batch.epoch, batch.seq, batch.head)
            self.position = Position(batch.epoch, batch.seq, batch.head)
        return came

    async def enroll(
        self, code: EnrollmentCode, *, secret: str | None = None, now: dt.datetime | None = None,
        signed_by: Ed25519PrivateKey | None = None,
    ) -> Came:
        """Ask for an identity with this code."""
        public = self.key.public_key().public_bytes_raw().hex()
        body = msgspec.json.encode(EnrollRequest(secret or code.secret, public, HostFacts(name="till-1")))
        request = signing.Request("POST", self.office.url + "/v1/enroll", {"content-type": CONTENT_TYPE_JSON})
        signing.sign_request(
            request, body, key=signed_by or self.key, key_id="new", now=now or self.office.clock.now,
            nonce=secrets.token_hex(16), tag=signing.ENROLL_TAG,
        )
        return await self.office.send(request, body)


@contextlib.asynccontextmanager
async def open_office(folder: Path) -> AsyncIterator[Office]:
    """A running office whose keys are in `folder`; it started an hour ago by its own clock."""
    clock = TurnedClock()
    make_keys(folder / "keys", NOW - dt.timedelta(days=1))
    engine = make_engine("sqlite://")
    migrate(engine)
    store, ids = Store(engine), itertools.count(1)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = ServerConfig(name="Fennel & Forge", listen=f"127.0.0.1:{port}", public_url=f"http://127.0.0.1:{port}")
    api = AgentApi(
        store=store, keys=load_keys(folder / "keys"), config=config, clock=clock,
        new_agent_id=lambda: f"agent-{next(ids)}", applied=lambda: None, started=NOW - dt.timedelta(hours=1),
    )
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.add_routes(api.routes())
    app.on_shutdown.append(api.end_polls)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Office(api, store, port, session, clock, runner)
    finally:
        await runner.cleanup()
        store.close()


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
