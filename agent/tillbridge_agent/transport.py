"""Signed HTTP to the server: signs every request, believes only answers signed by the pinned server and bound to it.

Plain errors of a proxy, captive portals and half answers are TryLater: nothing is known, everything is kept.
The server's time comes from signed answers only, and only signing uses it.
"""

import datetime as dt
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tillbridge_agent import crash
from tillbridge_agent.errors import ConfigError, TryLater
from tillbridge_agent.identity import Identity
from tillbridge_protocol import signing
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.errors import UNREADABLE, ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat, HeartbeatAnswer
from tillbridge_protocol.limits import POLL_WAIT_S_MAX
from tillbridge_protocol.mailbox import Mail, Poll
from tillbridge_protocol.positions import BOOT_HEADER, POSITION_HEADER, Ack, Boot, ErrorAnswer, Position, Resync
from tillbridge_protocol.version import CONTENT_TYPE_BATCH, CONTENT_TYPE_JSON

Answer = Ack | Resync | HeartbeatAnswer | ErrorAnswer
REQUEST_S_MAX = 60.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
#: X509_V_FLAG_NO_CHECK_TIME (OpenSSL x509_vfy.h): a till whose clock is years off must still get the signed time.
_NO_CHECK_TIME = 0x200000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Clock:
    """The machine's clock, corrected by what signed answers said; `offset_s` is server minus machine."""

    def __init__(
        self, now: Callable[[], dt.datetime], offset_s: float = 0.0, keep: Callable[[float], None] | None = None,
    ) -> None:
        """`keep` hears of a new offset, to remember it over a restart."""
        self._now = now
        self.offset_s = offset_s
        self._keep = keep

    def now(self) -> dt.datetime:
        """The machine's time, UTC."""
        return self._now()

    def signing_time(self) -> dt.datetime:
        """The server's time as far as we know it."""
        return self._now() + dt.timedelta(seconds=self.offset_s)

    def learn(self, server_time: dt.datetime) -> None:
        """A signed answer said what time it is there; whole seconds, so small differences are none."""
        offset = (server_time - self._now()).total_seconds()
        if abs(offset - self.offset_s) > 2.0:
            self.offset_s = offset if abs(offset) > 2.0 else 0.0
            if self._keep is not None:
                self._keep(self.offset_s)


class Transport:
    """One HTTP session to one server for one identity; `boot` counts every request of this process."""

    def __init__(self, identity: Identity, clock: Clock, session: aiohttp.ClientSession) -> None:
        self._identity, self._clock, self._session = identity, clock, session
        self._key = identity.key
        self._server_keys = {
            key_id: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            for key_id, key in identity.server_keys.items()
        }
        self._boot = secrets.token_hex(8)
        self._requests = 0
        self._ssl = tls_context(identity.server, identity.tls_ca)

    def renew_boot(self) -> None:
        """Count requests anew under a fresh boot id: a machine restored while running repeats its old numbers."""
        self._boot, self._requests = secrets.token_hex(8), 0

    async def send_batch(self, batch: FrozenBatch, position: Position) -> Answer:
        """Send the bytes of a batch. Raises TryLater when no verified answer came."""
        crash.reach("send.before")
        answer = await self._ask("/v1/batches", CONTENT_TYPE_BATCH, batch.body, position, Ack | Resync | ErrorAnswer)
        crash.reach("send.answered")
        return answer  # type: ignore[no-any-return]

    async def heartbeat(self, heartbeat: Heartbeat, position: Position) -> Answer:
        """Tell how we are. Raises TryLater when no verified answer came."""
        body = msgspec.json.encode(heartbeat)
        wanted = HeartbeatAnswer | Resync | ErrorAnswer
        answer = await self._ask("/v1/heartbeat", CONTENT_TYPE_JSON, body, position, wanted)
        crash.reach("beat.answered")
        return answer  # type: ignore[no-any-return]

    async def poll(self, poll: Poll, position: Position) -> Mail | Resync | ErrorAnswer:
        """Ask for mail and wait up to `poll.wait_s`. Raises TryLater when no verified answer came."""
        body = msgspec.json.encode(poll)
        wanted = Mail | Resync | ErrorAnswer
        return await self._ask("/v1/mailbox", CONTENT_TYPE_JSON, body, position, wanted)  # type: ignore[no-any-return]

    async def _ask(self, path: str, content_type: str, body: bytes, position: Position, wanted: Any) -> Any:
        self._requests += 1
        boot = Boot(self._boot, self._requests)
        url = self._identity.server.rstrip("/") + path
        request = signing.Request("POST", url, {
            "content-type": content_type, POSITION_HEADER: position.header(), BOOT_HEADER: boot.header(),
        })
        signing.sign_request(
            request, body, key=self._key, key_id=self._identity.key_id, now=self._clock.signing_time(),
            nonce=secrets.token_hex(16),
        )
        came = await exchange(self._session, request, body, self._ssl)
        try:
            signed = signing.verify_response(came.response, came.content, key_of=self._server_key)
        except ProtocolError as error:
            raise TryLater(
                f"The answer from {url} (status {came.response.status_code}) is not signed by our server: "
                f"{error.message}",
                hint="A proxy or login page may stand between this PC and head office. Nothing is lost, "
                     "and it is tried again.",
            ) from error
        self._clock.learn(signed.created)
        if came.certificate and not certificate_is_current(came.certificate, signed.created):
            raise TryLater(f"The TLS certificate of {url} has expired, or is not valid yet.",
                           hint="Head office must renew it (server/README.md, certificates).")
        try:
            return msgspec.json.decode(came.content, type=wanted)
        except UNREADABLE as error:
            raise TryLater(f"The server's answer cannot be read: {error}.", hint="Update the agent.") from error

    def _server_key(self, key_id: str) -> Ed25519PublicKey:
        if key_id not in self._server_keys:
            raise ProtocolError("key_unknown", f"The answer is signed with {key_id}, which enrollment did not name.")
        return self._server_keys[key_id]


