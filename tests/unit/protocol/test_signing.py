"""The tamper matrix of signed requests: whatever is changed, the documented code comes out."""

import base64
import datetime as dt
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.signed import (
    AGENT,
    BODY,
    KEY_ID,
    NOW,
    OTHER,
    refused,
    signed_by_hand,
    signed_request,
    unsigned,
    verify,
)

from tillbridge_protocol import signing
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.limits import CLOCK_WINDOW_S, NONCE_CHARS_MAX, SIGNATURE_LIFE_S
from tillbridge_protocol.positions import Boot, Position
from tillbridge_protocol.version import CONTENT_TYPE_JSON


def test_a_signed_request_says_who_and_when() -> None:
    """Key id, time in whole seconds, nonce."""
    at = NOW + dt.timedelta(milliseconds=900)
    assert verify(signed_request(now=at), now=at) == signing.Signed(KEY_ID, NOW, "n0nce-of-128-random-b")


def test_exactly_the_profile_is_covered() -> None:
    """The covered components of both directions are those of PROTOCOL.md, in its order."""
    assert signing.REQUEST_COVERS == (
        "@method", "@authority", "@path", "@query", "content-type", "content-digest", "tillbridge-position",
        "tillbridge-boot",
    )
    assert signing.REQUEST_COVERS[:6] == signing.ENROLL_COVERS
    assert signing.RESPONSE_COVERS == ("@status", "content-type", "content-digest", '"signature";req;key="tb"')


# -- every covered part ------------------------------------------------------------------------------------------

def _set(name: str, value: str) -> Callable[[signing.Request], None]:
    return lambda message: message.headers.__setitem__(name, value)


def _url(value: str) -> Callable[[signing.Request], None]:
    return lambda message: setattr(message, "url", value)


CHANGED: dict[str, Callable[[signing.Request], None]] = {
    "method": lambda message: setattr(message, "method", "PUT"),
    "authority": _url("https://evil.example/v1/batches?part=1"),
    "port": _url("https://till.example:8443/v1/batches?part=1"),
    "path": _url("https://till.example/v1/heartbeat?part=1"),
    "query": _url("https://till.example/v1/batches?part=2"),
    "query gone": _url("https://till.example/v1/batches"),
    "url that is none": _url("https://till.example/v1/bat ches"),
    "content type": _set("Content-Type", CONTENT_TYPE_JSON),
    "digest": _set("Content-Digest", signing.digest_header(b"other")),
    "digest that is none": _set("Content-Digest", "sha-256=junk"),
    "position: epoch": _set("Tillbridge-Position", Position("epoch-2", 4, "ab" * 32).header()),
    "position: seq": _set("Tillbridge-Position", Position("epoch-1", 5, "ab" * 32).header()),
    "position: head": _set("Tillbridge-Position", Position("epoch-1", 4, "cd" * 32).header()),
    "boot: id": _set("Tillbridge-Boot", Boot("boot-2", 7).header()),
    "boot: counter": _set("Tillbridge-Boot", Boot("boot-1", 8).header()),
    "header not ASCII": _set("Tillbridge-Boot", "id=\"b\u00f6\", n=1"),
    "header sent twice": _set("tillbridge-boot", Boot("boot-1", 7).header()),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_covered_part_is_refused(what: str) -> None:
    """No covered part may differ by a character from what was signed."""
    message = signed_request()
    CHANGED[what](message)
    assert refused(message) == "signature_invalid"


@pytest.mark.parametrize("header", [
    "Content-Type", "Content-Digest", "Tillbridge-Position", "Tillbridge-Boot", "Signature",
])
def test_a_removed_header_is_refused(header: str) -> None:
    """What is covered must be there."""
    message = signed_request()
    del message.headers[header]
    assert refused(message) == "signature_invalid"


def test_no_signature_at_all_has_its_own_code() -> None:
    """A browser or a stranger is told that only enrolled agents may call."""
    message = signed_request()
    del message.headers["Signature-Input"]
    assert refused(message) == "signature_missing"


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b"\0", b"Frozen bytes of a batch"])
def test_a_changed_body_is_a_digest_mismatch(body: bytes) -> None:
    """The body is bound through its digest, an empty one too."""
    assert refused(signed_request(), body) == "digest_mismatch"


