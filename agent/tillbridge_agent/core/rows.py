"""The values that pass between reader, mapping and delta: rows, mapped rows, problems."""

from dataclasses import dataclass
from typing import Literal

from tillbridge_protocol.records import Record


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read: `line` is the first file line it stands on (1-based), `cells` in file order."""

    line: int
    text: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a row that was not believed: the whole row, or only the fields of one column."""

    line: int
    column: str
    text: str
    effect: Literal["row", "field"]
    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """A row after mapping.

    `key` is the row key (None when it cannot be told), `records` what was understood, `failed` the kinds
    that this row should have given but did not because of a problem: their last known value is kept.
    `filtered` rows are left out on purpose (empty, or by a rule of the feed) and have no records.
    """

    row: Row
    key: str | None
    records: tuple[Record, ...]
    failed: frozenset[str]
    problems: tuple[Problem, ...]
    filtered: bool
