"""Lists of the server's command line end with 1 when they hold anything, so that scripts need not read them."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tillbridge_server.cli import asking, cli

HOLD = {
    "id": "h1", "what": "breaker", "where": "window", "since": "2026-03-14T09:00:00.000000Z", "affected": 1,
    "reason": {"code": "to_zero", "message": "m", "hint": "h"}, "sample": [],
}
LETTER = {
    "id": "d1", "from": "agent", "since": "2026-03-14T09:00:00.000000Z", "code": "conflict", "message": "m",
    "payload_sha256": "ab",
}


@pytest.mark.parametrize(("verb", "key", "entry"), [("holds", "holds", HOLD), ("dead-letters", "dead_letters", LETTER)])
@pytest.mark.parametrize("entries", [0, 1])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_lists_end_with_what_they_found(
    verb: str, key: str, entry: dict[str, Any], entries: int, more: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0 when there is nothing, 1 when a person has to look."""
    config = tmp_path / "server.toml"
    config.write_text('name = "Shops"\n', encoding="utf-8")
    monkeypatch.setattr(asking, "ask", lambda config, verb, arguments: {"v": 1, key: [entry] * entries})
    result = CliRunner().invoke(cli, [verb, "--config", str(config), *more])
    assert result.exit_code == entries, result.output


def test_a_scan_in_the_ledger_has_no_quantity_and_harms_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a label holds is printed as text; that it has no price is not called unknown."""
    config = tmp_path / "server.toml"
    config.write_text('name = "Shops"\n', encoding="utf-8")
    entry = {
        "id": "5a", "kind": "scan", "location": "mallow", "code": "0107612\x1d10\x1b[31m", "quantity": None,
        "price": None, "at": "2026-03-14T09:00:00.000000Z", "source": {},
    }
    monkeypatch.setattr(asking, "ask", lambda config, verb, arguments: {"v": 1, "entries": [entry]})
    result = CliRunner().invoke(cli, ["ledger", "--kind", "scan", "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert "0107612 10 [31m" in result.output
    assert "unknown" not in result.output
