"""Verbs that ask a running server over its door: invite, offers, explain, ledger, holds, dead-letters and others."""

import datetime as dt
import json
from typing import Any

import click

from tillbridge_server.cli.running import config_option
from tillbridge_server.cli.telling import (
    tell_agents,
    tell_dead_letters,
    tell_explanation,
    tell_holds,
    tell_ledger,
    tell_offers,
)
from tillbridge_server.config import ServerConfig, load_config
from tillbridge_server.door import Call, NotRunning, ask
from tillbridge_server.errors import TillbridgeError
from tillbridge_server.store.database import transact
from tillbridge_server.store.opening import open_database

#: Exit code of a verb that found something a person has to look at.
FINDINGS = 1
PHASES = ("observe", "stock_and_price", "orders", "everything")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def _instant(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """An instant as it was written, when it can be read and says its zone."""
    try:
        if text is None or dt.datetime.fromisoformat(text).tzinfo is not None:
            return text
        said = "does not say its zone"
    except ValueError:
        said = "is no instant"
    raise click.BadParameter(f"{text!r} {said}. Write it as 2026-11-23T14:30:00+01:00 or with Z.")


def ask_or_open(config: ServerConfig, verb: str, arguments: dict[str, Any]) -> Any:
    """Ask the running server; a stopped one's database is opened for this one act."""
    from tillbridge_server.verbs import VERBS as DOOR_VERBS

    try:
        return ask(config, verb, arguments)
    except NotRunning:
        call = Call(arguments, config, dt.datetime.now(dt.UTC), b"")
        return transact(open_database(config), lambda conn: DOOR_VERBS[verb](conn, call))


@click.command()
@config_option
@json_option
@click.option("--location", required=True, help="Id of the location the machine stands in.")
@click.option("--name", default="", help="Its name on the screens, for a new location.")
@click.option("--phase", type=click.Choice(PHASES), default=None,
              help="How far it is switched on; a new location starts in observe.")
@click.option("--time-zone", default="", help="Its time zone, for a new location.")
def invite(config_path: Any, as_json: bool, location: str, name: str, phase: str | None, time_zone: str) -> None:
    """Make a one-time code for one machine of a location."""
    document = ask(load_config(config_path), "invite",
                   {"location": location, "name": name, "phase": phase, "time_zone": time_zone})
    if as_json:
        _print(document)
        return
    click.echo("Run this on the machine within one hour; the code works once:\n")
    click.echo(f"  tillbridge-agent enroll {document['url']} {document['code']}\n")


@click.command()
@config_option
@json_option
@click.argument("location")
@click.argument("phase_name", metavar="PHASE", type=click.Choice(PHASES))
def phase(config_path: Any, as_json: bool, location: str, phase_name: str) -> None:
    """Switch a LOCATION on, step by step: observe, stock_and_price, orders, everything."""
    document = ask(load_config(config_path), "phase", {"location": location, "phase": phase_name})
    if as_json:
        _print(document)
    else:
        click.echo(f"{document['location']} is in phase {document['phase']} now.")


@click.command()
@config_option
@json_option
@click.option("--storefront", default=None, help="Only this storefront.")
@click.option("--variant", default=None, help="Only this variant or code.")
def offers(config_path: Any, as_json: bool, storefront: str | None, variant: str | None) -> None:
    """What each storefront should show, and what we know it shows."""
    document = ask(load_config(config_path), "offers", {"storefront": storefront, "variant": variant})
    _print(document) if as_json else tell_offers(document)


@click.command()
@config_option
@json_option
@click.argument("what", metavar="VARIANT|CODE")
@click.option("--storefront", default=None, help="The storefront; default: the first one.")
@click.option("--at", default=None, callback=_instant, help="As of this instant (ISO with zone); default: now.")
def explain(config_path: Any, as_json: bool, what: str, storefront: str | None, at: str | None) -> None:
    """Why the web shows what it shows; the terms sum to the number."""
    document = ask(load_config(config_path), "explain", {"what": what, "storefront": storefront, "at": at})
    _print(document) if as_json else tell_explanation(document)


@click.command()
@config_option
@json_option
@click.option("--kind", type=click.Choice(["sale_line", "scan"]), default="sale_line", show_default=True)
def ledger(config_path: Any, as_json: bool, kind: str) -> None:
    """Every event of one kind, oldest first."""
    document = ask(load_config(config_path), "ledger", {"kind": kind})
    _print(document) if as_json else tell_ledger(document)


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def holds(context: click.Context, config_path: Any, as_json: bool) -> None:
    """What is held and waits for a person; `holds approve|reject ID --why …` decides. Ends with 1 when anything is."""
    context.obj = config_path
    if context.invoked_subcommand is None:
        document = ask(load_config(config_path), "holds", {})
        _print(document) if as_json else tell_holds(document)
        if document["holds"]:
            raise click.exceptions.Exit(FINDINGS)


def _decider(verdict: str, words: str) -> click.Command:
    @click.command(verdict, help=words)
    @click.argument("hold")
    @click.option("--why", required=True, help="The reason, kept in the audit log.")
    @click.pass_context
    def decide(context: click.Context, hold: str, why: str) -> None:
        document = ask(load_config(context.obj), "decide", {"hold": hold, "verdict": verdict, "why": why})
        click.echo(f"Hold {document['hold']}: {document['state']}.")

    return decide


holds.add_command(_decider("approve", "Let what is held through, this once."))
holds.add_command(_decider("reject", "Do not use what is held; the storefront keeps what it shows."))


@click.command("dead-letters")
@config_option
@json_option
def dead_letters(config_path: Any, as_json: bool) -> None:
    """What was well-formed and finally refused; ends with 1 when there is any."""
    document = ask(load_config(config_path), "dead-letters", {})
    _print(document) if as_json else tell_dead_letters(document)
    if document["dead_letters"]:
        raise click.exceptions.Exit(FINDINGS)


@click.command()
@config_option
@json_option
@click.argument("variants", nargs=-1, metavar="[VARIANT|CODE]...")
@click.option("--all", "everything", is_flag=True, help="Every variant known now.")
@click.option("--storefront", default="", help="The storefront; default: the first one.")
@click.option("--why", default="", help="A reason, kept in the audit log.")
def activate(
    config_path: Any, as_json: bool, variants: tuple[str, ...], everything: bool, storefront: str, why: str,
) -> None:
    """Let variants be shown in a storefront."""
    if bool(variants) == everything:
        raise click.UsageError("Name the variants or codes to activate, or pass --all.")
    document = ask(load_config(config_path), "activate",
                   {"variants": list(variants), "all": everything, "storefront": storefront, "why": why})
    if as_json:
        _print(document)
    else:
        click.echo(f"{document['activated']} activated in {document['storefront']}.")


@click.command()
@config_option
@json_option
def agents(config_path: Any, as_json: bool) -> None:
    """Every agent: location, state, last contact."""
    document = ask(load_config(config_path), "agents", {})
    _print(document) if as_json else tell_agents(document)


@click.command()
@config_option
@click.argument("agent")
@click.option("--why", required=True, help="The reason, kept in the audit log.")
def revoke(config_path: Any, agent: str, why: str) -> None:
    """Refuse an agent's key from now on; enroll the machine again to let it back in."""
    ask(load_config(config_path), "revoke", {"agent": agent, "why": why})
    click.echo(f"The key of {agent} is revoked.")


@click.command()
@config_option
@json_option
@click.option("--folder", default="", help="Where to; default: the folder of [backup] in server.toml.")
def backup(config_path: Any, as_json: bool, folder: str) -> None:
    """Make a verified backup now."""
    document = ask(load_config(config_path), "backup", {"folder": folder})
    if as_json:
        _print(document)
    else:
        click.echo(f"{document['file']}: {document['bytes']} bytes, checked. Copy it to another machine.")


VERBS = (invite, phase, offers, explain, ledger, holds, dead_letters, activate, agents, revoke, backup)


def _print(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False))


__all__ = ["VERBS", "TillbridgeError", "ask_or_open"]
