"""PROTOCOL.md against the code: examples decode, tables list what is, decisions are those the server takes."""

import datetime as dt
import json
import re
from pathlib import Path

import msgspec
import pytest
from tests.unit.protocol.make_vectors import CODE, ORDER, VECTORS, private

from tillbridge_protocol import (
    changes,
    enrollment,
    heartbeat,
    limits,
    mailbox,
    orders,
    positions,
    records,
    signing,
    version,
)
from tillbridge_protocol.errors import CODES
from tillbridge_server.core.inbox_rules import (
    CLONE_TOLERANCE_S,
    Boots,
    BootVerdict,
    Known,
    Verdict,
    judge_batch,
    judge_boot,
    judge_position,
)

PAGE = Path(__file__).resolve().parents[3] / "protocol" / "PROTOCOL.md"
DOC = PAGE.read_text(encoding="utf-8")
FENCES = re.findall(r"^```([^\n]*)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
EXAMPLES = [(tag.removeprefix("json "), text) for tag, text in FENCES if tag.startswith("json")]
SPANS = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", DOC, flags=re.MULTILINE | re.DOTALL)))
STRUCTS: dict[str, type[msgspec.Struct]] = {
    name: value
    for module in (changes, enrollment, heartbeat, mailbox, orders, positions, records)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
    and not name.startswith("_")
}
#: Never on the wire: a code is typed, a frozen batch is bytes with a hash, a position and a boot are headers.
NOT_SENT = {"EnrollmentCode", "FrozenBatch", "Boot"}
#: What stands by itself in a request, an answer, a batch or a message, and so has its own example.
WHOLE = set(STRUCTS) - NOT_SENT - {
    "AsOf", "DeadNote", "DeviceHealth", "FeedHealth", "FeedInfo", "FullPart", "HeldFile", "HostFacts", "Message",
    "OrderLine", "OrderStanding", "OrderStandings", "OrdersHealth", "Position", "Quarantined", "Shopper",
    "SignedOrder", "Source",
}


def table(first_cell: str) -> list[dict[str, str]]:
    """The rows of the table whose header starts with this cell, by column; code marks removed."""
    lines = DOC.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_cell} |"))
    split = re.compile(r"(?<!\\)\|")
    names = [cell.strip() for cell in split.split(lines[start])[1:-1]]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip().replace("`", "") for cell in split.split(line)[1:-1]]
        rows.append(dict(zip(names, cells, strict=True)))
    return rows


# -- examples ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_every_example_is_decoded(name: str, text: str) -> None:
    """With the struct behind its fence, and encoded again it says the same: nothing in it is unknown or a default."""
    decoded = msgspec.json.decode(text, type=STRUCTS[name])
    assert json.loads(msgspec.json.encode(decoded)) == json.loads(text)
    if isinstance(decoded, changes.Change):
        changes.decode_change(text.encode())
    if isinstance(decoded, changes.Batch):
        frozen = changes.freeze(
            agent=decoded.agent, location=decoded.location, epoch=decoded.epoch, seq=decoded.seq, prev=decoded.prev,
            feeds=decoded.feeds, full=decoded.full, changes=[bytes(change) for change in decoded.changes],
        )
        opened = changes.open_batch(frozen.body)
        assert {changes.decode_change(change).feed for change in opened.changes} <= set(opened.feeds)
    if isinstance(decoded, mailbox.Mail):
        assert all(mailbox.decode_body(message.body) for message in decoded.messages)
    if isinstance(decoded, mailbox.PlaceOrder):
        assert orders.open_order(decoded.order, {"s/1": private("server").public_key()}) == ORDER
    if isinstance(decoded, orders.Order):
        assert decoded == ORDER
    if isinstance(decoded, enrollment.Hello):
        assert enrollment.open_hello(decoded, fingerprint=CODE.fingerprint)


def test_no_json_is_without_its_struct() -> None:
    """And everything that is sent by itself has an example."""
    assert all(tag.startswith("json ") or tag == "http" for tag, _ in FENCES)
    assert {name for name, _ in EXAMPLES} == WHOLE


def test_every_optional_field_is_in_an_example() -> None:
    """A field that no example shows is not documented."""
    shown: dict[str, set[str]] = {}

    def collect(value: object) -> None:
        if isinstance(value, msgspec.Struct):
            fields = {spec.encode_name for spec in msgspec.structs.fields(value)}
            given = set(json.loads(msgspec.json.encode(value)))
            shown.setdefault(type(value).__name__, set()).update(fields & given)
            for spec in msgspec.structs.fields(value):
                collect(getattr(value, spec.name))
        elif isinstance(value, list | tuple):
            for each in value:
                collect(each)
        elif isinstance(value, dict):
            for each in value.values():
                collect(each)

    for name, text in EXAMPLES:
        collect(msgspec.json.decode(text, type=STRUCTS[name]))
    for name in set(STRUCTS) - NOT_SENT:
        assert shown.get(name) == {spec.encode_name for spec in msgspec.structs.fields(STRUCTS[name])}, name


