"""Real export files, where they lie beside the checkout: feed files alone give the facts that are known of them."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.fakes.tables import MemorySnapshot

from tillbridge_agent.cli.check import check
from tillbridge_agent.config import load_feed
from tillbridge_agent.core.delta import full_delta
from tillbridge_agent.evaluate import KnownFile, evaluate, open_rows

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT.parent / "shared" / "samples"
FEEDS = ROOT / "tests" / "golden" / "feeds"
NOW = dt.datetime(2026, 3, 14, 9, 26, tzinfo=dt.UTC)

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="NOT RUN: no samples beside the checkout")


def checked(feed: str, file: str, *more: str) -> dict[str, Any]:
    """The document of `check --json` for one sample."""
    arguments = [str(FEEDS / f"{feed}.toml"), str(SAMPLES / file), "--json", "--limit", "0", *more]
    result = CliRunner().invoke(check, arguments)
    assert result.exit_code in (0, 1), result.output
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def fields(document: dict[str, Any], kind: str, field: str) -> dict[str, str | None]:
    """One field of all records of a kind, by key."""
    return {record["key"]: record["fields"].get(field) for record in document["records"] if record["kind"] == kind}


def test_alltron() -> None:
    """Four items with their stock, purchase price and barcode; unbalanced inch marks do no harm."""
    document = checked("alltron", "alltron/4_alltron.csv")
    assert (document["verdict"], document["encoding"], document["problems"]) == ("accept", "utf-8", [])
    assert document["rows"] == {"read": 4, "accepted": 4, "rejected": 0, "filtered": 0}
    assert fields(document, "stock_level", "on_hand") == {"1028": "2134", "1116": "0", "1227": "106", "1257": "14"}
    assert fields(document, "cost", "cost") == {"1028": "3.72", "1116": "40.01", "1227": "5.44", "1257": "12.69"}
    barcodes = fields(document, "product", "gtin")
    assert (barcodes["1028"], barcodes["1116"]) == ("4015867568453", None)
    assert {record["kind"] for record in document["records"]} == {"product", "stock_level", "cost"}


def test_ingram_micro() -> None:
    """Decimal commas and leading zeros."""
    document = checked("ingram-micro", "ingram-micro/4_im.csv")
    assert (document["verdict"], document["problems"]) == ("accept", [])
    assert fields(document, "stock_level", "on_hand") == {
        "0180009": "54", "0180014": "6", "0180017": "108", "018Z046": "4",
    }
    assert fields(document, "cost", "cost") == {
        "0180009": "12.20", "0180014": "11.80", "0180017": "12.20", "018Z046": "133.60",
    }


def test_an_item_that_is_gone_for_a_day() -> None:
    """Three days as the agent judges them: both new, one gone, the same one new again."""
    feed = load_feed(FEEDS / "ingram-micro.toml")
    snapshot = MemorySnapshot()
    known: KnownFile | None = None
    story = []
    for day in (1, 2, 3):
        file = SAMPLES / "ingram-micro" / f"supply_item_reappears_0{day}.csv"
        result = evaluate(feed, file, name=file.name, old=known, snapshot=snapshot if known else None, now=NOW)
        assert (result.verdict, result.problems) == ("accept", ())
        delta = full_delta((), open_rows(feed, file, "utf-8")) if result.full else result.delta
        snapshot.apply(delta)
        known = result.known_at(file, feed)
        story.append({(change.key, change.op) for change in delta.changes})
    assert story == [{("0180009", "put"), ("0180014", "put")}, {("0180014", "gone")}, {("0180014", "put")}]


@pytest.mark.parametrize(("day", "counts", "ops"), [
    (2, {"new": 0, "changed": 0, "gone": 1, "same": 1}, {"gone"}),
    (3, {"new": 1, "changed": 0, "gone": 0, "same": 1}, {"put"}),
])
def test_an_item_that_is_gone_for_a_day_in_check(day: int, counts: dict[str, int], ops: set[str]) -> None:
    """`check --against` the day before says the same."""
    before = SAMPLES / f"ingram-micro/supply_item_reappears_0{day - 1}.csv"
    document = checked("ingram-micro", f"ingram-micro/supply_item_reappears_0{day}.csv", "--against", str(before))
    assert document["delta"] == {"against": "snapshot", **counts}
    assert {(change["key"], change["op"]) for change in document["changes"]} == {("0180014", op) for op in ops}


def test_jet_schweiz() -> None:
    """102 rows, one of separators only; 58 barcodes a spreadsheet has destroyed; one row that has slipped."""
    document = checked("jet-schweiz", "jet-schweiz/jet_products.csv")
    assert (document["verdict"], document["encoding"]) == ("accept", "iso-8859-1")
    assert document["rows"] == {"read": 102, "accepted": 101, "rejected": 0, "filtered": 1}
    assert document["delta"]["new"] == 101
    destroyed = [problem["column"] for problem in document["problems"] if problem["code"] == "gtin_scientific"]
    assert destroyed == ["EAN Code"] * 58
    # The slipped row holds a word where the barcode should be and a weight where the stock should be.
    slipped = [problem for problem in document["problems"] if problem["code"] != "gtin_scientific"]
    assert [(problem["line"], problem["code"]) for problem in slipped] == [
        (56, "number_fraction"), (56, "gtin_not_digits"),
    ]
    assert len(fields(document, "product", "title")) == 101
    stock = fields(document, "stock_level", "on_hand")
    assert len(stock) == 100
    assert stock["24620"] == "13"
    assert not any(fields(document, "product", "gtin").values())
