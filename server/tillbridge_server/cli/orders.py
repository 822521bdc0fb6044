"""`tillbridge-server orders`: web orders and what a person decides about them."""

import json
from typing import Any

import click

from tillbridge_protocol.orders import STEPS
from tillbridge_server.cli.running import config_option
from tillbridge_server.config import load_config
from tillbridge_server.door import ask

FINDINGS = 1
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_why = click.option("--why", required=True, help="The reason, kept with the order and in the audit log.")
_MARKS = sorted({step.event for step in STEPS if step.by == "person"})


@click.group()
@config_option
@click.pass_context
def orders(context: click.Context, config_path: Any) -> None:
    """Web orders: where each stands, and what a person decides about it."""
    context.obj = config_path


@orders.command("list")
@_json
@click.option("--all", "everything", is_flag=True, help="Also those that are counted or cancelled.")
@click.pass_context
def list_orders(context: click.Context, as_json: bool, everything: bool) -> None:
    """The orders that are not at rest yet; ends with 1 when one of them waits for a person."""
    document = ask(load_config(context.obj), "orders-list", {"all": everything})
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        for one in document["orders"]:
            click.echo(f"{one['id']:<22} {one['state']:<10} {one['location'] or '-':<14} {_age(one['age_s']):>8}"
                       f"{'  ' + one['message'] if one['message'] else ''}")
            if one["next_step"]:
                click.echo(f"{'':22} -> {one['next_step'].replace('ORDER', one['id'])}")
        click.echo(f"{len(document['orders'])} orders{'' if everything else ' open'}.")
    if any(one["overdue"] for one in document["orders"]):
        raise click.exceptions.Exit(FINDINGS)


@orders.command("show")
@_json
@click.argument("order")
@click.pass_context
def show(context: click.Context, as_json: bool, order: str) -> None:
    """One ORDER: its lines, what is reserved, every step, the till's sales."""
    document = ask(load_config(context.obj), "orders-show", {"order": order})
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    one = document["order"]
    click.echo(f"{one['id']} (number {one['number']} of {one['storefront']}) is {one['state']} since {one['since']}, "
               f"location {one['location'] or 'none'}, file {one['file'] or 'none'}")
    for line in one["lines"]:
        click.echo(f"  {line['quantity']:>6} x {line['variant']:<24} {line['unit_price']:>9} {one['currency']}  "
                   f"reserved {line['reserved'] or 'nothing'}  {line['title'] or ''}".rstrip())
    for step in one["steps"]:
        click.echo(f"  {step['at']}  {step['event']:<16} {step['after']:<10} {step['by']}  {step['message']}".rstrip())
    for sale in one["sales"]:
        what = sale["variant"] or "an unknown code"
        click.echo(f"  sold {sale['quantity']} of {what} as {sale['id']} at {sale['at']}")
    if one["choices"]:
        click.echo(f"  `orders mark {one['id']}` can be: {', '.join(one['choices'])}")


@orders.command("mark")
@click.argument("order")
@click.argument("mark", metavar="MARK", type=click.Choice(_MARKS))
@_why
@click.pass_context
def mark_order(context: click.Context, order: str, mark: str, why: str) -> None:
    """Say what is so with an ORDER: imported (the till has it), again (place it once more), cancelled."""
    document = ask(load_config(context.obj), "orders-mark", {"order": order, "mark": mark, "why": why})
    click.echo(f"{document['order']} is {document['state']} now.")


@orders.command("route")
@click.argument("order")
@click.argument("location")
@_why
@click.pass_context
def route_order(context: click.Context, order: str, location: str, why: str) -> None:
    """Send an ORDER to a LOCATION, also to one that lacks stock."""
    document = ask(load_config(context.obj), "orders-route", {"order": order, "location": location, "why": why})
    click.echo(f"{document['order']} goes to {document['location']}.")


def _age(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
