"""Golden cases of import formats: same order, same template, the same bytes, or the same refusal."""

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tillbridge_agent.imports import IMPORTS, OrdersConfig, Unwritable, render
from tillbridge_protocol.orders import Order

CASES = Path(__file__).parent / "imports"
BODY = "expected.bytes"


def _cases() -> list[Path]:
    return sorted(template.parent for template in CASES.glob("*/*/orders.toml"))


def rendered(case: Path) -> tuple[dict[str, Any], bytes | None]:
    """What is said about a case, and the bytes of its file where there is one."""
    given = json.loads((case / "order.json").read_text(encoding="utf-8"))
    table = tomllib.loads((case / "orders.toml").read_text(encoding="utf-8"))["orders"]
    config = msgspec.convert({"format": case.parent.name, **table}, OrdersConfig)
    assert config.faults() == []
    order = msgspec.convert(given["order"], Order)
    try:
        made = render(config, order, sequence=given["sequence"])
    except Unwritable as error:
        return {"refused": error.code, "message": error.message, "hint": error.hint}, None
    return {"name": made.name, "notes": list(made.notes)}, made.body


@pytest.mark.parametrize("case", _cases(), ids=lambda case: f"{case.parent.name}/{case.name}")
def test_golden_case(case: Path, update_golden: bool) -> None:
    """Byte for byte; `--update-golden` writes it anew, to be read in the diff."""
    said, body = rendered(case)
    expected, file = case / "expected.json", case / BODY
    if update_golden:
        expected.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if body is not None:
            file.write_bytes(body)
    assert said == json.loads(expected.read_text(encoding="utf-8"))
    assert body == (file.read_bytes() if file.exists() else None)


def test_every_format_has_cases() -> None:
    """A format without golden cases, one of them refused, is not finished."""
    assert {case.parent.name for case in _cases()} == set(IMPORTS)
    assert {case.parent.name for case in _cases() if not (case / BODY).exists()} == set(IMPORTS)
