"""The one deed of a shopper: POST /shop/buy, as a plain form or for a program that asks for JSON."""

import secrets
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy.exc import IntegrityError

from tillbridge_server.connectors.shop_window.book import Bought, TooFew, buy
from tillbridge_server.core.orders import order_id
from tillbridge_server.dashboard.render import HEADERS, back_to, context_of

PIECES_MAX = 99
#: Crockford's letters: none that is read for another one.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TAIL = 3
#: Several shoppers at one moment want the same position of the book; on PostgreSQL all but one ask again.
_TRIES = 50
#: What of the page's own address comes along, so that the shopper is back where the button was.
_KEPT = ("q", "sale", "page")


async def buy_one(request: web.Request) -> web.StreamResponse:
    """POST /shop/buy: `variant`, `quantity` (default 1), `storefront`; only in a demo.

    A form is answered by the shop with what came of it; `Accept: application/json` by 201 with `number` and our
    `order`, 409 with what is `available`, 404 for a variant that is not shown, 400 for a quantity that is none.
    """
    context, form = context_of(request), await request.post()
    asked = str(form.get("storefront") or request.query.get("storefront", ""))
    front = context.window(asked)
    if front is None or not context.config.demo:
        raise web.HTTPNotFound
    variant, pieces = str(form.get("variant", "")), _pieces(str(form.get("quantity", "1")))
    if pieces is None:
        told = {"error": f"quantity is a whole number from 1 to {PIECES_MAX}"}
        return _answer(request, 400, told, asked=asked, variant=variant)
    for left in reversed(range(_TRIES)):
        try:
            done = await context.store.run(buy, front.id, variant, pieces, _tail(), context.clock())
            break
        except IntegrityError:
            if not left:
                raise
    if isinstance(done, Bought):
        context.ordered()
        told = {"number": done.number, "order": order_id(front.id, done.number)}
        return _answer(request, 201, told, asked=asked, variant=variant)
    if isinstance(done, TooFew):
        told = {"error": "sold out meanwhile", "available": format(done.left, "f")}
        return _answer(request, 409, told, asked=asked, variant=variant)
    return _answer(request, 404, {"error": "this is not shown here any more"}, asked=asked, variant=variant)


def _pieces(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= len(str(PIECES_MAX))
    return int(text) if plain and 1 <= int(text) <= PIECES_MAX else None


def _tail() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_TAIL))


def _answer(
    request: web.Request, status: int, told: dict[str, str], *, asked: str, variant: str
) -> web.Response:
    if "application/json" in request.headers.get("Accept", ""):
        return web.json_response({"v": 1, **told}, status=status, headers=HEADERS)
    query = {key: value for key in _KEPT if (value := request.query.get(key))}
    if asked:
        query["storefront"] = asked
    query |= {"bought": told["number"]} if status == 201 else {"missed": variant}
    return back_to("/shop?" + urlencode(query))
