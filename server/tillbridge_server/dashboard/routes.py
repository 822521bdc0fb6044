"""The addresses of the dashboard and of the shop window, and what happens when one is wrong."""

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from tillbridge_server.connectors.shop_window import buying
from tillbridge_server.connectors.shop_window import page as window
from tillbridge_server.dashboard.auth import Door, NotLocal, Rule, Stale
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.pages import holds, location, login, notes, orders, overview, scans, skus, variant
from tillbridge_server.dashboard.render import STATIC, bare, setup_templates

log = structlog.get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def setup_dashboard(app: web.Application, context: DashboardContext) -> None:
    """Add every page, the static files and the error pages to an application."""
    setup_templates(app, context)
    door = Door(context)
    gate = login.LoginPages(door)
    routes: list[tuple[str, str, Handler, Rule]] = [
        ("GET", "/login", gate.show_login, "guest"),
        ("POST", "/login", gate.login, "guest"),
        ("POST", "/logout", gate.logout, "person"),
        ("GET", "/setup", gate.show_setup, "guest"),
        ("POST", "/setup", gate.setup, "guest"),
        ("GET", "/account", gate.account, "person"),
        ("POST", "/account/password", gate.change_password, "person"),
        ("POST", "/account/people", gate.add_person, "person"),
        ("GET", "/", overview.overview, "person"),
        ("GET", "/stores", location.stores, "person"),
        ("GET", "/stores/{location}", location.location, "person"),
        ("GET", "/skus", skus.skus, "person"),
        ("GET", "/skus/{variant:.+}", variant.variant, "person"),
        ("POST", "/activate", skus.activate_chosen, "person"),
        ("GET", "/search", skus.search, "person"),
        ("GET", "/holds", holds.holds, "person"),
        ("GET", "/holds/{hold}.csv", holds.table, "person"),
        ("GET", "/holds/{hold}", holds.hold, "person"),
        ("POST", "/holds/{hold}", holds.decide, "person"),
        ("GET", "/orders", orders.orders, "person"),
        ("GET", "/orders/{order}", orders.order, "person"),
        ("POST", "/orders/{order}", orders.decide, "person"),
        ("GET", "/scans", scans.scans, "person"),
        ("GET", "/refused", notes.refused, "person"),
        ("GET", "/audit", notes.audit, "person"),
        ("GET", "/words", notes.words, "person"),
        ("GET", "/shop", window.shop, "window"),
        ("GET", "/shop/items.json", window.items, "window"),
        ("POST", "/shop/buy", buying.buy_one, "shopper"),
    ]
    for method, path, handler, rule in routes:
        guarded = door.guard(handler, rule)
        app.router.add_get(path, guarded) if method == "GET" else app.router.add_post(path, guarded)
    app.router.add_static("/static", STATIC)
    app.middlewares.append(error_pages)


@web.middleware
async def error_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say what happened and what to do next; the machine addresses below /v1/ have answers of their own."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if request.path.startswith("/v1/") or error.status < 400:
            raise
        return _told(request, error)
    except (ConnectionError, TimeoutError):
        raise
    except Exception:
        if request.path.startswith("/v1/"):
            raise
        log.exception("page_failed", path=request.path)
        return _error(request, 500, "This page could not be made", [
            "Nothing was changed by looking at it. What happened is written in the server’s log.",
        ], "/", "Back to the overview")


def _told(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    if isinstance(error, NotLocal):
        return _error(request, 403, "This dashboard has no password yet", [
            "Until somebody sets one it answers only on the server itself.",
            f"On that computer open http://127.0.0.1:{request.url.port or 80}/setup and set a password.",
            "From then on this address works too.",
        ])
    if isinstance(error, Stale):
        return _error(request, 403, "This form is too old", [
            "Its page was opened before you signed in or out, or another site sent it. Nothing was changed.",
        ], "/", "Open the page again")
    if error.status == 404:
        return _error(request, 404, "There is nothing at this address", [
            "The store, SKU, order or hold may have another name now. Looking for it by its code works best.",
        ], "/", "Back to the overview")
    if error.status == 405:
        return _error(request, 405, "This address cannot be used like that", ["Nothing was changed."], "/", "Overview")
    return _error(request, error.status, "That did not work", [error.reason], "/", "Back to the overview")


def _error(
    request: web.Request, status: int, heading: str, lines: list[str], link: str = "", label: str = ""
) -> web.Response:
    return bare(request, "error.html", status=status, heading=heading, lines=lines, link=link, label=label, named=False)
