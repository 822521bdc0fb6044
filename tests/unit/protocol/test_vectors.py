"""The golden envelopes: regenerated they are the same bytes, and they verify as they say."""

import base64
import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from tests.unit.protocol import make_vectors as made

from tillbridge_protocol import changes, enrollment, mailbox, orders, signing
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat
from tillbridge_protocol.positions import Ack, Resync, read_boot, read_position

EXCHANGES = ("enroll", "batch", "heartbeat")


def stored(name: str) -> dict[str, Any]:
    """A vector as stored."""
    loaded: dict[str, Any] = json.loads((made.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def request_of(vector: dict[str, Any]) -> tuple[signing.Request, bytes]:
    """The request of an exchange and its body."""
    asked = vector["request"]
    message = signing.Request(asked["method"], asked["url"], dict(asked["headers"]))
    return message, base64.b64decode(asked["body_base64"])


def public_key(text: str) -> Ed25519PublicKey:
    """A key from hex."""
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def test_every_file_is_made_and_told() -> None:
    """No vector without a maker, no maker without a file, and the README names each."""
    files = {path.name for path in made.FOLDER.iterdir()}
    assert files == {f"{name}.json" for name in made.VECTORS} | {"README.md"}
    readme = (made.FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.json`" in readme for name in made.VECTORS)


@pytest.mark.parametrize("name", made.VECTORS)
def test_regenerated_is_stored(name: str) -> None:
    """The profile, the encodings and the keys make the same bytes today as when the vectors were made."""
    assert made.text_of(name) == (made.FOLDER / f"{name}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXCHANGES)
def test_request_verifies_as_it_says(name: str) -> None:
    """A server finds who signed, when, and the nonce."""
    vector = stored(name)
    asked, body = request_of(vector)
    expected = vector["verified"]
    signed = signing.verify_request(
        asked, body, key_of=lambda key_id: public_key(expected["public_key"]), tag=expected["tag"],
        now=dt.datetime.fromisoformat(expected["at"]), started=dt.datetime.fromisoformat(expected["server_started"]),
    )
    assert signed == signing.Signed(
        key_id=expected["key_id"], created=dt.datetime.fromisoformat(expected["created"]), nonce=expected["nonce"]
    )


@pytest.mark.parametrize("name", EXCHANGES)
def test_answer_verifies_only_with_its_request(name: str) -> None:
    """An answer is good for the request it answers and for no other."""
    vector = stored(name)
    asked, _ = request_of(vector)
    answer, expected = vector["answer"], vector["answer_verified"]
    key = public_key(expected["public_key"])
    signed = signing.verify_response(
        signing.Response(answer["status"], asked, dict(answer["headers"])), answer["body"].encode(),
        key_of=lambda key_id: key,
    )
    assert (signed.key_id, signed.created) == (expected["key_id"], dt.datetime.fromisoformat(expected["created"]))
    for other in set(EXCHANGES) - {name}:
        swapped = signing.Response(answer["status"], request_of(stored(other))[0], dict(answer["headers"]))
        with pytest.raises(ProtocolError) as caught:
            signing.verify_response(swapped, answer["body"].encode(), key_of=lambda key_id: key)
        assert caught.value.code == "signature_invalid"


@pytest.mark.parametrize("name", EXCHANGES)
def test_signature_base_is_what_was_signed(name: str) -> None:
    """The text put together by hand is the one the library signed: raw Ed25519 over it gives the signature."""
    vector = stored(name)
    for message, key in ((vector["request"], "agent"), (vector["answer"], "server")):
        signature = base64.b64decode(message["headers"]["Signature"].removeprefix("tb=:").removesuffix(":"))
        seed = bytes.fromhex(stored("keys")[key]["seed"])
        assert Ed25519PrivateKey.from_private_bytes(seed).sign(message["signature_base"].encode()) == signature


def test_hello_opens_with_the_fingerprint_of_the_code() -> None:
    """The code as typed leads to the root key, and that to the online key that signs the answers."""
    code = enrollment.read_code(stored("keys")["enrollment_code"]["text"])
    hello = msgspec.convert(stored("hello")["body"], enrollment.Hello)
    assert code.fingerprint == stored("hello")["fingerprint"]
    assert enrollment.open_hello(hello, fingerprint=code.fingerprint).key == stored("keys")["server"]["public_key"]


def test_enroll_carries_the_secret_of_the_code() -> None:
    """The request holds the secret half only, and the key that signed it."""
    vector = stored("enroll")
    wanted = msgspec.json.decode(request_of(vector)[1], type=enrollment.EnrollRequest)
    keys = stored("keys")
    assert (wanted.secret, wanted.public_key) == (keys["enrollment_code"]["secret"], keys["agent"]["public_key"])
    answer = msgspec.json.decode(vector["answer"]["body"], type=enrollment.EnrollAnswer)
    assert (answer.agent, answer.location) == (made.AGENT, made.LOCATION)


def test_batch_opens_and_is_acked() -> None:
    """Body, position header and ack speak of one batch; its unknown kind is the one dead letter."""
    vector = stored("batch")
    asked, body = request_of(vector)
    batch = changes.open_batch(body)
    ack = msgspec.json.decode(vector["answer"]["body"], type=Ack)
    assert (batch.epoch, batch.seq, changes.head_of(body)) == (ack.epoch, ack.seq, ack.head)
    assert vector["head"] == ack.head
    position = read_position(asked.headers["Tillbridge-Position"])
    assert (position.epoch, position.seq, position.head) == (batch.epoch, batch.seq - 1, batch.prev)
    outcomes = []
    for raw in batch.changes:
        try:
            outcomes.append(changes.decode_change(raw).op)
        except ProtocolError as error:
            outcomes.append(error.code)
    assert outcomes == ["put", "put", "gone", "put", "change_unknown"]
    assert [(note.index, note.code) for note in ack.dead] == [(4, "change_unknown")]


def test_heartbeat_decodes_and_its_answer_echoes_the_position() -> None:
    """A resync names the position it answers."""
    vector = stored("heartbeat")
    asked, body = request_of(vector)
    assert msgspec.json.decode(body, type=Heartbeat).feeds[0].name == "stock"
    answer = msgspec.json.decode(vector["answer"]["body"], type=Resync)
    assert answer.answers == read_position(asked.headers["Tillbridge-Position"])
    assert read_boot(asked.headers["Tillbridge-Boot"]).n == 3


def signed_order() -> tuple[orders.SignedOrder, dict[str, Ed25519PublicKey]]:
    """The stored order and the keys an agent has pinned."""
    vector = stored("order")
    body = mailbox.decode_body(msgspec.json.encode(vector["body"]))
    assert isinstance(body, mailbox.PlaceOrder)
    return body.order, {"s/1": public_key(vector["verified"]["public_key"])}


def test_order_opens_and_is_what_was_signed() -> None:
    """The signature over prefix and payload is the raw Ed25519 one, and the payload is the order."""
    vector = stored("order")
    signed, pinned = signed_order()
    assert orders.open_order(signed, pinned) == made.ORDER == msgspec.convert(vector["verified"]["order"], orders.Order)
    seed = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(stored("keys")["server"]["seed"]))
    assert vector["signature_base"] == "tillbridge-order-v1\n" + signed.payload
    assert seed.sign(vector["signature_base"].encode()).hex() == signed.signature
