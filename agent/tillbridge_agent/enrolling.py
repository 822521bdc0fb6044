"""Turns a one-time code into an identity: checks the server against the code first, then proves its own key.

The secret half of the code is sent only over a line that the root key vouches for: the key statement of
`/v1/hello` must fit the fingerprint in the code, and from then on TLS is judged by the authority it names.
"""

import asyncio
import datetime as dt
import platform
import secrets
import ssl
from pathlib import Path

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tillbridge_agent import crash
from tillbridge_agent import identity as identities
from tillbridge_agent.errors import Refused, TryLater
from tillbridge_agent.identity import Identity
from tillbridge_agent.transport import Clock, exchange, tls_context
from tillbridge_protocol import signing
from tillbridge_protocol.enrollment import (
    EnrollAnswer,
    EnrollmentCode,
    EnrollRequest,
    Hello,
    HostFacts,
    KeyStatement,
    open_hello,
    read_code,
)
from tillbridge_protocol.errors import UNREADABLE, ProtocolError
from tillbridge_protocol.positions import ErrorAnswer
from tillbridge_protocol.version import CONTENT_TYPE_JSON

#: `created` has whole seconds, so a server that has just started believes requests from the next one on.
SERVER_START_S = 1.1


async def enroll(server: str, code_text: str, state: Path, *, version: str, clock: Clock) -> Identity:
    """Enroll this machine and keep its identity in `state`.

    Raises Refused (with the protocol's code), TryLater when the server is not reachable, ConfigError for an
    address that is not encrypted. May be repeated with the same code: the same key gets the same identity.
    """
    try:
        code = read_code(code_text)
    except ProtocolError as error:
        raise Refused(error.message, hint=error.hint, code=error.code) from error
    first_look = tls_context(server, "")
    async with aiohttp.ClientSession() as session:
        statement = await _statement(session, server, code, _unjudged(first_look))
        key = identities.pending_key(state, code_text)
        answer = await _ask(session, server, code, key, statement, version, clock)
    raw = key.private_bytes_raw()
    identity = Identity(
        agent=answer.agent, key_id=answer.key_id, location=answer.location, server=server.rstrip("/"),
        private_key=raw.hex(), root=statement.root, server_keys={statement.key_id: statement.key},
        tls_ca=statement.tls_ca,
    )
    identities.save(state, identity)
    return identity


async def _statement(
    session: aiohttp.ClientSession, server: str, code: EnrollmentCode, tls: ssl.SSLContext | bool,
) -> KeyStatement:
    """The server's key statement, checked against the code. Nothing secret has been sent so far."""
    url = server.rstrip("/") + "/v1/hello"
    came = await exchange(session, signing.Request("GET", url), b"", tls)
    try:
        return open_hello(msgspec.json.decode(came.content, type=Hello), fingerprint=code.fingerprint)
    except (*UNREADABLE, ProtocolError) as error:
        if isinstance(error, ProtocolError) and error.code == "code_wrong":
            raise Refused(error.message, code="code_wrong",
                          hint="Copy address and code again from one message of head office.") from error
        raise TryLater(f"{url} does not answer as a Tillbridge server.",
                       hint="Check the address. A login page of the network may also stand in between.") from error


async def _ask(
    session: aiohttp.ClientSession, server: str, code: EnrollmentCode, key: Ed25519PrivateKey,
    statement: KeyStatement, version: str, clock: Clock,
) -> EnrollAnswer:
    """Send the secret with proof of the new key; again when only the clock was wrong."""
    system = f"{platform.system()} {platform.release()}"[:100]
    host = HostFacts(name=platform.node()[:100], system=system, version=version)
    wanted = EnrollRequest(code.secret, key.public_key().public_bytes_raw().hex(), host)
    body = msgspec.json.encode(wanted)
    server_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(statement.key))
    tls = tls_context(server, statement.tls_ca)
    answer: EnrollAnswer | ErrorAnswer | None = None
    for tries in range(3):
        if tries == 2:
            # The clock is right by now: the server has just started, and refuses what its first second signed.
            await asyncio.sleep(SERVER_START_S)
        request = signing.Request("POST", server.rstrip("/") + "/v1/enroll", {"content-type": CONTENT_TYPE_JSON})
        signing.sign_request(
            request, body, key=key, key_id="new", now=clock.signing_time(), nonce=secrets.token_hex(16),
            tag=signing.ENROLL_TAG,
        )
        crash.reach("enroll.sending")
        came = await exchange(session, request, body, tls)
        crash.reach("enroll.answered")
        try:
            signed = signing.verify_response(came.response, came.content, key_of=lambda key_id: server_key)
            answer = msgspec.json.decode(came.content, type=EnrollAnswer | ErrorAnswer)
        except (ProtocolError, *UNREADABLE) as error:
            raise TryLater("The answer does not come from the server of the code.",
                           hint="Try again; if it stays, tell head office.") from error
        _check_statement(statement, signed.created)
        clock.learn(signed.created)
        if isinstance(answer, EnrollAnswer):
            return answer
        if answer.code != "clock":
            break
    assert isinstance(answer, ErrorAnswer)
    if answer.code in ("busy", "unavailable", "clock", "replayed"):
        raise TryLater(answer.message, hint=answer.hint, code=answer.code, retry_after_s=answer.retry_after_s)
    raise Refused(answer.message, hint=answer.hint, code=answer.code)


def _check_statement(statement: KeyStatement, server_time: dt.datetime) -> None:
    """The online key must be within its life at the server's own signed time."""
    if not statement.not_before.replace(microsecond=0) <= server_time <= statement.not_after:
        raise Refused("The server's signing key is past its life.", code="key_unknown",
                      hint="Head office must renew the online key (server/README.md, keys).")


def _unjudged(tls: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
    """TLS for the first look, whose content is judged by the root key's signature and not by the certificate."""
    if tls is True:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return tls
