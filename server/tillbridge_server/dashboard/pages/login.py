"""Signing in and out, the first password, one's own account."""

from typing import Any

from aiohttp import web

from tillbridge_server.dashboard import people
from tillbridge_server.dashboard.auth import VISIT, Door, problem_with_password, safe_next
from tillbridge_server.dashboard.render import back_to, bare, context_of, page
from tillbridge_server.dashboard.visit import GUEST_COOKIE, SESSION_COOKIE


class LoginPages:
    """The handlers that need the door itself, because they open and close it."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def show_login(self, request: web.Request) -> web.StreamResponse:
        """GET /login; straight on for who is signed in already, to the first password where there is none."""
        visit = request[VISIT]
        target = safe_next(request.query.get("next", "/"))
        if visit.person is not None or not visit.password_set:
            return back_to(target)
        return bare(request, "login.html", problem="", name="", next=target)

    async def login(self, request: web.Request) -> web.StreamResponse:
        """POST /login."""
        form = await _texts(request)
        target = safe_next(form.get("next", "/"))
        secret, problem = await self._door.sign_in(request, form.get("name", ""), form.get("password", ""))
        if secret is None:
            return bare(request, "login.html", status=401, problem=problem, name=form.get("name", ""), next=target)
        return self._signed_in(request, secret, target)

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """POST /logout."""
        context = context_of(request)
        await context.store.run(people.end_session, request.cookies.get(SESSION_COOKIE, ""), context.clock())
        response = back_to("/login")
        response.del_cookie(SESSION_COOKIE, path="/")
        return response

    async def show_setup(self, request: web.Request) -> web.StreamResponse:
        """GET /setup: only while no password is set, which the door allows on this machine alone."""
        if request[VISIT].password_set:
            return back_to("/account")
        return bare(request, "setup.html", problem=None, name="")

    async def setup(self, request: web.Request) -> web.StreamResponse:
        """POST /setup: make the first person and sign them in."""
        context = context_of(request)
        if request[VISIT].password_set:
            return back_to("/account")
        form = await _texts(request)
        name, password = form.get("name", "").strip(), form.get("password", "")
        problem = problem_with_password(name, password, form.get("again", ""))
        if problem is not None:
            return bare(request, "setup.html", status=422, problem=problem, name=name)
        hashed = await self._door.hash_password(password)
        if not await context.store.run(people.add_first_person, name, hashed, context.clock()):
            return back_to("/login")
        secret = await context.store.run(people.begin_session, name, context.clock())
        return self._signed_in(request, secret, "/")

    async def account(self, request: web.Request) -> web.StreamResponse:
        """GET /account."""
        if request[VISIT].person is None:
            return back_to("/setup")
        return await self._account(request, None)

    async def change_password(self, request: web.Request) -> web.StreamResponse:
        """POST /account/password: everyone's sessions of this person end."""
        context, name = context_of(request), request[VISIT].person
        if name is None:
            return back_to("/setup")
        form = await _texts(request)
        problem = problem_with_password(name, form.get("password", ""), form.get("again", ""))
        if problem is not None:
            return await self._account(request, (*problem, "password"), status=422)
        secret, why = await self._door.sign_in(request, name, form.get("now", ""))
        if secret is None:
            return await self._account(request, ("now", why, "password"), status=422)
        hashed = await self._door.hash_password(form["password"])
        await context.store.run(people.set_password, name, hashed, name, context.clock())
        return back_to("/login")

    async def add_person(self, request: web.Request) -> web.StreamResponse:
        """POST /account/people."""
        context, by = context_of(request), request[VISIT].person
        if by is None:
            return back_to("/setup")
        form = await _texts(request)
        name, password = form.get("name", "").strip(), form.get("password", "")
        problem = problem_with_password(name, password, form.get("again", ""))
        if problem is None:
            hashed = await self._door.hash_password(password)
            if await context.store.run(people.add_person, name, hashed, by, context.clock()):
                return back_to("/account")
            problem = ("name", f"There is a {name} already.")
        return await self._account(request, (*problem, "people"), status=422)

    async def _account(
        self, request: web.Request, problem: tuple[str, str, str] | None, status: int = 200
    ) -> web.Response:
        everyone = await context_of(request).store.run(people.people)
        return await page(request, "account.html", status=status, everyone=everyone, problem=problem)

    def _signed_in(self, request: web.Request, secret: str, target: str) -> web.Response:
        response = back_to(target)
        self._door.set_cookie(request, response, SESSION_COOKIE, secret)
        response.del_cookie(GUEST_COOKIE, path="/")
        return response


async def _texts(request: web.Request) -> dict[str, str]:
    """The text fields of a form; uploads are ignored."""
    form: Any = await request.post()
    return {key: value for key, value in form.items() if isinstance(value, str)}
