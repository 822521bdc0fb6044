"""Holds: the queue, one hold with its evidence and what would change, and the decision with its reason."""

import csv
import io
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from tillbridge_server import reports
from tillbridge_server.core.ownership import OWNER_MISSING
from tillbridge_server.core.settings import BreakerLimit, DropLimit
from tillbridge_server.dashboard.auth import VISIT
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.reads import work
from tillbridge_server.dashboard.reads.fleet import LocationState, fleet
from tillbridge_server.dashboard.render import HEADERS, back_to, context_of, hold_url, page
from tillbridge_server.dashboard.say import count, money, number, share, stock_words
from tillbridge_server.errors import NotPossible
from tillbridge_server.store.holds import NEVER_BELIEVED

ROWS = 20
REASON_MAX = 1000
VERDICTS = ("approve", "reject")


@dataclass(frozen=True)
class Choice:
    """One radio card: what it does, in two or three sentences, and what the button then says."""

    value: str
    word: str
    text: str
    button: str


@dataclass(frozen=True)
class Diff:
    """One row of what would change, in words."""

    variant: str
    title: str
    code: str
    storefront: str
    stock: tuple[str, str]
    price: tuple[str, str]
    verdict: str | None


async def holds(request: web.Request) -> web.StreamResponse:
    """GET /holds: the most urgent hold with the queue beside it, or the calm page."""
    context = context_of(request)
    waiting, decided = await context.store.run(lambda conn: (work.open_holds(conn), work.decided_holds(conn)))
    if waiting and "done" not in request.query:
        return await _show(request, waiting[0].id)
    done = await context.store.run(work.one_hold, request.query.get("done", ""))
    return await page(request, "holds_none.html", nav="holds", waiting=waiting, decided=decided, done=done)


async def hold(request: web.Request) -> web.StreamResponse:
    """GET /holds/{hold}; `?all=1` shows every row."""
    return await _show(request, request.match_info["hold"])


async def decide(request: web.Request) -> web.StreamResponse:
    """POST /holds/{hold}: `verdict` approve or reject, and a `reason`."""
    context, hold_id = context_of(request), request.match_info["hold"]
    form = await request.post()
    verdict, reason = str(form.get("verdict", "")), str(form.get("reason", "")).strip()[:REASON_MAX]
    found = await context.store.run(work.one_hold, hold_id)
    if found is None:
        raise web.HTTPNotFound
    if found.state != "open":
        return back_to(hold_url(hold_id))
    problems = {}
    if verdict not in VERDICTS:
        problems["verdict"] = "Choose what is to happen."
    if not reason:
        problems["reason"] = "Say why in a few words; it stays beside the decision."
    if problems:
        return await _show(request, hold_id, problems, (verdict, reason), status=422)
    try:
        await context.store.run(
            reports.decide_hold, hold_id, verdict, by=request[VISIT].by, why=reason, now=context.clock()
        )
    except NotPossible as error:
        told = {"verdict": f"{error.message} {error.hint}"}
        return await _show(request, hold_id, told, (verdict, reason), status=409)
    context.acted()
    return back_to(f"/holds?done={hold_id}")


async def table(request: web.Request) -> web.StreamResponse:
    """GET /holds/{hold}.csv: every row of what would change."""
    context, hold_id = context_of(request), request.match_info["hold"]
    found = await context.store.run(work.one_hold, hold_id)
    if found is None:
        raise web.HTTPNotFound
    rows, _ = await context.store.run(work.held_offers, hold_id, None)
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\r\n")
    if rows:
        lines.writerow(("storefront", "sku", "title", "stock now", "stock then", "price now", "price then", "verdict"))
    for row in rows:
        values = (row.now.get("available"), row.then.get("available"), row.now.get("price_now"),
                  row.then.get("price_now"))
        lines.writerow([_cell(v) for v in (row.storefront, row.code, row.title, *values, row.verdict)])
    columns = sample_columns(found.sample)
    if not rows and columns:
        lines.writerow(columns)
        for line in found.sample:
            lines.writerow([_cell(line.get(column)) for column in columns])
    return web.Response(
        text="\ufeff" + out.getvalue(), content_type="text/csv", charset="utf-8",
        headers={**HEADERS, "Content-Disposition": 'attachment; filename="hold.csv"'},
    )


def _cell(value: object) -> str:
    """Text for a spreadsheet; a cell that would be run as a formula is quoted by an apostrophe."""
    text = "" if value is None else str(value)
    return "'" + text if text[:1] in ("=", "+", "@", "\t", "\r") or (text[:1] == "-" and not _is_number(text)) else text


def _is_number(text: str) -> bool:
    return text[1:].replace(".", "", 1).isdigit()


def sample_columns(sample: list[dict[str, Any]]) -> list[str]:
    """The columns of a hold's sample in the order they first appear."""
    return list(dict.fromkeys(key for line in sample for key in line))


