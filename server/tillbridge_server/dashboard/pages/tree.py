"""The explanation of a variant as a tree: words left, amounts right, evidence below each part; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup, escape

from tillbridge_server.core.visibility import REASONS
from tillbridge_server.dashboard.say import UNKNOWN, Say, count, money, number, stock_words


@dataclass(frozen=True)
class Node:
    """One part of a sum: `amount` as shown, `lines` its evidence; `off` is told but not used."""

    words: str
    amount: str | Markup
    lines: tuple[Markup | str, ...] = ()
    children: tuple["Node", ...] = ()
    id: str = ""
    off: bool = False
    href: str = ""  # the id of the location that the words speak of
    order: str = ""  # the id of the order that they speak of


@dataclass(frozen=True)
class Tree:
    """The parts in order, the heavier result line, and the equation above them as (amount, word, id)."""

    nodes: tuple[Node, ...]
    result: Node
    equation: tuple[tuple[str, str, str], ...] = field(default=())


def _total(terms: Iterable[dict[str, Any]]) -> Decimal:
    return sum((Decimal(term["value"]) for term in terms), Decimal(0))


def stock_tree(doc: dict[str, Any], names: dict[str, str], say: Say) -> Tree:
    """Why the web may sell this many: counts, reservations, buffer, clamp, and the places that say nothing."""
    terms: list[dict[str, Any]] = doc["available"]["terms"]
    of = {kind: [t for t in terms if t["term"] == kind]
          for kind in ("count", "movement", "reservation", "buffer", "clamp")}
    counted = of["count"] + of["movement"]
    nodes = [Node(
        "Counted in stores" + (", less what was sold since" if of["movement"] else ""),
        number(_total(counted)) if counted else UNKNOWN, (_counted_line(of["count"], doc["available"]["places"]),),
        (*_place_nodes(counted, names, say), *_silent_nodes(doc, names)), id="counted",
    )]
    if of["reservation"]:
        nodes.append(Node(
            "Reserved for web orders the POS has not counted yet", number(_total(of["reservation"])),
            ("Released only when a later count proves the sale",),
            tuple(_reservation_node(term, names) for term in of["reservation"]), id="reserved",
        ))
    if of["buffer"]:
        nodes.append(Node(
            "Buffer", number(_total(of["buffer"])),
            ("Kept back once for this storefront", *(_rule(term["rule"]) for term in of["buffer"])), id="buffer",
        ))
    if of["clamp"]:
        nodes.append(Node(
            "Below zero counts as 0", "+" + number(_total(of["clamp"])),
            tuple(_rule(term["rule"]) for term in of["clamp"]), id="clamp",
        ))
    value = doc["available"]["value"]
    told = stock_words(value)
    result = Node(
        _now(doc, "The web may sell", "The web could sell"), number(value) if value is not None else UNKNOWN,
        (f"shown as “{told}”",) if told else ("No store of this storefront has ever listed it",),
    )
    words = (("counted", counted, "counted"), ("reserved", of["reservation"], "reserved"),
             ("buffer", of["buffer"], "buffer"), ("below zero", of["clamp"], "clamp"))
    equation = tuple((number(abs(_total(some))) if some is not counted else number(_total(some)), word, anchor)
                     for word, some, anchor in words if some)
    return Tree(tuple(nodes), result, equation)


def _now(doc: dict[str, Any], shown: str, waiting: str) -> str:
    """The words of a result line: what the web does, or what it would do once nothing holds or hides it."""
    return shown if doc["visibility"]["state"] == "live" else waiting


def _counted_line(counts: list[dict[str, Any]], places: list[dict[str, Any]]) -> str:
    stores = len({term["location"] for term in counts})
    return f"{stores} of {count(len(places), 'store')} {'sells' if stores == 1 else 'sell'} this SKU on the web"


def _place_nodes(terms: list[dict[str, Any]], names: dict[str, str], say: Say) -> list[Node]:
    nodes = []
    for place in dict.fromkeys(term["location"] for term in terms):
        here = [term for term in terms if term["location"] == place]
        lines: list[Markup | str] = []
        for term in here:
            lines += _term_lines(term, say)
        nodes.append(Node(names.get(place, place), number(_total(here)), tuple(lines), href=place))
    return sorted(nodes, key=lambda node: node.words)


def _term_lines(term: dict[str, Any], say: Say) -> list[Markup | str]:
    source, value = term.get("source") or {}, Decimal(term["value"])
    as_of = _times(source.get("as_of"))
    lines: list[Markup | str] = []
    if term["term"] == "count":
        when = Markup(" as of {}").format(say.clock(as_of[-1])) if as_of else Markup(", as of unknown")
        kind = {"data": "from the data", "file_name": "from the file’s name", "sequence": "from the file’s number",
                "observed": "as the agent saw it"}.get(source.get("as_of_kind") or "", "")
        lines.append(Markup("{} counted{}{}").format(number(value), when, f", {kind}" if kind else ""))
    else:
        sold = f"{number(-value)} {_went(term)}" if value < 0 else f"{number(value)} brought back"
        lines.append(Markup("{} since{}").format(sold, Markup(", {}").format(say.clock(as_of[-1])) if as_of else ""))
    lines += source_lines(source, say)
    if term.get("rule"):
        lines.append(_rule(term["rule"]))
    return lines


def _went(term: dict[str, Any]) -> str:
    return "scanned out" if str(term.get("rule") or "").startswith("scanned_out") else "sold"


def source_lines(source: dict[str, Any], say: Say) -> list[Markup | str]:
    """File, line and arrival; then the row as it stood in the file."""
    lines: list[Markup | str] = []
    arrived = _times([source.get("applied_at")])
    if source.get("file"):
        at = Markup(", arrived {}").format(say.clock(arrived[0])) if arrived else ""
        line = f", line {int(source['line']):,}" if source.get("line") else ""
        lines.append(Markup('<span class="mono">{}</span>{}{}').format(source["file"], line, at))
    elif source.get("feed"):
        lines.append(f"Feed {source['feed']}")
    if source.get("text"):
        lines.append(Markup('Row <span class="mono">{}</span>').format(source["text"][:300]))
    return lines


def _silent_nodes(doc: dict[str, Any], names: dict[str, str]) -> list[Node]:
    """The places that add nothing, each with its reason; those that never listed it in one line."""
    used = {term["location"] for term in doc["available"]["terms"]}
    nodes, never = [], []
    for place in doc["available"]["places"]:
        where, name = place["location"], names.get(place["location"], place["location"])
        if where in used:
            continue
        if place["state"] == "unknown":
            never.append(name)
        elif place["state"] == "absent":
            nodes.append(Node(f"{name}, no longer listed", "absent", (), off=True, href=where))
        else:
            why = "Phase observe: its stock is not sold on the web" if place["state"] == "observes" else (
                "Not in the pool of this storefront")
            amount = Markup("<s>{}</s>").format(number(place["count"])) if place["count"] is not None else Markup("")
            nodes.append(Node(f"{name}, not used", amount, (why,), off=True, href=where))
    if never:
        some = ", ".join(never[:6]) + (f" and {len(never) - 6} more" if len(never) > 6 else "")
        told = "Never listed this SKU. Unknown is not zero: it adds nothing and is no error."
        nodes.append(Node(some, UNKNOWN, (told,), off=True))
    return nodes


def _reservation_node(term: dict[str, Any], names: dict[str, str]) -> Node:
    place = names.get(term["location"], term["location"]) or "no store yet"
    words = f"{term['order']}, {place}" if term.get("order") else place
    lines = (_rule(term["rule"]),) if term.get("rule") else ()
    return Node(words, number(term["value"]), lines, order=term.get("order") or "")


def price_tree(doc: dict[str, Any], say: Say) -> Tree:
    """Why it costs this: the list price, the sale if one runs, where the number was read."""
    price: dict[str, Any] = doc["price"]
    currency, source, sale = price["currency"], price["source"] or {}, price["sale"]
    nodes = []
    if price["list_price"] is not None:
        amount = money(price["list_price"], currency)
        child = Node("From the POS", amount, tuple(source_lines(source, say)))
        nodes.append(Node("List price", amount, children=(child,), id="list"))
    runs = price["was"] is not None
    if sale is not None:
        off = Decimal(sale["price"]) - Decimal(price["list_price"] or 0)
        begin = f"from {say.day(sale['from'])}" if sale["from"] else "without a first day"
        end = f"to {say.day(sale['to'])}" if sale["to"] else "without a last day"
        dates = f"Runs {begin} {end}, by the storefront’s calendar"
        child = Node("Sale price", money(sale["price"], currency), (dates,), off=not runs)
        shown = money(off, currency) if runs else "not now"
        nodes.append(Node("Sale" if runs else "Sale, not running", shown, (), (child,), id="sale", off=not runs))
    lines: list[Markup | str] = [_rule(price["rule"])]
    if runs:
        lines.insert(0, f"shown with “was {money(price['was'], currency)}”")
    if price["value"] is None:
        lines.insert(0, REASONS["price_unknown"])
    result = money(price["value"], currency) if price["value"] is not None else UNKNOWN
    return Tree(tuple(nodes), Node(_now(doc, "The web price", "The web price would be"), result, tuple(lines)))


def reasons(why: Iterable[str]) -> list[str]:
    """The sentences behind the reasons of an offer."""
    return [REASONS.get(code, code.replace("_", " ")) for code in why]


def _rule(rule: str | None) -> Markup | str:
    return Markup('Rule <span class="mono">{}</span>').format(rule) if rule else escape("")


def _times(texts: Any) -> list[datetime]:
    """The instants of a document; those that are unknown left out."""
    return [datetime.fromisoformat(text) for text in texts or () if text]
