"""The agent's own status page: one sentence, what needs a person, the feeds; text in page.html, look in style.css."""

import html
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

_ROOM = files("tillbridge_agent.statuspage")
_PAGE = Template((_ROOM / "page.html").read_text(encoding="utf-8"))
STYLE = (_ROOM / "style.css").read_text(encoding="utf-8")
_SERVER_WORDS = {
    "online": "is connected to head office", "offline": "has no line to head office",
    "refused": "is refused by head office", "frozen": "is frozen by head office",
}


def render(status: Mapping[str, Any]) -> str:
    """The page for a `status` document."""
    server = status["server"]
    online = server["state"] == "online"
    waiting = status["outbox"]["changes"] + status["outbox"]["events"]
    return _PAGE.substitute(
        location=_text(status["location"]), look="ok" if online and not status["problems"] else "late",
        state=_SERVER_WORDS[server["state"]], waiting=_waiting(waiting, online=online),
        problems=_problems(status["problems"]), orders=_orders(status["orders"]),
        devices=devices_table(status["devices"]),
        feeds="".join(_feed(feed) for feed in status["feeds"]),
        agent=_text(status["agent"]), version=_text(status["version"]), server=_text(server["url"]),
    )


def _waiting(changes: int, *, online: bool) -> str:
    if not changes:
        return "Nothing waits to be sent."
    words = "1 change waits" if changes == 1 else f"{changes:,} changes wait"
    return f"{words} to be sent{'' if online else '; none is lost meanwhile'}."


def _problems(problems: list[Mapping[str, Any]]) -> str:
    if not problems:
        return "<p>Nothing needs you.</p>"
    lines = "".join(f"<li><b>{_text(one['message'])}</b> {_text(one['hint'])}</li>" for one in problems)
    return f"<h2>What needs you</h2><ul>{lines}</ul>"


def _orders(counts: Mapping[str, int]) -> str:
    """A line for the orders on their way into the till; nothing where there are none."""
    words = (("received", "received"), ("ready", "ready"), ("published", "placed and not answered yet"),
             ("uncertain", "uncertain"))
    told = [f"{counts[key]:,} {word}" for key, word in words if counts[key]]
    return f"<h2>Web orders</h2><p>{_text(', '.join(told))}.</p>" if told else ""


def _feed(feed: Mapping[str, Any]) -> str:
    accepted = feed["accepted"]
    cells = [
        f'<th scope="row">{_text(feed["name"])}</th>', f"<td>{_text(feed['state'])}</td>",
        f"<td>{_text(accepted['name'] or 'nothing yet')}</td>", f"<td>{_text((accepted['at'] or '')[:19])}</td>",
    ]
    numbers = (("rows", accepted["rows"]), ("held", feed["holds"]), ("quarantined", feed["quarantined"]))
    cells += [f'<td class="n" data-what="{what}">{number:,}</td>' for what, number in numbers]
    return f"<tr>{''.join(cells)}</tr>\n"


def devices_table(devices: list[Mapping[str, Any]]) -> str:
    """A table of the devices; nothing where there are none."""
    if not devices:
        return ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Device", "State", "Port", "Last scan (UTC)"))
    heads += "".join(f'<th scope="col" class="n">{name}</th>' for name in ("Scans", "Repeated", "Noise"))
    rows = ""
    for one in devices:
        cells = (one["state"], one["port"], (one["last_at"] or "never")[:19])
        rows += f'<tr><th scope="row">{_text(one["name"])}</th>' + "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        numbers = (("scans", one["scans"]), ("repeated", one["repeated"]), ("noise", one["noise"]))
        rows += "".join(f'<td class="n" data-what="{what}">{n:,}</td>' for what, n in numbers) + "</tr>\n"
    return f"<h2>Devices</h2><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table>"


def _text(value: object) -> str:
    return html.escape(str(value))
