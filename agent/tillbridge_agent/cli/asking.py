"""Verbs that ask the running agent over its local door: status, quarantine, holds, orders."""

import asyncio
import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tillbridge_agent.cli.running import config_option
from tillbridge_agent.config import load_agent_config
from tillbridge_agent.local import ask

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
FINDINGS = 1


@click.command()
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """How this agent is doing; ends with 1 when something needs a person."""
    document = _ask(config_path, "status", {})
    _tell(document, as_json, _tell_status)
    if document["problems"]:
        raise SystemExit(FINDINGS)


@click.group()
def quarantine() -> None:
    """Files and rows that could not be read, each with its reason."""


@quarantine.command("list")
@config_option
@json_option
def quarantine_list(config_path: Path, as_json: bool) -> None:
    """What is in quarantine, newest first; ends with 1 when anything is."""
    document = _ask(config_path, "quarantine-list", {})
    _tell(document, as_json, _tell_quarantine)
    if document["quarantine"]:
        raise SystemExit(FINDINGS)


@quarantine.command("show")
@click.argument("entry")
@config_option
@json_option
def quarantine_show(entry: str, config_path: Path, as_json: bool) -> None:
    """One entry with its text and what to do."""
    _tell(_ask(config_path, "quarantine-show", {"id": entry}), as_json, lambda one: _tell_entry(one["entry"]))


@quarantine.command("retry")
@click.argument("entry")
@config_option
@json_option
def quarantine_retry(entry: str, config_path: Path, as_json: bool) -> None:
    """Look at the feed's folder again without this entry, for example after the file was put right."""
    words = "The folder of the feed is looked at again; a file that is still not readable comes back here."
    _tell(_ask(config_path, "quarantine-retry", {"id": entry}), as_json, lambda one: words)


@quarantine.command("drop")
@click.argument("entry")
@config_option
@json_option
def quarantine_drop(entry: str, config_path: Path, as_json: bool) -> None:
    """Close it for good; the same content is not looked at again."""
    _tell(_ask(config_path, "quarantine-drop", {"id": entry}), as_json, lambda one: "Dropped.")


@click.group()
def holds() -> None:
    """Files that look believable but wait for a person's decision."""


@holds.command("list")
@config_option
@json_option
def holds_list(config_path: Path, as_json: bool) -> None:
    """What is held; ends with 1 when anything is."""
    document = _ask(config_path, "holds-list", {})
    _tell(document, as_json, _tell_holds)
    if document["holds"]:
        raise SystemExit(FINDINGS)


@holds.command("show")
@click.argument("hold")
@config_option
@json_option
def holds_show(hold: str, config_path: Path, as_json: bool) -> None:
    """One hold: why, and the first changes it would make."""
    _tell(_ask(config_path, "holds-show", {"id": hold}), as_json, lambda one: _tell_hold(one["hold"]))


def _decider(decision: str, words: str) -> click.Command:
    @click.command(decision, help=words)
    @click.argument("hold")
    @click.option("--why", default="", help="The reason, kept with the hold.")
    @config_option
    @json_option
    def decide(hold: str, why: str, config_path: Path, as_json: bool) -> None:
        by = getpass.getuser()
        document = _ask(config_path, "holds-decide", {"id": hold, "decision": decision, "why": why, "by": by})
        _tell(document, as_json, lambda one: f"{one['id']} is {one['state']}; {one['changes']} changes are queued.")

    return decide


holds.add_command(_decider("approve", "Believe the held file, this once; its changes are queued at once."))
holds.add_command(_decider("reject", "Do not use the held file; the last accepted state stays."))


@click.group()
def orders() -> None:
    """Web orders on their way into the till."""


@orders.command("list")
@click.option("--all", "every", is_flag=True, help="Also those the till has accepted, and those called off.")
@config_option
@json_option
def orders_list(every: bool, config_path: Path, as_json: bool) -> None:
    """The orders something still becomes of; ends with 1 when one of them needs a person."""
    document = _ask(config_path, "orders-list", {"all": every})
    _tell(document, as_json, _tell_orders)
    if any(one["overdue"] for one in document["orders"]):
        raise SystemExit(FINDINGS)


@orders.command("show")
@click.argument("order")
@config_option
@json_option
def orders_show(order: str, config_path: Path, as_json: bool) -> None:
    """One ORDER: where it stands and what was ordered, to look for it at the till or to key it in."""
    _tell(_ask(config_path, "orders-show", {"id": order}), as_json, lambda one: _tell_order(one["order"]))