async def _show(
    request: web.Request, hold_id: str, problems: dict[str, str] | None = None, filled: tuple[str, str] = ("", ""),
    status: int = 200,
) -> web.Response:
    context, everything = context_of(request), request.query.get("all") == "1"
    facts = await context.store.run(_read, context, hold_id, everything)
    if facts is None:
        raise web.HTTPNotFound
    found: work.HoldRow = facts["hold"]
    ids = [one.id for one in facts["waiting"]]
    place = ids.index(hold_id) if hold_id in ids else -1
    following = facts["waiting"][(place + 1) % len(ids)] if len(ids) > 1 else None
    return await page(
        request, "hold.html", status=status, nav="holds", hold=found, waiting=facts["waiting"], turn=place + 1,
        following=following, facts=facts["facts"], share=facts["share"],
        diffs=facts["diffs"], total=facts["total"], everything=everything, columns=sample_columns(found.sample),
        choices=choices(found), problems=problems or {}, verdict=filled[0], reason=filled[1],
    )


def _read(conn: sa.Connection, context: DashboardContext, hold_id: str, everything: bool) -> dict[str, Any] | None:
    found = work.one_hold(conn, hold_id)
    if found is None:
        return None
    rows, total = work.held_offers(conn, hold_id, None if everything else ROWS)
    places = fleet(conn, context.clock(), context.offline_after)
    shops = {row.storefront for row in rows} or {shop.id for shop in context.config.storefronts[:1]}
    shown = sum(state.live + state.held for state in (work.storefront_state(conn, shop) for shop in shops))
    return {
        "hold": found, "waiting": work.open_holds(conn), "total": total,
        "diffs": [_diff(row) for row in rows], "facts": _facts(found, rows, shown, places),
        "share": _share(found, shown, context) if found.what == "breaker" else None,
    }


def _diff(row: work.DiffRow) -> Diff:
    def words(value: dict[str, Any]) -> tuple[str, str]:
        if not value or value.get("hide") or value.get("available") is None:
            return "hidden", ""
        told = stock_words(value["available"])
        pieces = f"{told}, {number(value['available'])}" if told == "In stock" else told
        return pieces, money(value.get("price_now"), value.get("currency") or "")

    now, then = words(row.now), words(row.then)
    return Diff(row.variant, row.title or row.code, row.code, row.storefront, (now[0], then[0]), (now[1], then[1]),
                row.verdict)


def _facts(
    found: work.HoldRow, rows: list[work.DiffRow], shown: int, places: list[LocationState]
) -> list[tuple[str, str, str]]:
    """(label, value, note) beside "waiting": what it touches, where it came from."""
    place = next((p for p in places if p.id == found.place.partition("/")[0]), None)
    if found.what == "file":
        lines = [("Would make", count(found.affected, found.unit), "to what is known of this store")]
    else:
        lines = [("Touches", count(found.affected, "SKU"), f"of {shown:,} on the web")]
    if place is not None:
        lines.append(("From", place.name, "the rest of this store flows" if not place.offline else "offline now"))
    elif rows:
        lines.append(("In", rows[0].storefront, "other storefronts are not touched"))
    return lines


@dataclass(frozen=True)
class Share:
    """The measured share against its limit, both in whole percent."""

    measured: int
    limit: int
    text: str


def _share(found: work.HoldRow, shown: int, context: DashboardContext) -> Share | None:
    breakers = context.config.breakers
    limits: dict[str, BreakerLimit | DropLimit] = {"to_zero": breakers.to_zero, "price_drop": breakers.price_drop}
    limit = limits.get(found.code)
    if limit is None or not shown:
        return None
    measured = share(found.affected, shown)
    return Share(
        measured, round(limit.share * 100),
        f"{found.affected:,} of the {shown:,} SKUs on the web. The breaker asks from {limit.at_least} SKUs "
        f"and {limit.share * 100:g} % on.",
    )


def choices(found: work.HoldRow) -> list[Choice]:
    """The ways to decide, each with its consequence; none where an owner must be named instead."""
    n = count(found.affected, "change")
    if found.what == "file":
        approve = Choice("approve", "Approve this file", f"The file is believed as it is and its {n} go on to the web "
                         "within seconds. The limit stays; the next such file asks again.", "Approve this file")
        reject = Choice("reject", "Reject", f"The file is set aside. {found.where.partition(',')[0]} keeps its last "
                        "accepted values, and the next export is checked afresh.", "Reject this file")
        return [reject] if found.code in NEVER_BELIEVED else [approve, reject]
    if found.code == OWNER_MISSING:
        return []
    if found.code == "clone":
        return [
            Choice("approve", "Handled", "You have enrolled the right machine anew. This entry is closed; nothing "
                   "else changes.", "Close this entry"),
        ]
    return [
        Choice("approve", "Approve once", f"These {n} are published within seconds. The limit stays; the next big "
               "change asks again.", f"Approve {n}"),
        Choice("reject", "Reject", f"These {n} are not used. The web keeps what it shows until the store says "
               "something else about each SKU.", f"Reject {n}"),
    ]
