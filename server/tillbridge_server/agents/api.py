"""The endpoints of PROTOCOL.md, nothing more: verify bytes, then decode, then one store call, then sign.

Handlers read covered headers only. Every answer is signed and bound to its request, refusals too; only a
request that is not signed at all gets a plain refusal, on which no agent acts.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tillbridge_protocol import signing
from tillbridge_protocol.enrollment import EnrollRequest
from tillbridge_protocol.errors import CODES, UNREADABLE, ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat
from tillbridge_protocol.limits import CODE_LIFE_S, CODE_TRIES_MAX, POLL_WAIT_S_MAX
from tillbridge_protocol.mailbox import Mail, Poll
from tillbridge_protocol.positions import (
    BOOT_HEADER,
    POSITION_HEADER,
    ErrorAnswer,
    Resync,
    read_boot,
    read_position,
)
from tillbridge_protocol.version import CONTENT_TYPE_BATCH, CONTENT_TYPE_JSON
from tillbridge_server import crash
from tillbridge_server.agents import enrollment, fleet, inbox
from tillbridge_server.agents.inbox import Lane
from tillbridge_server.agents.keys import ServerKeys
from tillbridge_server.config import ServerConfig
from tillbridge_server.core.reservations import moves_itself
from tillbridge_server.store.database import Store
from tillbridge_server.store.order_proof import Moves

log = structlog.get_logger()
RETRY_AFTER_S = 5.0
#: Where several processes share the database, a waiting poll looks for mail of the others this often.
LOOK_AGAIN_S = 2.0


@dataclass
class AgentApi:
    """What the endpoints need; `applied` is called after a batch with changes was committed."""

    store: Store
    keys: ServerKeys
    config: ServerConfig
    clock: Callable[[], dt.datetime]
    new_agent_id: Callable[[], str]
    applied: Callable[[], None]
    started: dt.datetime
    nonces: signing.NonceMemory = field(default_factory=signing.NonceMemory)
    mail: dict[str, asyncio.Event] = field(default_factory=dict)
    _known_keys: dict[str, tuple[str, Ed25519PublicKey]] = field(default_factory=dict)
    _wrong_codes: dict[str, list[dt.datetime]] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        """The endpoints, for the application to add."""
        return [
            web.get("/v1/hello", self.hello),
            web.post("/v1/enroll", self._answering(self._enroll)),
            web.post("/v1/batches", self._answering(self._batches)),
            web.post("/v1/heartbeat", self._answering(self._heartbeat)),
            web.post("/v1/mailbox", self._answering(self._mailbox)),
        ]

    def _moves(self, location: str, feed: str) -> bool:
        return moves_itself(location, feed, self.config.storefronts)

    def notify(self, agent_id: str) -> None:
        """New mail for this agent: end its long poll."""
        self.mail.setdefault(agent_id, asyncio.Event()).set()

    async def end_polls(self, app: web.Application) -> None:
        """The server stops: answer every long poll now, so that nobody keeps it waiting."""
        for event in self.mail.values():
            event.set()

    async def hello(self, request: web.Request) -> web.Response:
        """The key statement, signed by the root key; an agent checks it against its code before it trusts us."""
        return web.Response(body=msgspec.json.encode(self.keys.hello), content_type=CONTENT_TYPE_JSON)

    # -- one handler per endpoint; each returns (status, answer) ---------------------------------------------

    async def _batches(self, request: web.Request, body: bytes) -> tuple[int, object]:
        agent_id, lane = await self._verified(request, body, CONTENT_TYPE_BATCH)
        crash.reach("batch.received")
        answer = await self.store.run(
            _apply_batch, agent_id, body, lane, backs_up=self.config.backup is not None, now=self.clock(),
            moves=self._moves,
        )
        crash.reach("batch.committed")
        if isinstance(answer, Resync):
            log.warning("resync", agent=agent_id, reason=answer.reason)
            return CODES["resync"].status, answer
        if not answer.repeated:
            self.applied()
        return 200, answer

    async def _heartbeat(self, request: web.Request, body: bytes) -> tuple[int, object]:
        agent_id, lane = await self._verified(request, body, CONTENT_TYPE_JSON)
        heartbeat = _decode(body, Heartbeat)
        answer = await self.store.run(
            inbox.receive_heartbeat, agent_id, heartbeat, lane, now=self.clock(), moves=self._moves
        )
        crash.reach("heartbeat.committed")
        self.applied()
        return (CODES["resync"].status if isinstance(answer, Resync) else 200), answer

    async def _mailbox(self, request: web.Request, body: bytes) -> tuple[int, object]:
        agent_id, lane = await self._verified(request, body, CONTENT_TYPE_JSON)
        poll = _decode(body, Poll)
        event = self.mail.setdefault(agent_id, asyncio.Event())
        event.clear()
        answer = await self.store.run(inbox.receive_poll, agent_id, poll, lane, now=self.clock())
        if isinstance(answer, Mail) and not answer.messages and not poll.standings:
            answer = await self._wait_for_mail(answer, agent_id, lane, min(poll.wait_s, POLL_WAIT_S_MAX))
        if isinstance(answer, Resync):
            return CODES["resync"].status, answer
        crash.reach("mail.collected")
        if answer.standings is not None:
            crash.reach("standings.committed")
        return 200, answer

    async def _wait_for_mail(self, answer: Mail, agent_id: str, lane: Lane, wait_s: float) -> Mail | Resync:
        """What a poll is told that waits; mail that another process left is looked for now and then."""
        event, clock = self.mail[agent_id], asyncio.get_running_loop().time
        found: Mail | Resync = answer
        ends = clock() + wait_s
        while not event.is_set() and (left := ends - clock()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(left, LOOK_AGAIN_S) if self.store.shared else left)
            if event.is_set() or self.store.shared:
                found = await self.store.run(inbox.receive_poll, agent_id, Poll(), lane, now=self.clock())
                if isinstance(found, Resync) or found.messages:
                    break
        return found

    async def _enroll(self, request: web.Request, body: bytes) -> tuple[int, object]:
        wanted = _decode(body, EnrollRequest)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(wanted.public_key))
        now, address = self.clock(), request.remote or ""
        self._check_tries(address, now)
        signed = signing.verify_request(
            self._signed_request(request), body, key_of=lambda key_id: key, now=now, started=self.started,
            tag=signing.ENROLL_TAG,
        )
        self.nonces.remember(signed, now)
        crash.reach("enroll.received")
        try:
            answer = await self.store.run(
                enrollment.enroll, wanted, agent_id=self.new_agent_id(), server_name=self.config.name, now=now
            )
        except ProtocolError as error:
            if error.code == "code_wrong":
                self._wrong_codes.setdefault(address, []).append(now)
            raise
        crash.reach("enroll.committed")
        log.info("enrolled", agent=answer.agent, location=answer.location)
        return 200, answer

    # -- verification ------------------------------------------------------------------------------------------

    async def _verified(self, request: web.Request, body: bytes, content_type: str) -> tuple[str, Lane]:
        """Who sent this, and its lane headers; everything used afterwards was covered by the signature."""
        message = self._signed_request(request)
        key_id = signing.claimed_key_id(message.headers, signing.REQUEST_TAG)
        if key_id not in self._known_keys:
            found = await self.store.run(fleet.by_key, key_id)
            self._known_keys[key_id] = (found.id, Ed25519PublicKey.from_public_bytes(found.public_key))
        agent_id, key = self._known_keys[key_id]
        now = self.clock()
        signed = signing.verify_request(message, body, key_of=lambda one: key, now=now, started=self.started)
        self.nonces.remember(signed, now)
        # From the verified message, not the request: of a header sent twice the two may hold different ones.
        spoken = message.headers["content-type"]
        if spoken != content_type:
            raise ProtocolError("version", f"Here {content_type} is spoken, not {spoken[:80]}.")
        position = read_position(message.headers[POSITION_HEADER])
        boot = read_boot(message.headers[BOOT_HEADER])
        return agent_id, Lane(position=position, boot=boot, created=signed.created)

    def _signed_request(self, request: web.Request) -> signing.Request:
        """The request as it was signed. The authority must be one of our configured names, never a proxy's word."""
        host = request.headers.get("host", "").lower()
        if host not in self.names():
            raise ProtocolError("authority_wrong", f"This server is not known as {host[:120]!r}.")
        url = f"http://{host}{request.raw_path}"
        return signing.Request(request.method, url, {name.lower(): value for name, value in request.headers.items()})

    def names(self) -> set[str]:
        """Every host[:port] this server answers to."""
        public = urlsplit(self.config.public_url.lower())
        names = {public.netloc, self.config.listen.lower()}
        # HTTP clients leave the scheme's own port out of the Host header.
        names.add(public.netloc.removesuffix(":443" if public.scheme == "https" else ":80"))
        names |= {name.lower() for name in self.config.public_names}
        if self.config.host in ("127.0.0.1", "::1", "localhost"):
            names |= {f"{name}:{self.config.port}" for name in ("127.0.0.1", "[::1]", "localhost")}
        return names

    def _check_tries(self, address: str, now: dt.datetime) -> None:
        """After CODE_TRIES_MAX wrong codes an address waits until the oldest is CODE_LIFE_S old."""
        since = now - dt.timedelta(seconds=CODE_LIFE_S)
        tries = [at for at in self._wrong_codes.get(address, []) if at > since]
        # Addresses that have none left are forgotten, so that strangers cannot fill the memory with their visits.
        self._wrong_codes = {one: when for one, when in self._wrong_codes.items() if when[-1] > since}
        if len(tries) >= CODE_TRIES_MAX:
            raise ProtocolError("busy", "Too many wrong codes came from this address. Wait an hour or ask head office.")

    # -- answering ---------------------------------------------------------------------------------------------

    def _answering(
        self, handle: Callable[[web.Request, bytes], Awaitable[tuple[int, object]]],
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Read the body within bounds, handle it, sign whatever comes out."""

        async def answered(request: web.Request) -> web.Response:
            try:
                body = await request.read()
                status, answer = await handle(request, body)
            except web.HTTPRequestEntityTooLarge:
                status, answer = _refusal(ProtocolError("too_large", "The request is larger than a request may be."))
            except ProtocolError as error:
                log.warning("refused", path=request.path, code=error.code, message=error.message)
                status, answer = _refusal(error)
            except Exception:
                log.exception("failed", path=request.path)
                status, answer = _refusal(ProtocolError("unavailable", "The server could not do this now."))
            return self._signed(request, status, msgspec.json.encode(answer))

        return answered

    def _signed(self, request: web.Request, status: int, body: bytes) -> web.Response:
        headers = {"content-type": CONTENT_TYPE_JSON}
        asked = {name.lower(): value for name, value in request.headers.items()}
        message = signing.Response(status, signing.Request(request.method, f"http://{request.host}/", asked), headers)
        try:
            signing.sign_response(message, body, key=self.keys.key, key_id=self.keys.key_id, now=self.clock())
        except Exception:  # the request has no signature to bind to: nobody acts on this answer
            headers = {"content-type": CONTENT_TYPE_JSON}
            message = signing.Response(status, message.request, headers)
        return web.Response(status=status, body=body, headers=message.headers)


def _apply_batch(
    conn: Any, agent_id: str, body: bytes, lane: Lane, *, backs_up: bool, now: dt.datetime, moves: Moves,
) -> Any:
    answer = inbox.receive_batch(conn, agent_id, body, lane, backs_up=backs_up, now=now, moves=moves)
    crash.reach("batch.applying")
    return answer


def _decode(body: bytes, wanted: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=wanted)
    except UNREADABLE as error:
        raise ProtocolError("malformed", f"The body does not decode: {error}.") from error


def _refusal(error: ProtocolError) -> tuple[int, ErrorAnswer]:
    retry = RETRY_AFTER_S if error.code in ("busy", "unavailable") else None
    return error.status, ErrorAnswer(code=error.code, message=error.message, hint=error.hint, retry_after_s=retry)
