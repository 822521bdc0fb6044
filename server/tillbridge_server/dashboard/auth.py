"""The dashboard's door: who may pass, sign in, sign out, the first password."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import sqlalchemy as sa
from aiohttp import web
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from yarl import URL

from tillbridge_server.dashboard import people
from tillbridge_server.dashboard.backoff import Tries
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.visit import (
    GUEST_COOKIE,
    SESSION_COOKIE,
    Visit,
    guest_cookie,
    guest_token,
    is_local,
    is_refresh,
    new_guest_cookie,
    peer_address,
    same_origin,
    same_token,
)

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]
Rule = Literal["person", "guest", "window", "shopper"]
VISIT: web.RequestKey[Visit] = web.RequestKey("visit", Visit)
#: Each argon2id check takes tens of megabytes; more at once would let strangers fill the memory.
HASHING_AT_ONCE = 2
#: No form of ours is longer; nobody may make us read more before we know them.
FORM_BYTES_MAX = 256 * 1024


class NotLocal(web.HTTPForbidden):
    """No password is set yet and the request did not come from this machine by a loopback name."""


class Stale(web.HTTPForbidden):
    """The form was not ours: another site sent it, or its page is older than the session."""


class Door:
    """Decides about every request to a page; holds the wrong-password counts of this process."""

    def __init__(self, context: DashboardContext) -> None:
        self.context = context
        self.tries = Tries()
        self._hasher = PasswordHasher()
        self._hashing = asyncio.Semaphore(HASHING_AT_ONCE)
        self._dummy: str | None = None

    def guard(self, page: Page, rule: Rule = "person") -> Page:
        """Wrap a page. `person`: signed in, once a password is set; `guest`: also signed out; others: see below.

        The shop window may be read (`window`) and bought from (`shopper`) without signing in on this machine
        itself, where demos and dry runs poll it. A shopper's form has no token, as the page has no session.
        """

        async def guarded(request: web.Request) -> web.StreamResponse:
            if rule == "shopper":
                _check_sender(request)
            if rule in ("window", "shopper") and is_local(request):
                request[VISIT] = Visit(None, "", password_set=False)
                return await page(request)
            visit = await self._visit(request)
            if rule != "guest" and visit.password_set and visit.person is None:
                return _to_login(request)
            if request.method not in ("GET", "HEAD") and rule != "shopper":
                await self._check_form(request, visit)
            request[VISIT] = visit
            fresh = None if visit.person or guest_cookie(request) else new_guest_cookie()
            if fresh is not None:
                request[VISIT] = Visit(None, guest_token(fresh), visit.password_set)
            response = await page(request)
            if fresh is not None and not response.prepared:
                self.set_cookie(request, response, GUEST_COOKIE, fresh)
            return response

        return guarded

    async def _visit(self, request: web.Request) -> Visit:
        secret = request.cookies.get(SESSION_COOKIE, "")
        now, click = self.context.clock(), not is_refresh(request)

        def look(conn: sa.Connection) -> tuple[bool, people.Session | None]:
            found = people.find_session(conn, secret, now, click=click) if secret else None
            return (found is not None or people.any_person(conn)), found

        password_set, session = await self.context.store.run(look)
        if session is not None:
            return Visit(session.person, session.csrf, password_set=True)
        if not password_set and not is_local(request):
            raise NotLocal
        cookie = guest_cookie(request)
        return Visit(None, guest_token(cookie) if cookie else "", password_set)

    async def _check_form(self, request: web.Request, visit: Visit) -> None:
        _check_sender(request)
        form = await request.post()
        if not visit.csrf or not same_token(form.get("csrf"), visit.csrf):
            raise Stale

    # -- signing in -------------------------------------------------------------------------------------------

    async def sign_in(self, request: web.Request, name: str, password: str) -> tuple[str | None, str]:
        """A new session id and "", or None and the sentence that says why not."""
        context, address = self.context, peer_address(request)
        now = context.clock()
        pause = self.tries.pause(name, address, now)
        if pause is not None:
            minutes = max(1, -(-int(pause.total_seconds()) // 60))
            return None, f"Too many wrong passwords. Try again in {minutes} min."
        left = self.tries.begin(name, address, now)
        known = await context.store.run(people.password_hash_of, name)
        hashed = known[1] if known else await self._dummy_hash()
        right = await self._verify(hashed, password)
        if known is None or not right:
            rest = f"{left} {'try' if left == 1 else 'tries'} left, then a pause of 5 minutes." if left else (
                "The next try is possible in 5 minutes.")
            return None, f"Name and password do not belong together. {rest}"
        self.tries.right(name, address)
        if self._hasher.check_needs_rehash(hashed):
            await context.store.run(people.rehash, known[0], await self.hash_password(password))
        return await context.store.run(people.begin_session, known[0], context.clock()), ""

    async def hash_password(self, password: str) -> str:
        """argon2id, in a worker thread."""
        async with self._hashing:
            return await asyncio.get_running_loop().run_in_executor(None, self._hasher.hash, password)

    async def _verify(self, hashed: str, password: str) -> bool:
        def check() -> bool:
            if len(password) > people.PASSWORD_MAX:
                return False
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

        async with self._hashing:
            return await asyncio.get_running_loop().run_in_executor(None, check)

    async def _dummy_hash(self) -> str:
        """A hash nobody's password has: an unknown name takes as long as a known one."""
        if self._dummy is None:
            self._dummy = await self.hash_password(new_guest_cookie())
        return self._dummy

    # -- cookies ------------------------------------------------------------------------------------------------

    def set_cookie(self, request: web.Request, response: web.StreamResponse, name: str, value: str) -> None:
        """A session cookie that scripts cannot read and other sites' forms do not carry."""
        secure = request.secure or self.context.config.public_url.startswith("https://")
        response.set_cookie(
            name, value, path="/", httponly=True, samesite="Lax", secure=secure and not is_local(request)
        )


def problem_with_password(name: str, password: str, again: str) -> tuple[str, str] | None:
    """The field and the sentence that says what to change, or None when name and password will do."""
    if not name or len(name) > people.NAME_MAX:
        return "name", f"Your name, up to {people.NAME_MAX} characters. It is written beside everything you decide."
    if len(password) < people.PASSWORD_MIN:
        return "password", f"At least {people.PASSWORD_MIN} characters; three or four words do well."
    if len(password) > people.PASSWORD_MAX:
        return "password", f"At most {people.PASSWORD_MAX} characters."
    if password.casefold() == name.casefold() * (len(password) // max(1, len(name))):
        return "password", "Not the name itself."
    if password != again:
        return "again", "The two passwords differ."
    return None


def _check_sender(request: web.Request) -> None:
    """No form of another site, none that is longer than ours. Raises Stale."""
    long = request.content_length is None or request.content_length > FORM_BYTES_MAX
    if long or not same_origin(request):
        raise Stale


def _to_login(request: web.Request) -> web.Response:
    """To the sign-in page and back; a part that refreshes itself sends the whole page there."""
    back = request.path_qs if request.method == "GET" else "/"
    target = str(URL.build(path="/login", query={"next": back} if back != "/" else {}))
    if is_refresh(request):
        return web.Response(status=401, headers={"HX-Redirect": target, "Cache-Control": "no-store"})
    return web.Response(status=303, headers={"Location": target, "Cache-Control": "no-store"})


def safe_next(text: str) -> str:
    """A path on this server to go back to, "/" for anything else (no open redirect)."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\", "/login")) and text.isprintable()
    return text if plain and "\\" not in text else "/"