@orders.command("mark")
@click.argument("order")
@click.argument("mark", type=click.Choice(["imported"]))
@click.option("--why", required=True, help="What you saw at the till; kept with the order.")
@config_option
@json_option
def orders_mark(order: str, mark: str, why: str, config_path: Path, as_json: bool) -> None:
    """Say that ORDER is in the till; it is not placed any more, and head office is told."""
    arguments = {"id": order, "mark": mark, "why": why, "by": getpass.getuser()}
    _tell(_ask(config_path, "orders-mark", arguments), as_json, lambda one: f"{one['id']} is {one['state']}.")


VERBS = (status, quarantine, holds, orders)


def _ask(config_path: Path, verb: str, arguments: dict[str, Any]) -> Any:
    config = load_agent_config(config_path)
    return asyncio.run(ask(config.state, verb, arguments))


def _tell(document: Any, as_json: bool, words: Callable[[Any], str]) -> None:
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else words(document))


def _tell_status(document: dict[str, Any]) -> str:
    server, waiting = document["server"], document["outbox"]
    lines = [
        f"{document['location']} · agent {document['agent']} · version {document['version']}",
        f"Server {server['url']}: {server['state']}, last answer to a batch {server['last_ack_at'] or 'never'}.",
        f"{waiting['changes']} changes and {waiting['events']} events wait to be sent.",
    ]
    for feed in document["feeds"]:
        accepted = feed["accepted"]
        lines.append(f"  {feed['name']:<16} {feed['state']:<8} {accepted['name'] or 'nothing accepted yet'} "
                     f"{accepted['at'] or ''} {accepted['rows']} rows, {feed['holds']} held, "
                     f"{feed['quarantined']} in quarantine")
    counts = document["orders"]
    if any(counts.values()):
        lines.append(f"Orders: {counts['received']} received, {counts['ready']} ready, "
                     f"{counts['published']} placed and not answered yet, {counts['uncertain']} uncertain.")
    for problem in document["problems"]:
        lines += [f"! {problem['message']}", f"  {problem['hint']}"]
    return "\n".join(lines)


def _tell_quarantine(document: dict[str, Any]) -> str:
    if not document["quarantine"]:
        return "Quarantine is empty."
    return "\n".join(_tell_entry(one) for one in document["quarantine"])


def _tell_entry(one: dict[str, Any]) -> str:
    where = f"{one['file']}, line {one['line']}" if one["line"] else one["file"]
    times = f" ({one['count']} times)" if one["count"] > 1 else ""
    text = f"\n    text: {one['text']}" if one["text"] else ""
    return (f"{one['id']}  {one['feed']}  {where}  since {one['since']}{times}\n"
            f"    {one['reason']['message']}{text}\n    {one['reason']['hint']}")


def _tell_holds(document: dict[str, Any]) -> str:
    if not document["holds"]:
        return "Nothing is held."
    return "\n".join(
        f"{one['id']}  {one['where']}  {one['file']}  since {one['since']}  {one['affected']} changes\n"
        f"    {one['reason']['message']}\n    {one['reason']['hint']}" for one in document["holds"]
    )


def _tell_hold(one: dict[str, Any]) -> str:
    lines = [f"{one['id']}  {one['where']}  {one['file']}  {one['state']}, since {one['since']}",
             f"    {one['reason']['message']}", f"    {one['reason']['hint']}",
             f"    It would make {one['affected']} changes, the first of them:"]
    for change in one["sample"]:
        before = change["before"] if change["before"] is not None else "unknown"
        after = change["after"] if change["after"] is not None else "gone"
        lines.append(f"      {change['kind']} {change['key']}: {before} → {after}")
    return "\n".join(lines)


def _tell_orders(document: dict[str, Any]) -> str:
    if not document["orders"]:
        return "No order waits for anything."
    return "\n".join(_order_line(one) for one in document["orders"])


def _order_line(one: dict[str, Any]) -> str:
    words = f"{one['id']:<22} {one['state']:<10} since {one['since'][:19]}Z  {one['file'] or ''}".rstrip()
    words += f"\n    {one['message']}" if one["message"] else ""
    return words + (f"\n    {one['next_step']}" if one["next_step"] else "")


def _tell_order(one: dict[str, Any]) -> str:
    lines = [_order_line(one)]
    if one["lines"] is None:
        return "\n".join([*lines, "    What was ordered is not kept here any more."])
    lines.append(f"    Number {one['number']} of {one['storefront']}, placed {one['placed_at'][:19]}Z, "
                 f"total {one['total']} {one['currency']}")
    lines += [
        f"    {line['line']:>3}  {line['quantity']} x {line['code']}  {line['unit_price']}  {line.get('title') or ''}"
        .rstrip() for line in one["lines"]
    ]
    lines += [f"    {name}: {text}" for name, text in one["shopper"].items()]
    return "\n".join(lines)
