"""`explain` in the terminal: the whole answer to "why does the web show 3 at 12.99?", and a readable refusal."""

import copy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tillbridge_server.cli import asking, cli

ROW = {"file": "STOCK.CSV", "line": 7, "text": "0003;Zange\r\n\x1b[31m;-2;20,00"}
PUBLISHED = {"available": "0", "price": "20.00", "at": "2026-11-23T09:41:20Z"}
DOCUMENT: dict[str, Any] = {
    "v": 1, "storefront": "window", "variant": "pos:0003", "at": "2026-11-23T09:41:32Z", "title": "Zange",
    "available": {"value": "0", "unclamped": "-2", "terms": [
        {"term": "clamp", "value": "2", "location": "", "order": None, "rule": "never_below_zero v1", "source": None},
        {"term": "count", "value": "-2", "location": "mallow", "order": None, "rule": "count v1", "source": ROW},
    ]},
    "price": {"value": "20.00", "rule": "list_price v1", "source": ROW},
    "visibility": {"state": "held", "why": ["price_drop"]},
    "breakers": [{"hold": "b-1", "code": "price_drop", "state": "open", "message": "6 prices would fall."}],
    "conflicts": [{"field": "price", "values": [
        {"where": "ennis/stock", "value": "19.00 CHF"}, {"where": "mallow/stock", "value": "20.00 CHF"},
    ]}],
    "published": PUBLISHED,
}


def told(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], *words: str) -> tuple[int, str]:
    """Exit code and words of `explain`."""
    monkeypatch.setattr(asking, "load_config", lambda path: Path(path))
    monkeypatch.setattr(asking, "ask", lambda *_: copy.deepcopy(document))
    ended = CliRunner().invoke(cli, ["explain", "0003", *words])
    return ended.exit_code, ended.output


def test_the_number_its_rows_and_what_the_web_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted first, then taken off; row texts cannot command the terminal."""
    code, words = told(monkeypatch, DOCUMENT)
    assert code == 0
    assert words.splitlines() == [
        "pos:0003 · Zange in window, as of 2026-11-23T09:41:32Z",
        "        -2  count        mallow · STOCK.CSV · line 7",
        "            0003;Zange   [31m;-2;20,00",
        "         2  clamp",
        "         0  available",
        "     20.00  price        list_price v1 · STOCK.CSV · line 7",
        "            0003;Zange   [31m;-2;20,00",
        "  feeds disagree about price: ennis/stock says 19.00 CHF; mallow/stock says 20.00 CHF",
        "  price_drop, hold b-1: 6 prices would fall.",
        "  held: price_drop; the web shows 0 at 20.00 since 2026-11-23T09:41:20Z",
    ]


def test_what_is_not_on_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing known, nothing shown."""
    nothing = {
        **DOCUMENT, "title": None, "available": {"value": None, "unclamped": None, "terms": []},
        "price": {"value": None, "rule": "no_selling_price", "source": None}, "breakers": [], "conflicts": [],
        "published": None, "visibility": {"state": "hidden", "why": ["price_unknown"]},
    }
    code, words = told(monkeypatch, nothing)
    assert code == 0
    assert words.splitlines()[-1] == "  hidden: price_unknown; not on the web"


@pytest.mark.parametrize("at", ["yesterday", "2026-11-23T14:30:00"])
def test_an_instant_that_is_none_is_a_wrong_call(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Exit 2, and how to write it."""
    code, words = told(monkeypatch, DOCUMENT, "--at", at)
    assert code == 2
    assert at in words
    assert "2026-11-23T14:30:00+01:00" in words
