"""Signed messages for the tests of the signing profile: as an agent or server makes them, and of other forms."""

import datetime as dt
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from tests.unit.protocol.make_vectors import private

from tillbridge_protocol import signing
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.positions import Boot, Position
from tillbridge_protocol.version import CONTENT_TYPE_BATCH

NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
STARTED = NOW - dt.timedelta(hours=3)
BODY = b"frozen bytes of a batch"
KEY_ID = "a/q7m2rt0zv4/1"
AGENT, SERVER, OTHER = private("agent"), private("server"), private("someone else")


def unsigned(path: str = "/v1/batches?part=1") -> signing.Request:
    """A request with everything the profile covers, not yet signed."""
    return signing.Request("POST", f"https://till.example{path}", {
        "Content-Type": CONTENT_TYPE_BATCH,
        "Tillbridge-Position": Position("epoch-1", 4, "ab" * 32).header(),
        "Tillbridge-Boot": Boot("boot-1", 7).header(),
    })


def signed_request(
    body: bytes = BODY, nonce: str = "n0nce-of-128-random-b", now: dt.datetime = NOW, key: Ed25519PrivateKey = AGENT,
    tag: str = signing.REQUEST_TAG,
) -> signing.Request:
    """A request as an agent sends it."""
    message = unsigned()
    signing.sign_request(message, body, key=key, key_id=KEY_ID, now=now, nonce=nonce, tag=tag)
    return message


def signed_by_hand(
    covers: tuple[str, ...] = signing.REQUEST_COVERS, *, created: dt.datetime = NOW, expires: dt.datetime | None = None,
    nonce: str | None = "n", tag: str | None = signing.REQUEST_TAG, label: str = signing.LABEL,
    include_alg: bool = True, add_to: signing.Request | None = None,
) -> signing.Request:
    """A request with a good signature of the agent, but of another form than the profile's."""
    message = add_to or unsigned()
    signing._signer(AGENT).sign(
        message, key_id=KEY_ID, created=created, expires=expires, nonce=nonce, label=label, tag=tag, body=BODY,
        include_alg=include_alg, covered_component_ids=covers, append_if_signature_exists=add_to is not None,
        use_existing_digest=add_to is not None,
    )
    return message


def knows_agent(key_id: str) -> Ed25519PublicKey:
    """A server that knows one agent."""
    if key_id != KEY_ID:
        raise ProtocolError("key_unknown", "never seen")
    return AGENT.public_key()


def verify(
    message: signing.Request, body: bytes = BODY, *, now: dt.datetime = NOW, started: dt.datetime = STARTED,
    key_of: Callable[[str], Ed25519PublicKey] = knows_agent, tag: str = signing.REQUEST_TAG,
) -> signing.Signed:
    """As the server does."""
    return signing.verify_request(message, body, key_of=key_of, now=now, started=started, tag=tag)


def refused(message: signing.Request, body: bytes = BODY, **how: object) -> str:
    """The code of the refusal."""
    with pytest.raises(ProtocolError) as caught:
        verify(message, body, **how)  # type: ignore[arg-type]
    return caught.value.code
