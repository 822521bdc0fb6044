"""Verbs that ask the running agent: what they end with, so that a script sees findings without reading."""

import json
import sys
from typing import Any

import pytest

from tillbridge_agent.cli import asking, main

HOLD = {
    "id": "h1", "what": "file", "where": "stock", "file": "STOCK.CSV", "since": "2026-11-23T08:00:00Z",
    "reason": {"code": "rows_lost", "message": "12 rows are gone.", "hint": "Look."}, "affected": 36, "sample": [],
}
ENTRY = {
    "id": "q1", "what": "file", "feed": "stock", "file": "STOCK.CSV", "since": "2026-11-23T08:00:00Z", "line": 0,
    "column": "", "text": "", "count": 1, "reason": {"code": "binary", "message": "No text.", "hint": "Export text."},
}
PROBLEM = {"code": "key_revoked", "message": "The key was revoked.", "hint": "Enroll again."}
STATUS: dict[str, Any] = {
    "v": 1, "agent": "a", "location": "mallow", "version": "1",
    "server": {"url": "http://127.0.0.1", "state": "online", "last_ack_at": None, "error": None},
    "outbox": {"changes": 0, "events": 0}, "feeds": [],
    "orders": {"received": 0, "ready": 0, "published": 0, "uncertain": 0},
}


@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize(("verb", "document", "code"), [
    (["status"], {**STATUS, "problems": []}, 0),
    (["status"], {**STATUS, "problems": [PROBLEM]}, 1),
    (["holds", "list"], {"v": 1, "holds": []}, 0),
    (["holds", "list"], {"v": 1, "holds": [HOLD]}, 1),
    (["quarantine", "list"], {"v": 1, "quarantine": []}, 0),
    (["quarantine", "list"], {"v": 1, "quarantine": [ENTRY]}, 1),
])
def test_findings_end_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: list[str], document: dict[str, Any],
    code: int, words: list[str],
) -> None:
    """For people and for scripts alike; the document is on stdout in both cases."""
    monkeypatch.setattr(asking, "_ask", lambda *_: document)
    monkeypatch.setattr(sys, "argv", ["tillbridge-agent", *verb, *words])
    ended = 0
    try:
        main()
    except SystemExit as said:
        ended = int(said.code or 0)
    assert ended == code
    told = capsys.readouterr().out
    assert json.loads(told) == document if words else told
