"""`tillbridge-agent check FEED FILE`: what a feed would read in a file, with no agent running and nothing changed."""

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tillbridge_agent.config import FeedConfig, load_agent_config, load_feed
from tillbridge_agent.core.limits import PROBLEMS_KEPT_MAX
from tillbridge_agent.core.rows import Mapped, Problem
from tillbridge_agent.errors import ConfigError
from tillbridge_agent.evaluate import Evaluation, evaluate, open_rows
from tillbridge_protocol.records import Record, fields_of, key_of, kind_of

#: Exit codes of SHAPES: nothing to say · something found · configuration or usage.
_OK, _FINDINGS, _USAGE = 0, 1, 2
_VERDICTS = {
    "accept": "Would be accepted", "hold": "Would be held until a person decides",
    "quarantine": "Would be put into quarantine", "nothing": "Would change nothing",
    "pending": "Is not complete yet; would be looked at again when it changes",
}


@click.command()
@click.argument("feed")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for scripts.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=0),
              help="Records and changes to show; 0 shows all.")
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="An earlier export: show what has changed since then.")
@click.option("--config", "config_file", default="agent.toml", show_default=True, type=click.Path(path_type=Path),
              envvar="TILLBRIDGE_AGENT_CONFIG",
              help="Where FEED is looked up when it is a name.")
def check(feed: str, file: Path, as_json: bool, limit: int, against: Path | None, config_file: Path) -> None:
    """Show what FEED, a TOML file or a configured name, reads in FILE.

    Nothing is changed and no agent is needed. Ends with 0 when all is well, 1 when something was found,
    2 when the configuration cannot be used.
    """
    try:
        config = find_feed(feed, config_file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(_USAGE) from error
    document = check_document(config, file, against=against, limit=limit, now=dt.datetime.now(dt.UTC))
    click.echo(json.dumps(document) if as_json else _as_text(document))
    clean = document["verdict"] == "accept" and not document["problems"] and not document["reasons"]
    raise SystemExit(_OK if clean else _FINDINGS)


def find_feed(feed: str, config_file: Path) -> FeedConfig:
    """The feed of a TOML file, or of this name in agent.toml. Raises ConfigError."""
    if feed.endswith(".toml") or Path(feed).is_file():
        return load_feed(feed)
    return load_agent_config(config_file).feed(feed)


def check_document(
    feed: FeedConfig, file: Path, *, against: Path | None, limit: int, now: dt.datetime
) -> dict[str, Any]:
    """The document of SHAPES for one file; `limit` 0 shows all records and changes."""
    old = None
    if against is not None:
        before = evaluate(feed, against, name=against.name, old=None, snapshot=None, now=now)
        old = before.known_at(against, feed) if before.verdict in ("accept", "hold") and before.rows.read else None
    found = evaluate(feed, file, name=file.name, old=old, snapshot=None, now=now)
    mapped = _Shown(feed, file, found, limit) if found.rows.read else None
    duplicates = sum(problem.code == "duplicate_key" for problem in found.delta.problems)
    counts = found.delta.counts
    return {
        "v": 1, "feed": feed.name, "file": {"name": file.name, "bytes": found.bytes, "sha256": found.sha256},
        "verdict": found.verdict, "encoding": found.encoding,
        "reasons": [
            {"code": reason.code, "message": reason.message, "hint": reason.hint}
            for reason in sorted(found.reasons, key=lambda reason: reason.code)
        ],
        "rows": {
            "read": found.rows.read, "accepted": found.rows.accepted - duplicates,
            "rejected": found.rows.rejected + duplicates, "filtered": found.rows.filtered,
        },
        "problems": [_problem(problem) for problem in (mapped.problems if mapped else found.problems)],
        "records": mapped.records if mapped else [],
        "delta": {
            "against": "nothing" if old is None else "snapshot",
            "new": counts.new, "changed": counts.changed, "gone": counts.gone, "same": counts.same,
        },
        "changes": _changes(found, limit) if old is not None else (mapped.first_changes if mapped else []),
    }


class _Shown:
    """What is shown of the rows of a file: records, and on a first load the changes they would be."""

    def __init__(self, feed: FeedConfig, file: Path, found: Evaluation, limit: int) -> None:
        assert found.encoding is not None, "rows were read"
        #: Where all is asked for, problems beyond those an evaluation keeps are read again.
        every_problem = limit == 0 and found.problems_total > PROBLEMS_KEPT_MAX
        rows = list(open_rows(feed, file, found.encoding)) if every_problem else open_rows(feed, file, found.encoding)
        self.problems: list[Problem] = list(found.problems)
        if every_problem:
            self.problems = [problem for mapped in rows for problem in mapped.problems] + found.delta.problems
            self.problems.sort(key=lambda problem: (problem.line, problem.column))
        said = itertools.islice(_records(iter(rows), found.conflicts), limit or None)
        pairs = sorted(said, key=lambda pair: (kind_of(pair[1]), key_of(pair[1]), pair[0]))
        self.records = [
            {"kind": kind_of(record), "key": key_of(record), "line": line, "fields": fields_of(record)}
            for line, record in pairs
        ]
        #: Equal rows of one key are one change.
        changes = {(entry["kind"], entry["key"]): entry["fields"] for entry in self.records}
        self.first_changes = [
            {"kind": kind, "key": key, "op": "put", "before": None, "after": fields}
            for (kind, key), fields in changes.items()
        ]


def _records(rows: Iterator[Mapped], conflicts: frozenset[str]) -> Iterator[tuple[int, Record]]:
    for mapped in rows:
        if mapped.key not in conflicts:
            for record in mapped.records:
                yield mapped.row.line, record


def _changes(found: Evaluation, limit: int) -> list[dict[str, Any]]:
    shown = found.delta.changes[: limit or None]
    return [
        {
            "kind": change.kind, "key": change.key, "op": change.op,
            "before": None if change.before is None else fields_of(change.before),
            "after": None if change.record is None else fields_of(change.record),
        }
        for change in sorted(shown, key=lambda change: (change.kind, change.key))
    ]


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "line": problem.line, "column": problem.column, "text": problem.text, "effect": problem.effect,
        "code": problem.code, "message": problem.message, "hint": problem.hint,
    }