def test_the_message_shown_is_the_golden_one() -> None:
    """The request of section 4 is that of vectors/batch.json, header by header."""
    (shown,) = [text for tag, text in FENCES if tag == "http"]
    headers = VECTORS["batch"]()["request"]["headers"]
    start = ["POST /v1/batches HTTP/1.1", "Host: till.example"]
    assert shown.splitlines() == [*start, *(f"{name}: {value}" for name, value in headers.items())]
    assert f"`{CODE.text()}`" in DOC


# -- tables ------------------------------------------------------------------------------------------------------

def test_codes_are_listed_in_order() -> None:
    """The table is errors.CODES, row by row."""
    expected = [{"code": code, "status": str(status), "what the operator does": hint.replace("`", "")}
                for code, (status, hint) in CODES.items()]
    assert table("code") == expected, "\n".join(
        f"| `{code}` | {status} | {hint} |" for code, (status, hint) in CODES.items()
    )


def test_limits_are_listed() -> None:
    """The table is limits.py, with what happens at each bound."""
    rows = table("limit")
    assert {row["limit"]: row["value"] for row in rows} == {
        name: str(value) for name, value in vars(limits).items() if name.isupper()
    }
    assert all(len(row["at the bound"]) > 10 for row in rows)


@pytest.mark.parametrize("kind", records.KINDS)
def test_record_kinds_are_listed_with_every_field(kind: str) -> None:
    """In the order of the struct, with key and required fields marked."""
    struct = records.KINDS[kind]
    section = DOC.partition(f"### `{kind}`\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*)\| [^|]*\|$", section, re.MULTILINE)
    expected = []
    for spec in msgspec.structs.fields(struct):
        marks = ["key"] if spec.name == struct.key_field else []
        expected.append((spec.encode_name, ", ".join(marks + ["required"] * spec.required)))
    assert [(name, marks.strip()) for name, _, marks in rows] == expected
    types = {name: shown for name, shown, _ in rows}
    for spec in msgspec.structs.fields(struct):
        assert (types[spec.name] == "decimal") == ("Decimal" in str(spec.type))
        assert (types[spec.name] == "time") == ("datetime" in str(spec.type))


def test_names_of_the_wire_are_on_the_page() -> None:
    """Endpoints, content types, headers, tags, parameters, covered components, reasons and kinds."""
    words = {
        "POST /v1/enroll", "POST /v1/batches", "POST /v1/heartbeat", "POST /v1/mailbox", "GET /v1/hello",
        version.CONTENT_TYPE_JSON, version.CONTENT_TYPE_BATCH, "Tillbridge-Position", "Tillbridge-Boot",
        *signing._COVERS, *set.union(*signing._PARAMETERS.values()), signing.LABEL, *records.KINDS,
        *(kind.__struct_config__.tag for kind in STRUCTS.values() if kind.__struct_config__.tag_field == "answer"),
        *positions.Resync.__annotations__["reason"].__args__, *heartbeat.FeedHealth.__annotations__["state"].__args__,
        *orders.STATES, orders.ORDERS_FEED, "tillbridge-order-v1", *mailbox.MarkOrder.__annotations__["mark"].__args__,
        *records.AsOfKind.__args__, *changes.FeedInfo.__annotations__["absence"].__args__,
    }
    assert words <= SPANS, words - SPANS
    assert positions.POSITION_HEADER == "tillbridge-position"
    assert positions.BOOT_HEADER == "tillbridge-boot"
    for covers in (signing.REQUEST_COVERS, signing.ENROLL_COVERS, signing.RESPONSE_COVERS):
        assert " ".join(name if name.startswith('"') else f'"{name}"' for name in covers) in SPANS


# -- decisions ---------------------------------------------------------------------------------------------------

HEAD, OTHER = "aa" * 32, "bb" * 32
KNOWN = Known(epoch="now", seq=7, head=HEAD)


def asked(known: Known) -> Known:
    """The same, with a person having asked for a full state."""
    return Known(known.epoch, known.seq, known.head, resync_asked=True)