@dataclass(frozen=True)
class Exchanged:
    """A complete HTTP answer, nothing of it believed yet; `certificate` is the peer's in DER, None without TLS."""

    response: signing.Response
    content: bytes
    certificate: bytes | None


async def exchange(
    session: aiohttp.ClientSession, request: signing.Request, body: bytes, tls: ssl.SSLContext | bool,
) -> Exchanged:
    """One HTTP exchange without redirects. Raises TryLater for everything that is not a complete answer."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX + POLL_WAIT_S_MAX, connect=15)
    try:
        async with session.request(
            request.method, request.url, data=body or None, headers=request.headers, ssl=tls, timeout=timeout,
            allow_redirects=False,
        ) as answer:
            certificate = _certificate(answer)
            content = await answer.content.read(ANSWER_BYTES_MAX + 1)
            while chunk := await answer.content.read(ANSWER_BYTES_MAX + 1 - len(content)):
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    break
            headers = {name.lower(): value for name, value in answer.headers.items()}
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
        raise TryLater(
            f"{request.url} cannot be reached: {_reason(error)}.",
            hint="Check this PC's network and the server address. Changes wait here and nothing is lost.",
        ) from error
    if len(content) > ANSWER_BYTES_MAX:
        raise TryLater(f"The answer from {request.url} is larger than any answer of ours.",
                       hint="Check the server address.")
    return Exchanged(signing.Response(status, request, headers), content, certificate)


def _reason(error: BaseException) -> str:
    """Why there was no answer, in the system's own words and without objects of ours."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not the one this agent was enrolled with"
    system = getattr(error, "os_error", error)
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(getattr(system, "strerror", None) or system or type(error).__name__)


def tls_context(server: str, ca: str) -> ssl.SSLContext | bool:
    """How to judge the server's certificate; plain HTTP is for loopback only. Raises ConfigError."""
    parts = urlsplit(server)
    if parts.scheme == "http":
        if parts.hostname not in _LOOPBACK:
            raise ConfigError("agent.toml", "server", f"{server} is not encrypted.",
                              "Use the https:// address of the server; http:// is for this machine only.")
        return True
    if parts.scheme != "https":
        raise ConfigError("agent.toml", "server", f"{server!r} is no https:// address.", "Copy it from head office.")
    if not ca:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca)
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


def _certificate(answer: aiohttp.ClientResponse) -> bytes | None:
    """The peer's certificate; None without TLS or when the connection is already given back."""
    transport = answer.connection.transport if answer.connection is not None else None
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return None if tls is None else tls.getpeercert(binary_form=True)


def certificate_is_current(certificate: bytes, now: dt.datetime) -> bool:
    """Judge the times of a DER certificate by the signed server time, once that is known."""
    parsed = x509.load_der_x509_certificate(certificate)
    return parsed.not_valid_before_utc <= now <= parsed.not_valid_after_utc
