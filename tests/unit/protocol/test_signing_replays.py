"""Replays and answers: nothing passes twice, and an answer is good for its own request only."""

import datetime as dt

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.signed import BODY, KEY_ID, NOW, OTHER, SERVER, signed_request, verify

from tillbridge_protocol import signing
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.limits import CLOCK_WINDOW_S, SIGNATURE_LIFE_S
from tillbridge_protocol.version import CONTENT_TYPE_JSON

# -- nonces ------------------------------------------------------------------------------------------------------

def test_a_request_seen_before_is_replayed() -> None:
    """The same nonce of the same key; another key may draw the same one."""
    nonces = signing.NonceMemory()
    signed = verify(signed_request())
    nonces.remember(signed, NOW)
    with pytest.raises(ProtocolError) as caught:
        nonces.remember(verify(signed_request()), NOW)
    assert caught.value.code == "replayed"
    nonces.remember(signing.Signed("a/other/1", signed.created, signed.nonce), NOW)
    nonces.remember(verify(signed_request(nonce="another")), NOW)


def test_an_invalid_signature_burns_no_nonce() -> None:
    """Somebody who replays a nonce with a broken message cannot lock the real one out."""
    nonces = signing.NonceMemory()
    forged = signed_request(key=OTHER)
    for message, body in ((forged, BODY), (signed_request(), b"changed")):
        with pytest.raises(ProtocolError):
            nonces.remember(verify(message, body), NOW)
    nonces.remember(verify(signed_request()), NOW)


@given(st.integers(-CLOCK_WINDOW_S, CLOCK_WINDOW_S), st.lists(st.integers(0, 400), max_size=12))
def test_a_nonce_is_remembered_as_long_as_its_request_verifies(skew: int, waits: list[int]) -> None:
    """However the clocks differ and whatever else arrives: no request passes twice."""
    nonces, now = signing.NonceMemory(), NOW
    message = signed_request(now=NOW + dt.timedelta(seconds=skew))
    nonces.remember(verify(message, now=now), now)
    for count, wait in enumerate(waits):
        now += dt.timedelta(seconds=wait)
        nonces.remember(signing.Signed(KEY_ID, now, f"other {count}"), now)
        with pytest.raises(ProtocolError) as caught:
            nonces.remember(verify(message, now=now), now)
        assert caught.value.code in ("clock", "replayed")


def test_old_nonces_are_forgotten() -> None:
    """The memory holds a window, not a history."""
    nonces = signing.NonceMemory()
    for minute in range(600):
        now = NOW + dt.timedelta(minutes=minute)
        nonces.remember(signing.Signed(KEY_ID, now, str(minute)), now)
    assert len(nonces._seen) <= 2 * (CLOCK_WINDOW_S + SIGNATURE_LIFE_S) / 60 + CLOCK_WINDOW_S / 60 + 2


# -- answers -----------------------------------------------------------------------------------------------------

ANSWER = b'{"answer":"mail","messages":[]}'


def answered(request: signing.Request, *, key: Ed25519PrivateKey = SERVER) -> signing.Response:
    """An answer as the server sends it."""
    response = signing.Response(200, request, {"Content-Type": CONTENT_TYPE_JSON})
    signing.sign_response(response, ANSWER, key=key, key_id="s/1", now=NOW)
    return response


def answer_refused(response: signing.Response, body: bytes = ANSWER) -> str:
    """The code under which an agent does not act on an answer."""
    with pytest.raises(ProtocolError) as caught:
        signing.verify_response(response, body, key_of=lambda key_id: SERVER.public_key())
    return caught.value.code


def test_a_signed_answer_tells_the_servers_time() -> None:
    """`created` is what the agent corrects its clock with; answers have no nonce."""
    signed = signing.verify_response(answered(signed_request()), ANSWER, key_of=lambda key_id: SERVER.public_key())
    assert signed == signing.Signed("s/1", NOW, "")


def test_an_answer_to_another_request_is_refused() -> None:
    """Even to the same bytes signed a second later: the answer names the request's own signature."""
    response = answered(signed_request())
    response.request = signed_request(nonce="another")
    assert answer_refused(response) == "signature_invalid"


def test_a_changed_answer_is_refused() -> None:
    """Status, headers, body, key: each breaks it."""
    response = answered(signed_request())
    assert answer_refused(response, ANSWER + b" ") == "digest_mismatch"
    response.status_code = 409
    assert answer_refused(response) == "signature_invalid"
    for header in ("Content-Type", "Content-Digest", "Signature"):
        response = answered(signed_request())
        del response.headers[header]
        assert answer_refused(response) == "signature_invalid"
    assert answer_refused(answered(signed_request(), key=OTHER)) == "signature_invalid"


def test_an_unsigned_answer_is_no_answer() -> None:
    """A load balancer's error page or a hotel's login page: the agent treats it as no network."""
    page = signing.Response(200, signed_request(), {"Content-Type": "text/html"})
    assert answer_refused(page, b"<html>") == "signature_missing"


def test_a_request_is_not_an_answer() -> None:
    """An agent's own signature, sent back to it, is not the server's word."""
    request = signed_request()
    echo = signing.Response(200, request, dict(request.headers))
    assert answer_refused(echo, BODY) == "signature_invalid"


def test_a_retry_signs_the_same_body_afresh() -> None:
    """Same bytes, same digest, other nonce and signature: the server sees a new request for a known batch."""
    first, again = signed_request(nonce="one"), signed_request(nonce="two", now=NOW + dt.timedelta(seconds=9))
    assert first.headers["Content-Digest"] == again.headers["Content-Digest"]
    assert first.headers["Signature"] != again.headers["Signature"]
    nonces = signing.NonceMemory()
    for message in (first, again):
        nonces.remember(verify(message), NOW)
