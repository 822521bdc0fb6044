"""The signing profile: RFC 9421 HTTP Message Signatures with Ed25519 and RFC 9530 Content-Digest.

One label `tb`, one signature per message, an exact list of covered components and parameters: anything
missing, added or doubled is refused. Requests carry the tag `tillbridge-req-v1` (enrollment:
`tillbridge-enroll-v1`), answers `tillbridge-res-v1` and cover the signature of the request they answer.
Handlers may read covered headers only. Order of checks: parse, key, time, signature, digest, and only
then the nonce, so that an invalid signature can never burn one. Time is an argument; nothing here reads
a clock. The library is http-message-signatures, used behind this one file.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)
from http_message_signatures.digests import ContentDigest
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.limits import CLOCK_WINDOW_S, NONCE_CHARS_MAX, SIGNATURE_LIFE_S
from tillbridge_protocol.positions import BOOT_HEADER, POSITION_HEADER

LABEL = "tb"
REQUEST_TAG = "tillbridge-req-v1"
ENROLL_TAG = "tillbridge-enroll-v1"
RESPONSE_TAG = "tillbridge-res-v1"

_WHERE = ("@method", "@authority", "@path", "@query", "content-type", "content-digest")
REQUEST_COVERS = (*_WHERE, POSITION_HEADER, BOOT_HEADER)
ENROLL_COVERS = _WHERE
RESPONSE_COVERS = ("@status", "content-type", "content-digest", f'"signature";req;key="{LABEL}"')
_COVERS = {REQUEST_TAG: REQUEST_COVERS, ENROLL_TAG: ENROLL_COVERS, RESPONSE_TAG: RESPONSE_COVERS}
_PARAMETERS = {
    REQUEST_TAG: {"created", "expires", "keyid", "alg", "nonce", "tag"},
    ENROLL_TAG: {"created", "expires", "keyid", "alg", "nonce", "tag"},
    RESPONSE_TAG: {"created", "keyid", "alg", "tag"},
}


@dataclass
class Request:
    """A request as signed: upper-case method, absolute URL, headers as sent."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Response:
    """An answer as signed, with the request it answers."""

    status_code: int
    request: Request
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Signed:
    """What a verified signature says: who, when (UTC) and the nonce (empty in answers)."""

    key_id: str
    created: dt.datetime
    nonce: str


def sign_request(
    request: Request, body: bytes, *, key: Ed25519PrivateKey, key_id: str, now: dt.datetime, nonce: str,
    tag: str = REQUEST_TAG,
) -> None:
    """Add Content-Digest, Signature-Input and Signature; the other covered headers must be set already."""
    _signer(key).sign(
        request, key_id=key_id, created=now, expires=now + dt.timedelta(seconds=SIGNATURE_LIFE_S), nonce=nonce,
        label=LABEL, tag=tag, covered_component_ids=_COVERS[tag], body=body,
    )


def sign_response(response: Response, body: bytes, *, key: Ed25519PrivateKey, key_id: str, now: dt.datetime) -> None:
    """Add Content-Digest, Signature-Input and Signature, bound to the request's own signature."""
    _signer(key).sign(
        response, key_id=key_id, created=now, label=LABEL, tag=RESPONSE_TAG,
        covered_component_ids=RESPONSE_COVERS, body=body,
    )


def verify_request(
    request: Request, body: bytes, *, key_of: Callable[[str], Ed25519PublicKey], now: dt.datetime,
    started: dt.datetime, tag: str = REQUEST_TAG,
) -> Signed:
    """Check a request; `key_of` raises ProtocolError for unknown or revoked keys.

    Raises ProtocolError `signature_missing`, `key_unknown`, `key_revoked`, `clock`, `signature_invalid` or
    `digest_mismatch`, in that order. Requests created before `started` (this process) are `clock`: the nonces
    seen before are not in memory any more. The caller must still remember the nonce.
    """
    signed = _verify(request, body, tag, key_of, lambda created, expires: _in_window(created, expires, now, started))
    if not 0 < len(signed.nonce) <= NONCE_CHARS_MAX:
        raise ProtocolError("signature_invalid", f"The nonce has not 1 to {NONCE_CHARS_MAX} characters.")
    return signed


def verify_response(response: Response, body: bytes, *, key_of: Callable[[str], Ed25519PublicKey]) -> Signed:
    """Check an answer and that it answers this very request; `created` of the result is the server's time."""
    return _verify(response, body, RESPONSE_TAG, key_of, lambda created, expires: None)


