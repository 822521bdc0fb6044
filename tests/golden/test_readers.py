"""Golden cases of readers: same bytes, same feed, the same document of `check`, in any portions."""

import datetime as dt
import json
from pathlib import Path

import pytest

from tillbridge_agent.cli.check import check_document
from tillbridge_agent.config import load_feed
from tillbridge_agent.readers import READERS

CASES = Path(__file__).parent / "readers"
NOW = dt.datetime(2025, 11, 23, 8, 0, tzinfo=dt.UTC)


def _cases() -> list[Path]:
    return sorted(feed.parent for feed in CASES.glob("*/*/feed.toml"))


@pytest.mark.parametrize("case", _cases(), ids=lambda case: f"{case.parent.name}/{case.name}")
def test_golden_case(case: Path, update_golden: bool) -> None:
    """The document of the case is the expected one; `--update-golden` writes it anew, to be read in the diff."""
    (file,) = case.glob("input.*")
    before = next(iter(case.glob("before.*")), None)
    document = check_document(load_feed(case / "feed.toml"), file, against=before, limit=0, now=NOW)
    expected = case / "expected.json"
    if update_golden:
        expected.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert document == json.loads(expected.read_text(encoding="utf-8"))


def test_every_format_has_cases() -> None:
    """A reader without golden cases is not finished."""
    assert {case.parent.name for case in _cases()} == set(READERS)
