"""Enrollment: a one-time code becomes an identity, and the server's keys are pinned.

The code carries a secret (75 bits and a check character) and the fingerprint of the server's root key
(60 bits). Steps: `GET /v1/hello` gives the root-signed key statement, which the agent checks against the
fingerprint *before* it sends the secret, over TLS verified with the authority that statement names. Then
`POST /v1/enroll`, signed with the agent's new key (proof of possession). The same code with the same key
gives the same answer for the life of the code, because an answer may be lost.
"""

import hashlib
import unicodedata
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tillbridge_protocol.errors import UNREADABLE, ProtocolError
from tillbridge_protocol.records import Instant, Text

#: Crockford's alphabet (https://www.crockford.com/base32.html): no I, L, O, U.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SECRET_CHARS = 15
_PRINT_CHARS = 12
_READ_AS = str.maketrans("ILO", "110")


class EnrollmentCode(msgspec.Struct, frozen=True):
    """The two halves of a code: what the server stores hashed, and what the agent checks it against."""

    secret: str
    fingerprint: str

    def text(self) -> str:
        """The code as shown to people: seven groups of four."""
        body = self.secret + self.fingerprint
        plain = self.secret + _check(body) + self.fingerprint
        return "-".join(plain[i : i + 4] for i in range(0, len(plain), 4))


PublicKey = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class KeyStatement(msgspec.Struct, frozen=True):
    """What the root key signs: the server's online key, its life, and the authority of its TLS certificate.

    Keys are raw Ed25519 public keys in hex; `tls_ca` is PEM, empty where the server has a public certificate
    or listens on loopback only.
    """

    root: PublicKey
    key_id: Text
    key: PublicKey
    not_before: Instant
    not_after: Instant
    tls_ca: str


class Hello(msgspec.Struct, frozen=True):
    """The key statement as the exact bytes the root key signed (UTF-8 JSON), and the signature in hex."""

    statement: str
    signature: str


class HostFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the machine says of itself, for the person who looks at the list of agents."""

    name: str = ""
    system: str = ""
    version: str = ""


class EnrollRequest(msgspec.Struct, frozen=True):
    """The secret half of the code and the agent's new public key (raw Ed25519, hex)."""

    secret: Text
    public_key: PublicKey
    host: HostFacts


class EnrollAnswer(msgspec.Struct, frozen=True, tag_field="answer", tag="enrolled"):
    """The identity: agent id, key id for signatures, and the location it speaks for."""

    agent: Text
    key_id: Text
    location: Text
    server_name: str


def sign_statement(statement: KeyStatement, root: Ed25519PrivateKey) -> Hello:
    """The statement as bytes, signed by the root key it names."""
    text = msgspec.json.encode(statement).decode()
    return Hello(statement=text, signature=root.sign(text.encode()).hex())


def open_hello(hello: Hello, *, fingerprint: str) -> KeyStatement:
    """The statement, when the root key of this fingerprint signed these bytes; says nothing about its dates.

    After enrollment the agent also compares `root` with the whole key it pinned. Raises ProtocolError
    `code_wrong` for another root key than the code's, `signature_invalid` for anything not signed by it.
    """
    try:
        statement = msgspec.json.decode(hello.statement, type=KeyStatement)
        root = bytes.fromhex(statement.root)
        if fingerprint_of(root) != fingerprint:
            raise ProtocolError("code_wrong", "This server is not the one that made the code.")
        Ed25519PublicKey.from_public_bytes(root).verify(bytes.fromhex(hello.signature), hello.statement.encode())
    except (*UNREADABLE, InvalidSignature, ValueError) as error:
        raise ProtocolError("signature_invalid", "The key statement of the server is not signed as it says.") from error
    return statement


def fingerprint_of(root_public_key: bytes) -> str:
    """60 bits of the SHA-256 of a raw Ed25519 public key, in Crockford's base32."""
    return to_base32(hashlib.sha256(root_public_key).digest(), _PRINT_CHARS)


def to_base32(data: bytes, chars: int) -> str:
    """The first `chars` base32 characters of `data`, most significant bits first."""
    number = int.from_bytes(data, "big")
    bits = len(data) * 8
    return "".join(ALPHABET[(number >> (bits - 5 * (i + 1))) & 31] for i in range(chars))


def make_code(random_bytes: bytes, root_public_key: bytes) -> EnrollmentCode:
    """A code from at least 10 random bytes."""
    assert len(random_bytes) >= 10
    return EnrollmentCode(to_base32(random_bytes, _SECRET_CHARS), fingerprint_of(root_public_key))


def read_code(text: str) -> EnrollmentCode:
    """Read a typed code; forgives case, spaces, dashes of any kind and I/L/O. Raises ProtocolError `code_wrong`."""
    # Mail and word processors turn "-" into other dashes and spaces into unbreakable ones.
    kept = (c for c in text if not c.isspace() and unicodedata.category(c) != "Pd")
    plain = "".join(kept).upper().translate(_READ_AS)
    if len(plain) != _SECRET_CHARS + 1 + _PRINT_CHARS or any(c not in ALPHABET for c in plain):
        raise ProtocolError("code_wrong", "A code has seven groups of four letters and digits.")
    secret, check, fingerprint = plain[:_SECRET_CHARS], plain[_SECRET_CHARS], plain[_SECRET_CHARS + 1 :]
    if _check(secret + fingerprint) != check:
        raise ProtocolError("code_wrong", "The code has a typing error: its check character does not fit.")
    return EnrollmentCode(secret, fingerprint)


def _check(plain: str) -> str:
    return to_base32(hashlib.sha256(plain.encode()).digest(), 1)
