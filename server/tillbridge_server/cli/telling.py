"""Documents told to people: plain lines for the terminal."""

from typing import Any

import click

from tillbridge_server.core.availability import BUFFER, CLAMP, COUNT, MOVEMENT, RESERVATION

#: The parts of a stock as people add them up: what was counted, then what is taken from it.
TERMS = (COUNT, MOVEMENT, RESERVATION, BUFFER, CLAMP)


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
    """The terms of the stock, counts first, then the price, each with its row; then what the web shows."""
    available, price, shown = document["available"], document["price"], document["published"]
    title = f" · {document['title']}" if document.get("title") else ""
    click.echo(f"{document['variant']}{title} in {document['storefront']}, as of {document['at']}")
    for term in sorted(available["terms"], key=lambda one: TERMS.index(one["term"])):
        _tell_part(term["value"], term["term"], term["source"] or {}, term["location"])
    click.echo(f"  {_number(available['value']):>8}  available")
    _tell_part(_number(price["value"]), "price", price["source"] or {}, price["rule"])
    for conflict in document["conflicts"]:
        said = "; ".join(f"{one['where']} says {one['value']}" for one in conflict["values"])
        click.echo(f"  feeds disagree about {conflict['field']}: {said}")
    for breaker in document["breakers"]:
        click.echo(f"  {breaker['code']}, hold {breaker['hold']}: {breaker['message']}")
    why = ", ".join(document["visibility"]["why"])
    web = f"the web shows {shown['available']} at {shown['price']} since {shown['at']}" if shown else "not on the web"
    click.echo(f"  {document['visibility']['state']}{f': {why}' if why else ''}; {web}")


def _tell_part(value: str, name: str, source: dict[str, Any], first: str | None) -> None:
    where = " · ".join(str(part) for part in (first, source.get("file"), _line(source)) if part)
    click.echo(f"  {value:>8}  {name:<12} {where}".rstrip())
    if source.get("text"):
        text = "".join(char if char.isprintable() else " " for char in source["text"])
        click.echo(f"{'':12}{text}")


def tell_ledger(document: dict[str, Any]) -> None:
    """One line an entry."""
    for entry in document["entries"]:
        scan = entry["kind"] == "scan"  # a label says neither how many nor what it costs
        code = "".join(char if char.isprintable() else " " for char in entry["code"])
        numbers = ("", "") if scan else (_number(entry["quantity"]), _number(entry["price"]))
        click.echo(f"{entry['at']}  {entry['location']:<14} {code:<20} {numbers[0]:>6}  {numbers[1]:>9}  {entry['id']}")
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