def test_changed_body_with_its_own_digest_is_refused() -> None:
    """Whoever changes the body and the digest together breaks the signature."""
    message = signed_request()
    message.headers["Content-Digest"] = signing.digest_header(b"evil")
    assert refused(message, b"evil") == "signature_invalid"


def test_every_bit_of_the_signature_counts() -> None:
    """Ed25519 signatures with one bit flipped do not pass."""
    good = base64.b64decode(signed_request().headers["Signature"].removeprefix("tb=:").removesuffix(":"))
    for bit in range(0, 512, 7):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        message = signed_request()
        message.headers["Signature"] = f"tb=:{base64.b64encode(bad).decode()}:"
        assert refused(message) == "signature_invalid"


def test_an_uncovered_header_is_ignored() -> None:
    """Proxies add headers; they neither break the signature nor become part of what was said."""
    message = signed_request()
    message.headers |= {"X-Forwarded-For": "10.0.0.1", "Via": "1.1 proxy", "Tillbridge-Boots": "n=99"}
    assert verify(message).key_id == KEY_ID


# -- the form of the signature -----------------------------------------------------------------------------------

LIFE = NOW + dt.timedelta(seconds=SIGNATURE_LIFE_S)
WHERE = signing.REQUEST_COVERS
OTHER_FORMS: dict[str, Callable[[], signing.Request]] = {
    "one component less": lambda: signed_by_hand(WHERE[:-1], expires=LIFE),
    "one component more": lambda: signed_by_hand((*WHERE, "@scheme"), expires=LIFE),
    "a component in another form": lambda: signed_by_hand((*WHERE[:4], '"content-type";bs', *WHERE[5:]), expires=LIFE),
    "only the digest's member": lambda: signed_by_hand(
        (*WHERE[:5], '"content-digest";key="sha-256"', *WHERE[6:]), expires=LIFE
    ),
    "no expiry": signed_by_hand,
    "no nonce": lambda: signed_by_hand(expires=LIFE, nonce=None),
    "an empty nonce": lambda: signed_by_hand(expires=LIFE, nonce=""),
    "a nonce without end": lambda: signed_by_hand(expires=LIFE, nonce="n" * (NONCE_CHARS_MAX + 1)),
    "no algorithm": lambda: signed_by_hand(expires=LIFE, include_alg=False),
    "no tag": lambda: signed_by_hand(expires=LIFE, tag=None),
    "the tag of an enrollment": lambda: signed_by_hand(expires=LIFE, tag=signing.ENROLL_TAG),
    "the tag of an answer": lambda: signed_by_hand(expires=LIFE, tag=signing.RESPONSE_TAG),
    "a tag of someone else": lambda: signed_by_hand(expires=LIFE, tag="storefront-v1"),
    "another label": lambda: signed_by_hand(expires=LIFE, label="sig1"),
    "a second signature": lambda: signed_by_hand(expires=LIFE, label="tb2", add_to=signed_request()),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_good_signature_of_another_form_is_refused(form: str) -> None:
    """One label, one signature, exactly these components and parameters, however well the rest is signed."""
    assert refused(OTHER_FORMS[form]()) == "signature_invalid"


@pytest.mark.parametrize(("old", "new"), [
    (';alg="ed25519"', ';alg="hmac-sha256"'),
    (';alg="ed25519"', ';alg="ed25519";alg="hmac-sha256"'),
    (';tag="tillbridge-req-v1"', ';tag="tillbridge-req-v2"'),
    (';tag="tillbridge-req-v1"', ';tag="tillbridge-req-v1";role="admin"'),
    (';created=1773480413', ''),
    (';created=1773480413', ';created="1773480413"'),
    (';created=1773480413', ';created=1773480413.5'),
    (';created=1773480413', ';created=999999999999999'),
    (f';keyid="{KEY_ID}"', ''),
    ('tb=(', 'tb="x", tb=('),
    ('tb=(', 'tb=1, xx=('),
    ('("@method"', '("@method" "@method"'),
    ('("@method"', '("@METHOD"'),
    ('("@method"', '('),
])
def test_an_edited_signature_input_is_refused(old: str, new: str) -> None:
    """Every parameter is part of what was signed, and the form is checked before."""
    message = signed_request()
    value = message.headers["Signature-Input"]
    assert old in value
    message.headers["Signature-Input"] = value.replace(old, new)
    assert refused(message) == "signature_invalid"


@given(st.text(max_size=200), st.text(max_size=60))
def test_no_header_text_is_a_crash(signature_input: str, signature: str) -> None:
    """Any text in the two headers ends in a documented refusal."""
    message = signed_request()
    message.headers |= {"Signature-Input": signature_input, "Signature": signature}
    assert refused(message) in ("signature_invalid", "signature_missing")


# -- keys, time, order of checks ---------------------------------------------------------------------------------

def _raises(code: str) -> Callable[[str], Ed25519PublicKey]:
    def key_of(key_id: str) -> Ed25519PublicKey:
        raise ProtocolError(code, "no")

    return key_of


@pytest.mark.parametrize("code", ["key_unknown", "key_revoked", "frozen"])
def test_what_the_key_lookup_says_is_the_answer(code: str) -> None:
    """Unknown, revoked and frozen keys keep their own code."""
    assert refused(signed_request(), key_of=_raises(code)) == code


def test_another_key_does_not_fit() -> None:
    """A signature made with the wrong key under a known key id."""
    assert refused(signed_request(key=OTHER)) == "signature_invalid"


@pytest.mark.parametrize(("seconds", "code"), [
    (-CLOCK_WINDOW_S - 1, "clock"), (-CLOCK_WINDOW_S, ""), (0, ""), (CLOCK_WINDOW_S, ""), (CLOCK_WINDOW_S + 1, "clock"),
    (10 * 365 * 86_400, "clock"),
])
def test_the_clock_window(seconds: int, code: str) -> None:
    """From the past or the future: within the window it passes, outside the answer is `clock`."""
    message = signed_request(now=NOW + dt.timedelta(seconds=seconds))
    if code:
        assert refused(message) == code
    else:
        assert verify(message).created == NOW + dt.timedelta(seconds=seconds)


def test_an_expired_signature_is_clock() -> None:
    """Also when `created` alone would still pass."""
    assert refused(signed_by_hand(expires=NOW - dt.timedelta(seconds=CLOCK_WINDOW_S + 1))) == "clock"


def test_created_before_the_server_started_is_clock() -> None:
    """The nonces of then are forgotten, so nothing of then is believed."""
    assert refused(signed_request(), started=NOW + dt.timedelta(seconds=1)) == "clock"
    assert verify(signed_request(), started=NOW).nonce


def test_order_of_checks() -> None:
    """Form, key, time, signature, digest: the first that fails names the answer."""
    old = signed_request(now=NOW - dt.timedelta(hours=1))
    old.headers["Content-Type"] = CONTENT_TYPE_JSON
    everything_wrong = {"body": b"changed", "key_of": _raises("key_unknown")}
    assert refused(signed_by_hand(tag="x", expires=LIFE), **everything_wrong) == "signature_invalid"
    assert refused(old, **everything_wrong) == "key_unknown"
    assert refused(old, b"changed") == "clock"
    changed = signed_request()
    changed.headers["Content-Type"] = CONTENT_TYPE_JSON
    assert refused(changed, b"changed") == "signature_invalid"
    assert refused(signed_request(), b"changed") == "digest_mismatch"


def test_claimed_key_id_is_read_but_not_believed() -> None:
    """Good for looking a key up, with the form already checked."""
    message = signed_request(key=OTHER)
    assert signing.claimed_key_id(message.headers, signing.REQUEST_TAG) == KEY_ID
    with pytest.raises(ProtocolError, match="profile"):
        signing.claimed_key_id(message.headers, signing.ENROLL_TAG)


def test_an_enrollment_signature_opens_no_other_door() -> None:
    """The tags keep the doors apart, both ways."""
    enrolling = unsigned("/v1/enroll")
    signing.sign_request(
        enrolling, BODY, key=AGENT, key_id=KEY_ID, now=NOW, nonce="n", tag=signing.ENROLL_TAG
    )
    assert verify(enrolling, tag=signing.ENROLL_TAG).key_id == KEY_ID
    assert refused(enrolling) == "signature_invalid"
    assert refused(signed_request(), tag=signing.ENROLL_TAG) == "signature_invalid"