def _as_text(document: dict[str, Any]) -> str:
    """The document for people: verdict first, then why, then what was read."""
    rows, delta = document["rows"], document["delta"]
    lines = [
        f"{document['file']['name']} · feed {document['feed']} · {document['file']['bytes']:,} bytes"
        + (f" · {document['encoding']}" if document["encoding"] else ""),
        f"{_VERDICTS[document['verdict']]}.",
    ]
    for reason in document["reasons"]:
        lines += [f"  {reason['message']}", f"    {reason['hint']}"]
    lines.append(
        f"Rows: {rows['read']:,} read, {rows['accepted']:,} accepted, {rows['rejected']:,} refused, "
        f"{rows['filtered']:,} left out on purpose."
    )
    since = "the earlier export" if delta["against"] == "snapshot" else "nothing"
    same = "" if delta["same"] is None else f", {delta['same']:,} as before"
    lines.append(f"Against {since}: {delta['new']:,} new, {delta['changed']:,} changed, {delta['gone']:,} gone{same}.")
    if document["problems"]:
        lines.append(f"Problems: {len(document['problems']):,}")
    for problem in document["problems"]:
        where = f"line {problem['line']}" + (f", {problem['column']}" if problem["column"] else "")
        lines += [f"  {where}: {problem['message']}", f"    {problem['hint']}"]
    if document["records"]:
        lines.append("Records:")
    for record in document["records"]:
        fields = ", ".join(f"{name} {value}" for name, value in record["fields"].items())
        lines.append(f"  {record['kind']} {record['key']} (line {record['line']}): {fields}")
    if delta["against"] == "snapshot" and document["changes"]:
        lines.append("Changes:")
        lines += [f"  {_change_text(change)}" for change in document["changes"]]
    return "\n".join(lines)


def _change_text(change: dict[str, Any]) -> str:
    if change["op"] == "gone":
        return f"{change['kind']} {change['key']}: gone"
    before = change["before"]
    if before is None:
        return f"{change['kind']} {change['key']}: new"
    parts = [f"{name} {before.get(name, 'unknown')} → {value}" for name, value in change["after"].items()
             if before.get(name) != value]
    parts += [f"{name} {value} → unknown" for name, value in before.items() if name not in change["after"]]
    return f"{change['kind']} {change['key']}: {', '.join(parts)}"