class NonceMemory:
    """Nonces seen in the last window, in memory; one that comes again is `replayed`."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], float] = {}
        self._sweep_at = 0.0

    def remember(self, signed: Signed, now: dt.datetime) -> None:
        """Burn a nonce of a verified signature. Raises ProtocolError `replayed`."""
        at = now.timestamp()
        if at >= self._sweep_at:
            oldest = at - 2 * (CLOCK_WINDOW_S + SIGNATURE_LIFE_S)
            self._seen = {nonce: seen for nonce, seen in self._seen.items() if seen > oldest}
            self._sweep_at = at + CLOCK_WINDOW_S
        if (signed.key_id, signed.nonce) in self._seen:
            raise ProtocolError("replayed", "This request was answered before.")
        self._seen[signed.key_id, signed.nonce] = at


def claimed_key_id(headers: Mapping[str, str], tag: str) -> str:
    """The key id a message names, not yet verified: only good for looking the key up.

    Raises ProtocolError `signature_missing` or `signature_invalid`.
    """
    return str(_parameters(headers, tag)["keyid"])


def digest_header(body: bytes) -> str:
    """The Content-Digest value of these bytes (RFC 9530, sha-256)."""
    return str(ContentDigest.create(body))


def _in_window(created: dt.datetime, expires: dt.datetime | None, now: dt.datetime, started: dt.datetime) -> None:
    skew = (created - now).total_seconds()
    if abs(skew) > CLOCK_WINDOW_S:
        raise ProtocolError("clock", f"The request was made {skew:+.0f} s from the server's time.")
    # `created` has whole seconds: within its first second a server refuses, and the agent signs afresh.
    if created < started:
        raise ProtocolError("clock", "The request was made before the server started.")
    if expires is None or (now - expires).total_seconds() > CLOCK_WINDOW_S:
        raise ProtocolError("clock", "The signature of the request has expired.")


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, private: Ed25519PrivateKey | None, public: Callable[[str], Ed25519PublicKey] | None) -> None:
        self._private, self._public = private, public

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey | None:
        return self._private

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        assert self._public is not None
        return self._public(key_id)


class _Verifier(HTTPMessageVerifier):
    """The library's verifier without its clock: time is judged by `_in_window`, with our `now`."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        return None


def _signer(key: Ed25519PrivateKey) -> HTTPMessageSigner:
    return HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_Keys(key, None))


def _verify(
    message: Request | Response, body: bytes, tag: str, key_of: Callable[[str], Ed25519PublicKey],
    judge_time: Callable[[dt.datetime, dt.datetime | None], None],
) -> Signed:
    parameters = _parameters(message.headers, tag)
    key = key_of(str(parameters["keyid"]))
    created, expires = _instant(parameters.get("created")), _instant(parameters.get("expires"))
    if created is None:
        raise ProtocolError("signature_invalid", "The signature does not say when it was made.")
    judge_time(created, expires)
    verifier = _Verifier(signature_algorithm=algorithms.ED25519, key_resolver=_Keys(None, lambda key_id: key))
    try:
        results = verifier.verify(message, expect_tag=tag, expect_label=LABEL, require_components=_COVERS[tag])
    except (InvalidSignature, HTTPMessageSignaturesException) as error:
        reason = str(error) or "wrong key or changed message"
        raise ProtocolError("signature_invalid", f"The signature does not fit: {reason}.") from error
    # One signature, exactly our components: `require_components` above checks "at least", this "at most".
    if len(results) != 1 or len(results[0].covered_components) != len(_COVERS[tag]) + 1:
        raise ProtocolError("signature_invalid", "The signature covers other parts than this profile asks for.")
    try:
        verifier.verify_body(message, results, body)
    except (InvalidSignature, HTTPMessageSignaturesException) as error:
        raise ProtocolError("digest_mismatch", f"The body does not fit its digest: {error}.") from error
    return Signed(key_id=str(parameters["keyid"]), created=created, nonce=str(parameters.get("nonce", "")))


def _parameters(headers: Mapping[str, str], tag: str) -> Mapping[str, object]:
    """The parameters of the one signature there may be; not yet verified."""
    value = next((value for name, value in headers.items() if name.lower() == "signature-input"), None)
    if value is None:
        raise ProtocolError("signature_missing", "The message is not signed.")
    try:
        parsed = HTTPMessageVerifier._parse_signature_dictionary(value)  # noqa: SLF001
        parameters: Mapping[str, object] = dict(parsed[LABEL].params) if list(parsed) == [LABEL] else {}
    except Exception as error:
        raise ProtocolError("signature_invalid", "The Signature-Input header cannot be read.") from error
    if parameters.get("tag") != tag or set(parameters) != _PARAMETERS[tag] or parameters.get("alg") != "ed25519":
        raise ProtocolError("signature_invalid", f"The signature is not of the profile {tag}.")
    return parameters


def _instant(value: object) -> dt.datetime | None:
    if type(value) is not int:
        return None
    try:
        return dt.datetime.fromtimestamp(value, tz=dt.UTC)
    except (OverflowError, OSError, ValueError):
        return None
