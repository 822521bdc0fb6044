"""Templates to responses: the frame every screen shares, security headers, links and file versions."""

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp_jinja2
import jinja2
import sqlalchemy as sa
from aiohttp import web

from tillbridge_server.dashboard import say
from tillbridge_server.dashboard.auth import VISIT
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.pages import order_words
from tillbridge_server.dashboard.reads.orders import count_waiting
from tillbridge_server.dashboard.reads.work import count_open_holds, last_backup
from tillbridge_server.dashboard.visit import Visit

HERE = Path(__file__).parent
STATIC = HERE / "static"
CONTEXT: web.AppKey[DashboardContext] = web.AppKey("dashboard_context", DashboardContext)
STAGE_WORDS = {"live": "Live", "staging": "Staging", "twin": "Staging twin"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def setup_templates(app: web.Application, context: DashboardContext) -> None:
    """Give the application its template environment; everything is escaped unless a template says otherwise."""
    app[CONTEXT] = context
    window = HERE.parent / "connectors" / "shop_window" / "templates"
    env = aiohttp_jinja2.setup(
        app, loader=jinja2.FileSystemLoader([HERE / "templates", window]), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    env.filters.update(
        number=say.number, money=say.money, stock=say.stock_words, span=say.length, bytes=say.bytes_words,
        path=lambda text: quote(str(text), safe=":"),
    )
    env.globals.update(
        static=static_url, count=say.count, share=say.share, unknown=say.UNKNOWN, sku_url=sku_url, hold_url=hold_url,
        store_url=store_url, order_url=order_url, orders_say=order_words,
    )


@cache
def static_url(name: str) -> str:
    """The address of a static file with a mark of its content, so that browsers may keep it."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]}"


def sku_url(variant: str) -> str:
    """The page of a variant."""
    return f"/skus/{quote(variant, safe=':')}"


def store_url(location: str) -> str:
    """The page of a location."""
    return f"/stores/{quote(location, safe='')}"


def hold_url(hold_id: str) -> str:
    """The page of a hold."""
    return f"/holds/{quote(hold_id, safe=':')}"


def order_url(order_id: str) -> str:
    """The page of an order."""
    return f"/orders/{quote(order_id, safe='')}"


def context_of(request: web.Request) -> DashboardContext:
    """The dashboard context of the application that serves this request."""
    return request.config_dict[CONTEXT]


def _frame(conn: sa.Connection, now: datetime) -> dict[str, Any]:
    return {
        "open_holds": count_open_holds(conn), "open_orders": count_waiting(conn, now), "backup_at": last_backup(conn),
    }


async def page(request: web.Request, template: str, *, status: int = 200, **data: Any) -> web.Response:
    """Render a screen inside the frame: navigation with its counts, foot, the visit with its form token."""
    context = context_of(request)
    frame = await context.store.run(_frame, context.clock())
    return bare(request, template, status=status, **frame, **data)


def bare(request: web.Request, template: str, *, status: int = 200, **data: Any) -> web.Response:
    """Render a page that stands alone: signing in, errors, the shop window."""
    context = context_of(request)
    zone = ZoneInfo(context.config.time_zone)
    values: dict[str, Any] = {
        "chain": context.config.name,
        "stage": STAGE_WORDS.get(context.config.stage, context.config.stage.capitalize()),
        "version": context.version,
        "zone": zone.key,
        "visit": request.get(VISIT) or Visit(None, "", password_set=True),
        "say": say.Say(context.clock(), zone),
        "nav": "",
        "here": request.path,
        "query": "",
        **data,
    }
    text = aiohttp_jinja2.render_string(template, request, values)
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


def back_to(path: str) -> web.Response:
    """After a form: see the page it led to."""
    return web.Response(status=303, headers={"Location": path, **HEADERS})


def page_number(request: web.Request) -> int:
    """The page asked for in the address, from 1; anything else is the first."""
    text = request.query.get("page", "1")
    return min(int(text), 1_000_000) if text.isascii() and text.isdigit() and int(text) > 0 else 1
