"""Pages that only list: refused changes, the audit log, the words."""

from aiohttp import web

from tillbridge_protocol.orders import STATES
from tillbridge_server.dashboard.pages.order_words import meaning, word_of
from tillbridge_server.dashboard.reads import work
from tillbridge_server.dashboard.render import context_of, page, page_number

WORDS = (
    ("Store, location", "A place with stock or books: a store, a warehouse, an office."),
    ("Agent", "Our light service on a PC of the store. It reads what the POS writes and tells the server."),
    ("Feed", "One configured export of a store: where it lies, how it is read, what its columns mean."),
    ("Export, as of", "A file the POS wrote. “As of” is when its numbers were true, not when they arrived."),
    ("SKU, code, variant", "What is sold: a size, a colour. The POS knows it by a code; its main one is the SKU."),
    ("Count, counted", "How many pieces the POS of a store says it has."),
    ("Reservation", "Stock promised to a web order that no count includes yet."),
    ("Buffer", "Pieces kept back from the web."),
    ("Offer", "What a storefront should show for a SKU, as last decided from the facts."),
    ("Publish, the web shows", "Send the offer to the storefront; what shoppers see until the next one."),
    ("Hidden", "Not on the web: not activated yet, no selling price, or no store that may sell it."),
    ("Hold, held", "Something believable that looks dangerous and waits for a person. The web keeps what it showed."),
    ("Breaker tripped", "Too many changes at once in a dangerous direction, such as to zero. They are held together."),
    ("Quarantine", "A file or row that cannot be read, kept with the reason. Everything else flows."),
    ("Refused", "A change that was finally not taken by the server or a storefront, kept with the reason."),
    ("Backlog", "Changes an agent has not handed over yet. Unknown while it is offline."),
    ("Unknown, absent, zero", "Three different things: nobody said, no longer listed, and counted as none."),
    *((f"{word_of(state)} (of an order)", meaning(state)) for state in STATES),
)


async def refused(request: web.Request) -> web.StreamResponse:
    """GET /refused: the dead letters."""
    letters, total = await context_of(request).store.run(work.dead_letters)
    return await page(request, "refused.html", nav="dead", letters=letters, total=total)


async def audit(request: web.Request) -> web.StreamResponse:
    """GET /audit, paged."""
    number = page_number(request)
    lines, total = await context_of(request).store.run(work.audit_page, number)
    pages = max(1, -(-total // work.ROWS))
    return await page(
        request, "audit.html", nav="audit", lines=lines, total=total, page=min(number, pages), pages=pages
    )


async def words(request: web.Request) -> web.StreamResponse:
    """GET /words."""
    return await page(request, "words.html", nav="words", words=WORDS)
