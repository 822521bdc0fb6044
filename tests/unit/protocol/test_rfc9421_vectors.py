"""The vectors of RFC 9421 and RFC 9530, byte by byte, through the library that signing.py stands on."""

import base64
import datetime as dt

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, InvalidSignature, algorithms

from tillbridge_protocol import signing

CREATED = dt.datetime(2021, 4, 20, 2, 7, 53, tzinfo=dt.UTC)  # 1618884473

# RFC 9421 B.1.4
TEST_KEY_ED25519 = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
TEST_KEY_ED25519_PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
# RFC 9421 B.1.5
TEST_SHARED_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)

BODY = b'{"hello": "world"}'
SHA512 = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"


def request() -> signing.Request:
    """RFC 9421 B.2, test-request."""
    return signing.Request("POST", "https://example.com/foo?param=Value&Pet=dog", {
        "Host": "example.com", "Date": "Tue, 20 Apr 2021 02:07:55 GMT", "Content-Type": "application/json",
        "Content-Digest": SHA512, "Content-Length": "18",
    })


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, private: object, public: object) -> None:
        self.private, self.public = private, public

    def resolve_private_key(self, key_id: str) -> object:
        return self.private

    def resolve_public_key(self, key_id: str) -> object:
        return self.public


ED25519_KEYS = _Keys(
    serialization.load_pem_private_key(TEST_KEY_ED25519, None),
    serialization.load_pem_public_key(TEST_KEY_ED25519_PUBLIC),
)
HMAC_KEYS = _Keys(TEST_SHARED_SECRET, TEST_SHARED_SECRET)

B26_COVERED = ("date", "@method", "@path", "@authority", "content-type", "content-length")
B26_INPUT = (
    'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
B26_SIGNATURE = "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:"
B26_BASE = """\
"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")\
;created=1618884473;keyid="test-key-ed25519\""""

B25_INPUT = 'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
B25_SIGNATURE = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"


def test_b_1_4_the_keys_are_one_pair() -> None:
    """The two halves of test-key-ed25519 belong together."""
    assert isinstance(ED25519_KEYS.private, Ed25519PrivateKey)
    assert ED25519_KEYS.private.public_key() == ED25519_KEYS.public


def test_b_2_6_signature_base() -> None:
    """The text to sign is the one printed in the RFC."""
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=ED25519_KEYS)
    prepared = signer.prepare(
        request(), key_id="test-key-ed25519", created=CREATED, include_alg=False, covered_component_ids=B26_COVERED,
        use_existing_digest=True,
    )
    assert prepared.signature_base.decode() == B26_BASE


def test_b_2_6_ed25519_is_signed_byte_for_byte() -> None:
    """Both headers are the ones printed in the RFC."""
    message = request()
    HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=ED25519_KEYS).sign(
        message, key_id="test-key-ed25519", created=CREATED, label="sig-b26", include_alg=False,
        covered_component_ids=B26_COVERED, use_existing_digest=True,
    )
    assert message.headers["Signature-Input"] == B26_INPUT
    assert message.headers["Signature"] == B26_SIGNATURE


def test_b_2_5_hmac_is_signed_byte_for_byte() -> None:
    """The same with a shared secret: base and headers do not depend on the algorithm."""
    message = request()
    HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=HMAC_KEYS).sign(
        message, key_id="test-shared-secret", created=CREATED, label="sig-b25", include_alg=False,
        covered_component_ids=("date", "@authority", "content-type"), use_existing_digest=True,
    )
    assert message.headers["Signature-Input"] == B25_INPUT
    assert message.headers["Signature"] == B25_SIGNATURE


def _verified(message: signing.Request) -> object:
    # The very verifier of signing.py, whose only difference is that it does not read a clock.
    verifier = signing._Verifier(signature_algorithm=algorithms.ED25519, key_resolver=ED25519_KEYS)
    verifier.allow_label_only_selection = True
    return verifier.verify(message)


def test_b_2_6_verifies_and_a_changed_header_does_not() -> None:
    """The RFC's own signature passes our verifier, and only for its own message."""
    message = request()
    message.headers |= {"Signature-Input": B26_INPUT, "Signature": B26_SIGNATURE}
    assert _verified(message)
    message.headers["Date"] = "Tue, 20 Apr 2021 02:07:56 GMT"
    with pytest.raises(InvalidSignature):
        _verified(message)


@pytest.mark.parametrize(("body", "digest"), [
    (BODY, "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
    (BODY + b"\n", "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="),
    (b"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
])
def test_rfc_9530_content_digest(body: bytes, digest: str) -> None:
    """sha-256 over the bytes of the content, as RFC 9530 and RFC 9421 write it in their examples."""
    assert signing.digest_header(body) == f"sha-256=:{digest}:"


def test_rfc_9530_sha_512_of_the_test_request() -> None:
    """The digest of B.2's test-request, which the library accepts beside sha-256."""
    signing.ContentDigest.verify(SHA512, BODY)
    with pytest.raises(InvalidSignature):
        signing.ContentDigest.verify(SHA512, BODY + b"\n")