def batch(
    epoch: str = "now", seq: int = 8, prev: str = HEAD, head: str = OTHER, known: Known = KNOWN,
    logged: str | None = None,
) -> Verdict:
    """What the server decides; `logged` is what it applied at that seq."""
    return judge_batch(
        known, epoch=epoch, seq=seq, prev=prev, head=head, epoch_seen=epoch in ("now", "old"), logged_head=logged
    )


def beat(epoch: str = "now", seq: int = 7, head: str = HEAD, known: Known = KNOWN) -> Verdict:
    """What the server decides about a position."""
    return judge_position(known, epoch=epoch, seq=seq, head=head, epoch_seen=epoch in ("now", "old"))


BATCHES = {
    "next": [batch()],
    "new epoch": [
        batch("fresh", 1, ""), batch("fresh", 1, "", known=asked(KNOWN)), batch("e", 1, "", known=Known(None, 0, "")),
    ],
    "repeat": [batch(seq=7, logged=OTHER), batch(seq=1, logged=OTHER), batch(seq=7, logged=OTHER, known=asked(KNOWN))],
    "fork": [batch(seq=7, logged=HEAD), batch(seq=1, logged=HEAD)],
    "ahead": [batch(seq=9), batch(prev=OTHER)],
    "ahead in a new epoch": [batch("fresh", 2), batch("fresh", 1, HEAD)],
    "old epoch": [batch("old"), batch("old", 1, ""), batch("old", 99)],
    "asked": [batch(known=asked(KNOWN)), batch(seq=12, known=asked(KNOWN))],
}
HEARTBEATS = {
    "same": [beat()],
    "not begun": [beat("fresh", 0, ""), beat("fresh", 0, "", Known(None, 0, ""))],
    "behind": [beat(seq=6, head=OTHER), beat(seq=0, head="")],
    "ahead": [beat(seq=8, head=OTHER), beat("fresh", 3, OTHER)],
    "fork": [beat(head=OTHER)],
    "old epoch": [beat("old"), beat("old", 0, "")],
    "asked": [beat(known=asked(KNOWN)), beat(seq=3, known=asked(KNOWN))],
}
TAKEN = {Verdict.APPLY: "Ack", Verdict.BEGIN: "Ack", Verdict.REPEAT: "Ack", Verdict.SAME: "HeartbeatAnswer"}


@pytest.mark.parametrize(
    ("first_cell", "cases"), [("batch", BATCHES), ("heartbeat", HEARTBEATS)], ids=["batch", "heartbeat"]
)
def test_position_rules_are_those_of_the_server(first_cell: str, cases: dict[str, list[Verdict]]) -> None:
    """Each row of the two tables, asked of the server's own rules."""
    rows = table(first_cell)
    assert [row[first_cell] for row in rows] == list(cases)
    for row in rows:
        for verdict in cases[row[first_cell]]:
            word = TAKEN.get(verdict) or f"Resync {verdict.value}"
            assert word in row["answer"], (row, verdict)


def test_boot_rules_are_those_of_the_server() -> None:
    """Each row of the table of section 6."""
    start = dt.datetime(2026, 3, 14, 9, 0, tzinfo=dt.UTC)
    boots = Boots((("A", start), ("B", start + dt.timedelta(hours=1))), 5, start + dt.timedelta(hours=2))
    late, after = boots.seen[1][1] + dt.timedelta(seconds=2), boots.seen[1][1] + dt.timedelta(seconds=3)
    latest = start + dt.timedelta(hours=2)

    def judged(boot: str, n: int, created: dt.datetime, known: Boots = boots) -> BootVerdict:
        return judge_boot(known, boot=boot, n=n, created=created)[0]

    verdicts = {
        "goes on": {judged("B", 6, after), judged("B", 60, late)},
        "new start": {judged("C", 1, latest + dt.timedelta(seconds=1)), judged("A", 9, late, Boots((), 0))},
        "same second": {judged("C", 1, latest), judged("C", 70, latest)},
        "unheard": {judged("C", 1, after), judged("C", 1, latest - dt.timedelta(seconds=1))},
        "going back": {judged("B", 5, after), judged("B", 1, after)},
        "late packet": {judged("A", 99, late)},
        "clone": {judged("A", 99, after)},
    }
    expected = {"goes on": BootVerdict.FINE, "new start": BootVerdict.FINE, "clone": BootVerdict.CLONE,
                "same second": BootVerdict.EARLY}
    rows = table("boot")
    assert [row["boot"] for row in rows] == list(verdicts)
    for case, found in verdicts.items():
        assert found == {expected.get(case, BootVerdict.STALE)}
    assert CLONE_TOLERANCE_S == 2.0
