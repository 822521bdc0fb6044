"""Makes the golden envelopes in vectors/ from fixed seeds; run with `python -m tests.unit.protocol.make_vectors`.

Everything is derived from constants, so a second run writes the same bytes; `test_vectors.py` holds the stored
files against it. The gzip bytes are made of stored blocks, because compressed ones differ between zlib builds.
"""

import base64
import datetime as dt
import hashlib
import json
import struct
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tillbridge_protocol import changes, enrollment, heartbeat, mailbox, orders, positions, signing
from tillbridge_protocol.records import AsOf, Price, SaleLine, StockLevel
from tillbridge_protocol.version import CONTENT_TYPE_BATCH, CONTENT_TYPE_JSON

FOLDER = Path(__file__).resolve().parents[3] / "protocol" / "tillbridge_protocol" / "vectors"
NOW = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)
STARTED = dt.datetime(2026, 3, 14, 6, 0, 0, tzinfo=dt.UTC)
SERVER = "https://till.example"
AGENT, LOCATION = "q7m2rt0zv4", "bern"
AGENT_KEY_ID, SERVER_KEY_ID = f"a/{AGENT}/1", "s/1"
EPOCH, BOOT = "e4Xn8sPqWd2v", "b-20260314-0557"


def seed(name: str) -> bytes:
    """32 fixed bytes for a name."""
    return hashlib.sha256(f"tillbridge vector {name}".encode()).digest()


def private(name: str) -> Ed25519PrivateKey:
    """The fixed key of a name."""
    return Ed25519PrivateKey.from_private_bytes(seed(f"key {name}"))


def public(name: str) -> str:
    """Its public half, raw, in hex."""
    return private(name).public_key().public_bytes_raw().hex()


def nonce(name: str) -> str:
    """128 fixed bits as base64url."""
    return base64.urlsafe_b64encode(seed(f"nonce {name}")[:16]).decode().rstrip("=")


CODE = enrollment.make_code(seed("code"), bytes.fromhex(public("root")))


