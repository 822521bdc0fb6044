"""Documents told to people: plain lines for the terminal."""

from typing import Any

import click


def tell_offers(document: dict[str, Any]) -> None:
    """One line an offer."""
    for offer in document["offers"]:
        shown = offer["published"]
        web = f"web shows {shown['available']} at {shown['price']}" if shown else "not on the web"
        price = f"{offer['price_now']} {offer['currency']}" if offer["price_now"] is not None else "no price"
        why = f" ({', '.join(offer['why'])})" if offer["why"] else ""
        click.echo(f"{offer['storefront']:<10} {offer['variant']:<24} {offer['state']:<7} "
                   f"{_number(offer['available']):>6}  {price:<14} {web}{why}")
    click.echo(f"{len(document['offers'])} offers.")


def tell_explanation(document: dict[str, Any]) -> None:
    """The terms of the stock, then the price, then visibility."""
    available = document["available"]
    click.echo(f"{document['variant']} in {document['storefront']}, as of {document['at']}")
    for term in available["terms"]:
        source = term["source"] or {}
        where = " · ".join(str(part) for part in (term["location"], source.get("file"), _line(source)) if part)
        click.echo(f"  {term['value']:>8}  {term['term']:<12} {where}")
    click.echo(f"  {_number(available['value']):>8}  available")
    price = document["price"]
    click.echo(f"  {_number(price['value']):>8}  price         {price['rule']}")
    why = ", ".join(document["visibility"]["why"])
    click.echo(f"  {document['visibility']['state']}{f': {why}' if why else ''}")


def tell_ledger(document: dict[str, Any]) -> None:
    """One line an entry."""
    for entry in document["entries"]:
        click.echo(f"{entry['at']}  {entry['location']:<14} {entry['code']:<20} {_number(entry['quantity']):>6}  "
                   f"{_number(entry['price']):>9}  {entry['id']}")
    click.echo(f"{len(document['entries'])} entries.")


def tell_holds(document: dict[str, Any]) -> None:
    """What is held, why, and what to do."""
    for hold in document["holds"]:
        click.echo(f"{hold['id']}  {hold['what']}  {hold['where']}  since {hold['since']}")
        click.echo(f"    {hold['reason']['message']}")
        click.echo(f"    {hold['reason']['hint']}")
    if not document["holds"]:
        click.echo("Nothing is held.")


def tell_dead_letters(document: dict[str, Any]) -> None:
    """What was refused and why."""
    for letter in document["dead_letters"]:
        click.echo(f"{letter['id']}  from {letter['from']}  {letter['since']}  {letter['code']}: {letter['message']}")
    if not document["dead_letters"]:
        click.echo("There are no dead letters.")


def tell_agents(document: dict[str, Any]) -> None:
    """One line an agent."""
    for agent in document["agents"]:
        seen = agent["last_seen_at"] or "never"
        click.echo(f"{agent['id']}  {agent['location']:<16} {agent['status']:<8} last seen {seen}")
    if not document["agents"]:
        click.echo("No agent is enrolled yet. Make a code with `tillbridge-server invite --location ID`.")


def _number(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _line(source: dict[str, Any]) -> str:
    return f"line {source['line']}" if source.get("line") else ""
