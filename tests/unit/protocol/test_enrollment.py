"""Enrollment codes and the key statement: typed by people, trusted by machines."""

import base64
import datetime as dt
import hashlib
import random

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.make_vectors import private, public

from tillbridge_protocol import enrollment as e
from tillbridge_protocol.errors import ProtocolError

ROOT = bytes.fromhex(public("root"))
CODE = e.make_code(bytes(range(10)), ROOT)
TEXT = CODE.text()


def wrong(text: str) -> str:
    """What a person reads about a code that cannot be right."""
    with pytest.raises(ProtocolError) as caught:
        e.read_code(text)
    assert caught.value.code == "code_wrong"
    return caught.value.message


# -- the code ----------------------------------------------------------------------------------------------------

@given(st.binary(min_size=10, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_code_reads_back(secret: bytes, root: bytes) -> None:
    """Both halves, and the fingerprint is the root key's."""
    code = e.make_code(secret, root)
    assert e.read_code(code.text()) == code
    assert code.fingerprint == e.fingerprint_of(root)


def test_a_code_is_seven_groups_of_four() -> None:
    """As it is said on the telephone; none of the letters that look like digits."""
    groups = TEXT.split("-")
    assert [len(group) for group in groups] == [4] * 7
    assert not set("".join(groups)) & set("ILOU")


def test_the_code_has_75_random_bits() -> None:
    """Every one of the bits counts, and none comes from the server's key."""
    bits = 0
    for bit in range(80):
        flipped = bytearray(range(10))
        flipped[bit // 8] ^= 128 >> bit % 8
        bits += e.make_code(bytes(flipped), ROOT).secret != CODE.secret
    assert bits == 75
    assert e.make_code(bytes(range(10)), bytes.fromhex(public("agent"))).secret == CODE.secret


def test_too_little_randomness_is_our_bug() -> None:
    """A code of nine bytes is never shown."""
    with pytest.raises(AssertionError):
        e.make_code(bytes(9), ROOT)


@pytest.mark.parametrize("typed", [
    TEXT.lower(), TEXT.replace("-", ""), TEXT.replace("-", " "), f"  {TEXT}\n", TEXT.replace("-", "\u2013"),
    TEXT.replace("-", "\u2011"), TEXT.replace("-", "\u00a0"), TEXT.replace("-", " - "), "-" + TEXT,
    TEXT.replace("1", "I").replace("0", "O"), TEXT.replace("1", "l").replace("0", "o"),
], ids=ascii)
def test_reading_forgives(typed: str) -> None:
    """Case, spaces, dashes of any kind, and letters that look like the digits they stand for."""
    assert e.read_code(typed) == CODE


def test_both_look_alikes_are_in_the_code_that_tests_them() -> None:
    """Otherwise the test above would prove nothing."""
    assert {"0", "1"} <= set(TEXT)


@pytest.mark.parametrize("typed", [
    "", "1234", TEXT[:-1], TEXT + "0", TEXT.replace(TEXT[5], "U"), TEXT[:-1] + "?", "\u00df" * 28,
], ids=ascii)
def test_what_is_no_code_is_told_so(typed: str) -> None:
    """Length and alphabet."""
    assert "seven groups" in wrong(typed)


def test_single_typing_errors_are_caught() -> None:
    """One wrong character: the check character lets at most about one in 32 through."""
    plain = TEXT.replace("-", "")
    tried = caught = 0
    for place, right in enumerate(plain):
        for letter in e.ALPHABET:
            if letter != right:
                tried += 1
                try:
                    e.read_code(plain[:place] + letter + plain[place + 1 :])
                except ProtocolError:
                    caught += 1
    assert tried == 28 * 31
    assert caught / tried > 1 - 2 / 32


def test_swapped_and_random_letters_are_caught() -> None:
    """The same for neighbours swapped and for codes made up."""
    rng = random.Random(20260314)
    passed, tries = 0, 3_000
    for count in range(tries):
        code = e.make_code(rng.randbytes(10), ROOT).text().replace("-", "")
        place = rng.randrange(27)
        typed = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
        if count % 2 or typed == code:
            typed = "".join(rng.choices(e.ALPHABET, k=28))
        try:
            e.read_code(typed)
        except ProtocolError:
            continue
        passed += 1
    assert passed / tries < 2 / 32


def test_fingerprint_is_60_bits_of_the_hash() -> None:
    """SHA-256 of the raw public key, most significant bits first, in Crockford's alphabet."""
    rfc4648 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", e.ALPHABET)
    for key in (bytes(32), ROOT):
        assert e.fingerprint_of(key) == base64.b32encode(hashlib.sha256(key).digest())[:12].decode().translate(rfc4648)
    assert len({e.fingerprint_of(bytes([count]) * 32) for count in range(200)}) == 200
    assert e.to_base32(b"\xff\x00\xff\x00\xff", 8) == "ZW0FY07Z"


# -- the key statement -------------------------------------------------------------------------------------------

STATEMENT = e.KeyStatement(
    root=public("root"), key_id="s/1", key=public("server"), tls_ca="",
    not_before=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), not_after=dt.datetime(2026, 6, 30, tzinfo=dt.UTC),
)
HELLO = e.sign_statement(STATEMENT, private("root"))


def not_opened(hello: e.Hello, fingerprint: str = CODE.fingerprint) -> str:
    """The code under which an agent turns away."""
    with pytest.raises(ProtocolError) as caught:
        e.open_hello(hello, fingerprint=fingerprint)
    return caught.value.code


def test_a_statement_opens_with_its_fingerprint() -> None:
    """Exactly what was signed."""
    assert e.open_hello(HELLO, fingerprint=CODE.fingerprint) == STATEMENT


def test_another_servers_statement_is_not_opened() -> None:
    """A server that is not the one the code was made for gets no secret."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    root = other.public_key().public_bytes_raw()
    theirs = e.sign_statement(msgspec.structs.replace(STATEMENT, root=root.hex()), other)
    assert e.open_hello(theirs, fingerprint=e.fingerprint_of(root))
    assert not_opened(theirs) == "code_wrong"


def test_a_statement_naming_our_root_must_be_signed_by_it() -> None:
    """Anybody can write our root key into a statement."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert not_opened(e.sign_statement(STATEMENT, other)) == "signature_invalid"


def test_every_byte_of_the_statement_is_signed() -> None:
    """Another online key, other dates, another authority: refused, whatever it reads like."""
    edits = ((public("server"), public("agent")), ("2026-06-30", "2036-06-30"), ('"s/1"', '"s/2"'), (":", ": "))
    for old, new in edits:
        changed = HELLO.statement.replace(old, new, 1)
        assert changed != HELLO.statement
        assert not_opened(msgspec.structs.replace(HELLO, statement=changed)) == "signature_invalid"


@pytest.mark.parametrize("hello", [
    e.Hello("", ""), e.Hello("{}", HELLO.signature), e.Hello("[" * 50_000, HELLO.signature),
    e.Hello(HELLO.statement, ""), e.Hello(HELLO.statement, "zz"), e.Hello(HELLO.statement, HELLO.signature[:-2]),
    e.Hello(HELLO.statement.replace(public("root"), public("root").upper()), HELLO.signature),
], ids=range(7))
def test_junk_is_not_opened(hello: e.Hello) -> None:
    """A login page of a network, half an answer, something hostile."""
    assert not_opened(hello) == "signature_invalid"


@pytest.mark.parametrize("key", ["", "ab" * 31, "ab" * 33, "AB" * 32, "zz" * 32, "ab" * 32 + "\\n"])
def test_public_keys_are_32_bytes_in_hex(key: str) -> None:
    """No other form reaches the cryptography."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"secret":"x","public_key":"{key}","host":{{}}}}', type=e.EnrollRequest)