def stored_gzip(plain: bytes) -> bytes:
    """A gzip file (RFC 1952) of stored blocks (RFC 1951 §3.2.4): the same bytes whatever zlib there is."""
    blocks = [plain[at : at + 0xFFFF] for at in range(0, len(plain), 0xFFFF)] or [b""]
    body = b"".join(
        bytes([block is blocks[-1]]) + struct.pack("<HH", len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return head + body + zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")


def request(path: str, content_type: str, lane: bool = True) -> signing.Request:
    """A request as an agent prepares it before signing."""
    headers = {"Content-Type": content_type}
    if lane:
        headers["Tillbridge-Position"] = positions.Position(EPOCH, 0, "").header()
        headers["Tillbridge-Boot"] = positions.Boot(BOOT, 3).header()
    return signing.Request("POST", SERVER + path, headers)


def signature_base(message: signing.Request | signing.Response, covered: tuple[str, ...]) -> str:
    """What is signed, put together by hand from the headers (RFC 9421 §2.5), independent of the library."""
    asked = message if isinstance(message, signing.Request) else message.request
    headers = {name.lower(): value for name, value in message.headers.items()}
    path = asked.url.removeprefix(SERVER)
    derived = {"@method": asked.method, "@authority": "till.example", "@path": path, "@query": "?"}
    if isinstance(message, signing.Response):
        derived = {
            "@status": str(message.status_code),
            signing.RESPONSE_COVERS[-1]: asked.headers["Signature"].removeprefix(f"{signing.LABEL}="),
        }
    lines = []
    for name in covered:
        shown = name if name.startswith('"') else f'"{name}"'
        lines.append(f"{shown}: {derived.get(name) or headers[name]}")
    parameters = headers["signature-input"].removeprefix(f"{signing.LABEL}=")
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


def exchange(
    about: str, asked: signing.Request, body: bytes, status: int, answer: msgspec.Struct,
    tag: str = signing.REQUEST_TAG,
) -> dict[str, Any]:
    """A request and its answer, both signed, with what a verifier must find."""
    name = asked.url.rpartition("/")[2]
    key_id = "new" if tag == signing.ENROLL_TAG else AGENT_KEY_ID
    signing.sign_request(asked, body, key=private("agent"), key_id=key_id, now=NOW, nonce=nonce(name), tag=tag)
    answered = signing.Response(status, asked, {"Content-Type": CONTENT_TYPE_JSON})
    answer_body = msgspec.json.encode(answer)
    answered_at = NOW + dt.timedelta(seconds=1)
    signing.sign_response(answered, answer_body, key=private("server"), key_id=SERVER_KEY_ID, now=answered_at)
    covers = signing.ENROLL_COVERS if tag == signing.ENROLL_TAG else signing.REQUEST_COVERS
    return {
        "about": about,
        "request": {
            "method": asked.method, "url": asked.url, "headers": asked.headers,
            "body_base64": base64.b64encode(body).decode(), "signature_base": signature_base(asked, covers),
        },
        "verified": {
            "at": NOW, "server_started": STARTED, "tag": tag, "public_key": public("agent"),
            "key_id": key_id, "created": NOW, "nonce": nonce(name),
        },
        "answer": {
            "status": status, "headers": answered.headers, "body": answer_body.decode(),
            "signature_base": signature_base(answered, signing.RESPONSE_COVERS),
        },
        "answer_verified": {"public_key": public("server"), "key_id": SERVER_KEY_ID, "created": answered_at},
    }


def keys() -> dict[str, Any]:
    """The keys of all other vectors; never use them for anything else."""
    made = {
        name: {"seed": seed(f"key {name}").hex(), "public_key": public(name)} for name in ("root", "server", "agent")
    }
    return {
        "about": "Ed25519 keys of these vectors: seed (RFC 8032) and raw public key, both hex. Public, so worthless.",
        **made, "enrollment_code": {
            "text": CODE.text(), "secret": CODE.secret, "fingerprint": CODE.fingerprint,
            "random_bytes": seed("code").hex(),
        },
    }


def hello() -> dict[str, Any]:
    """The key statement, signed by the root key."""
    statement = enrollment.KeyStatement(
        root=public("root"), key_id=SERVER_KEY_ID, key=public("server"), tls_ca="",
        not_before=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), not_after=dt.datetime(2026, 6, 30, tzinfo=dt.UTC),
    )
    signed = enrollment.sign_statement(statement, private("root"))
    return {
        "about": "GET /v1/hello: the answer's body, not signed as a message; the signature inside is the root key's.",
        "body": msgspec.to_builtins(signed), "fingerprint": enrollment.fingerprint_of(bytes.fromhex(public("root"))),
    }


def enroll() -> dict[str, Any]:
    """POST /v1/enroll."""
    body = msgspec.json.encode(enrollment.EnrollRequest(
        secret=CODE.secret, public_key=public("agent"),
        host=enrollment.HostFacts(name="TILL-03", system="Windows 10 22H2", version="0.1.0"),
    ))
    answer = enrollment.EnrollAnswer(
        agent=AGENT, key_id=AGENT_KEY_ID, location=LOCATION, server_name="Fennel & Forge",
    )
    return exchange(
        "Enrollment: signed with the new key, which is in the body (proof of possession).",
        request("/v1/enroll", CONTENT_TYPE_JSON, lane=False), body, 200, answer, signing.ENROLL_TAG,
    )


def batch_body() -> bytes:
    """The plain JSON of the batch: two facts, one gone, one sale, and a kind nobody knows."""
    source = changes.Source(
        file="STOCK.CSV", sha256=hashlib.sha256(b"STOCK.CSV").hexdigest(), line=2,
        text="0001;Hammer 500 g;12,50;3", captured_at=NOW - dt.timedelta(seconds=2),
    )
    as_of = AsOf(NOW - dt.timedelta(seconds=12), NOW - dt.timedelta(seconds=7), "observed")
    sale = SaleLine(
        id="03/20260314/000231/1", code="0001", quantity=Decimal(1), at=NOW - dt.timedelta(minutes=5),
        unit_price=Decimal("12.50"), currency="CHF", till="03", receipt="000231",
    )
    journal = changes.Source(file="JOURNAL.TXT", line=231, text="03|20260314|000231|1|0001|1|12.50")
    made = [
        changes.Change("stock", "stock_level", "0001", "put", StockLevel("0001", Decimal(3), as_of), source),
        changes.Change("stock", "price", "0001", "put", Price("0001", Decimal("12.50"), "CHF"), source),
        changes.Change("stock", "stock_level", "0002", "gone"),
        changes.Change("journal", "sale_line", sale.id, "put", sale, journal),
    ]
    batch = changes.Batch(
        v=1, agent=AGENT, location=LOCATION, epoch=EPOCH, seq=1, prev=changes.NO_HEAD, full=None,
        feeds={"journal": changes.FeedInfo("pos", absence="nothing"), "stock": changes.FeedInfo("pos", as_of=as_of)},
        changes=[
            *(msgspec.Raw(changes.encode_change(change)) for change in made),
            msgspec.Raw(b'{"feed":"stock","kind":"colour_card","key":"7","op":"put","record":{"kind":"colour_card"}}'),
        ],
    )
    return msgspec.json.encode(batch)


def batch() -> dict[str, Any]:
    """POST /v1/batches: the first batch of an epoch, and its ack with one dead letter."""
    body = stored_gzip(batch_body())
    head = changes.head_of(body)
    dead = positions.DeadNote(index=4, code="change_unknown", message="The kind 'colour_card' is not known here.")
    answer = positions.Ack(epoch=EPOCH, seq=1, head=head, durable_seq=0, dead=[dead])
    made = exchange(
        "The first batch of an epoch; its last change is of a kind this version does not know.",
        request("/v1/batches", CONTENT_TYPE_BATCH), body, 200, answer,
    )
    return {**made, "head": head, "plain": batch_body().decode()}


def beat() -> dict[str, Any]:
    """POST /v1/heartbeat, answered with a resync: the server has never seen this epoch."""
    body = msgspec.json.encode(heartbeat.Heartbeat(
        version="0.1.0", at=NOW, outbox_changes=12, outbox_events=1, oldest_unacked_at=NOW - dt.timedelta(seconds=40),
        feeds=[heartbeat.FeedHealth(name="stock", state="idle", accepted_at=NOW, accepted_file="STOCK.CSV", rows=200)],
        holds=[], quarantine=[], disk_free_bytes=41_000_000_000, counters={"files_accepted": 31},
    ))
    answer = positions.Resync(answers=positions.Position(EPOCH, 0, ""), reason="asked")
    return exchange(
        "A heartbeat, answered with a resync because a person asked for a full state.",
        request("/v1/heartbeat", CONTENT_TYPE_JSON), body, 409, answer,
    )


ORDER = orders.Order(
    id="WEB-1009-7ZK", revision=1, agent=AGENT, location=LOCATION, storefront="web", number="1009-7ZK",
    placed_at=NOW, not_after=NOW + dt.timedelta(days=14), currency="CHF",
    lines=[
        orders.OrderLine(1, "0001", Decimal(2), Decimal("12.50"), "Hammer 500 g"),
        orders.OrderLine(2, "0031", Decimal("1.5"), Decimal("3.90")),
    ],
    shopper=orders.Shopper(
        name="Zoë Müller", street="Rathausgasse 9", postcode="3011", city="Bern", country="CH",
        phone="+41 31 555 01 42", email="zoe@example.com", note="Please ring twice.",
    ),
)


def order() -> dict[str, Any]:
    """A web order in its mailbox message, signed with the server's key."""
    signed = orders.sign_order(ORDER, private("server"), SERVER_KEY_ID)
    return {
        "about": "A web order as the server signed it: verify `payload` with the pinned key, then decode it.",
        "body": mailbox.PlaceOrder(signed),
        "signature_base": f"tillbridge-order-v1\n{signed.payload}",
        "verified": {"public_key": public("server"), "order": ORDER},
    }


VECTORS = {"keys": keys, "hello": hello, "enroll": enroll, "batch": batch, "heartbeat": beat, "order": order}


def text_of(name: str) -> str:
    """The file of one vector."""
    return json.dumps(msgspec.to_builtins(VECTORS[name]()), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all vectors."""
    for name in VECTORS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8", newline="\n")
        print(f"vectors/{name}.json")


if __name__ == "__main__":
    main()
