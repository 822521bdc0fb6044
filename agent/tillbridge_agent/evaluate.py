"""Judges one file of a feed: surveys it, finds how it differs from the last accepted one, and asks the trust gate."""

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import Path

from tillbridge_agent.core import gate
from tillbridge_agent.core.delta import DeltaResult, Snapshot
from tillbridge_agent.core.feed import FeedConfig
from tillbridge_agent.core.gate import GateFacts, Reason, RowCounts, Verdict
from tillbridge_agent.core.limits import PROBLEMS_KEPT_MAX
from tillbridge_agent.core.mapping import check_columns, mapped_columns
from tillbridge_agent.core.rows import Problem
from tillbridge_agent.errors import AgentError, MappingError, ReadError
from tillbridge_agent.filedelta import FileDelta, KnownFile, OnRow, find_delta
from tillbridge_agent.rowstream import Segment, open_rows, read_head, read_segment
from tillbridge_agent.survey import survey

__all__ = ["Evaluation", "KnownFile", "OnRow", "RowCounts", "Segment", "evaluate", "open_rows", "read_segment"]

_EMPTY = Reason(
    "empty", "The file is empty.",
    "Nothing to do: nothing is changed by it. If rows were expected, look at the export in the till.",
)
_WAIT = "Nothing to do while the till is still writing. If it has finished, run the export again."
_HALF_CHARACTER = Reason("half_written", "The file ends in the middle of a character.", _WAIT)
_HALF_HEADER = Reason("half_written", "The file ends in its first line, before all columns are named.", _WAIT)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found in one file.

    `rows` are the counts of the whole file before duplicates are settled; `problems` at most PROBLEMS_KEPT_MAX of
    `problems_total`, in file order, only of rows that were looked at; `cleared` the problems of rows that are gone.
    `conflicts` are keys with differing rows, known on a first load without `on_row`. With `full` the whole file is
    to be sent as a full state: `delta` is then a preview, and on a first load its changes are counted, not kept.
    """

    feed: str
    name: str
    at: dt.datetime
    verdict: Verdict
    reasons: tuple[Reason, ...]
    bytes: int
    sha256: str
    fingerprint: str
    encoding: str | None = None
    columns: tuple[str, ...] = ()
    rows: RowCounts = field(default_factory=RowCounts)
    problems: tuple[Problem, ...] = ()
    problems_total: int = 0
    cleared: tuple[Problem, ...] = ()
    delta: DeltaResult = field(default_factory=DeltaResult)
    full: bool = False
    conflicts: frozenset[str] = frozenset()
    one_line: bool = False

    @property
    def approvable(self) -> bool:
        """Whether a person may overrule this hold: only guards; a lost column or a wrong store must be put right."""
        return self.verdict == "hold" and all(reason.code in gate.GUARD_CODES for reason in self.reasons)

    def known_at(self, path: Path, feed: FeedConfig) -> KnownFile:
        """This file as the last accepted one, its copy kept at `path`."""
        assert self.encoding is not None, "only a file that was read is accepted"
        return KnownFile(
            path=path, sha256=self.sha256, encoding=self.encoding, columns=self.columns, rows=self.rows,
            fingerprint=self.fingerprint, one_line=self.one_line, feed=feed,
        )


def evaluate(
    feed: FeedConfig, file: Path, *, name: str, old: KnownFile | None, snapshot: Snapshot | None, now: dt.datetime,
    on_row: OnRow | None = None, counts: RowCounts | None = None,
) -> Evaluation:
    """Judge `file`, a private copy that does not change; `name` is how people know it, `now` when it is judged.

    `old` and `snapshot` are the last accepted state; without `snapshot` the old copy itself is. Where the answer is
    `full`, `on_row` hears of every row that counts. `counts` are those of the last accepted file where only its copy
    is lost: rows that go missing are noticed all the same. Raises OSError when a file cannot be read.
    """
    seen = survey(file, feed.reader)
    result = Evaluation(
        feed=feed.name, name=name, at=now, verdict="accept", reasons=(), bytes=seen.bytes, sha256=seen.sha256,
        fingerprint=feed.fingerprint, encoding=seen.encoding,
    )
    if seen.fault is not None:
        return _ended(result, "quarantine", seen.fault)
    if seen.encoding is None:
        return replace(result, verdict="nothing", reasons=(_EMPTY,))
    if seen.cut_character:
        return replace(result, verdict="pending", reasons=(_HALF_CHARACTER,))
    try:
        head = read_head(file, feed.reader, seen.encoding)
        result = replace(result, columns=head.columns)
        if not head.complete and set(mapped_columns(feed.mapping)) - set(head.columns):
            return replace(result, verdict="pending", reasons=(_HALF_HEADER,))
        check_columns(feed.mapping, head.columns)
        found = find_delta(feed, file, seen.encoding, head, old=old, snapshot=snapshot, on_row=on_row)
    except ReadError as error:
        return _ended(result, "quarantine", error)
    except MappingError as error:
        return _ended(result, "hold", error)
    return _judged(feed, result, found, old, old.rows if old else counts)


def _judged(
    feed: FeedConfig, result: Evaluation, found: FileDelta, old: KnownFile | None, known: RowCounts | None,
) -> Evaluation:
    if found.cut is not None:
        return replace(result, verdict="pending", reasons=(found.cut,))
    verdict, reasons = gate.judge(feed, GateFacts(
        rows=found.rows, known=known, unreadable=found.new.unreadable,
        elsewhere=found.new.elsewhere, example=found.new.example, gone=found.delta.counts.gone,
        changes=found.delta.changes,
    ))
    problems = sorted([*found.new.problems, *found.delta.problems], key=lambda problem: (problem.line, problem.column))
    return replace(
        result, verdict=verdict, reasons=reasons + (_notes(result.columns, old) if verdict == "accept" else ()),
        rows=found.rows,
        problems=tuple(problems[:PROBLEMS_KEPT_MAX]),
        problems_total=found.new.problems_total + len(found.delta.problems), cleared=tuple(found.gone.problems),
        delta=found.delta, full=found.full, conflicts=found.conflicts, one_line=found.one_line,
    )


def _notes(columns: tuple[str, ...], old: KnownFile | None) -> tuple[Reason, ...]:
    """What is worth telling about columns that nothing is read from; it holds nothing up."""
    if old is None or set(columns) == set(old.columns):
        return ()
    notes = []
    if extra := [column for column in columns if column not in old.columns]:
        notes.append(Reason(
            "column_extra", f"The file has new columns: {_listed(extra)}. Nothing is read from them.",
            "Nothing to do. To use a new column, name it in the mapping.",
        ))
    if lost := [column for column in old.columns if column not in columns]:
        notes.append(Reason(
            "column_lost", f"The file no longer has the columns {_listed(lost)}. Nothing was read from them.",
            "Nothing to do.",
        ))
    return tuple(notes)


def _ended(result: Evaluation, verdict: Verdict, error: AgentError) -> Evaluation:
    return replace(result, verdict=verdict, reasons=(Reason(error.code, error.message, error.hint),))


def _listed(columns: list[str]) -> str:
    shown = ", ".join(f"“{column}”" for column in columns[:5])
    return f"{shown} and {len(columns) - 5} more" if len(columns) > 5 else shown
