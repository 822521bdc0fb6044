"""The dashboard's door: loopback only at first, passwords, sessions, form tokens, backoff."""

import datetime as dt
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from tests.browser.seed import CONFIG, NOW, memory_store

from tillbridge_server.dashboard import people
from tillbridge_server.dashboard.auth import safe_next
from tillbridge_server.dashboard.backoff import ENTRIES_MAX, FIRST_PAUSE, PAIR_TRIES, WIDE_TRIES, Tries
from tillbridge_server.dashboard.context import DashboardContext
from tillbridge_server.dashboard.routes import setup_dashboard
from tillbridge_server.dashboard.visit import SESSION_COOKIE
from tillbridge_server.store.database import Store
from tillbridge_server.store.tables import audit, session

PASSWORD = "three plain words"
Client = TestClient[web.Request, web.Application]


@dataclass
class House:
    """A dashboard with a clock that tests move."""

    store: Store
    now: dt.datetime = NOW
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        """A browser on this machine."""
        app = web.Application()
        setup_dashboard(app, DashboardContext(self.store, CONFIG, lambda: self.now, "0", NOW))
        client: Client = TestClient(TestServer(app))
        await client.start_server()
        self.clients.append(client)
        return client

    async def with_password(self) -> Client:
        """A browser that has just set the first password, and is signed in."""
        client = await self.client()
        answer = await client.post("/setup", data={
            "csrf": await token(client, "/setup"), "name": "Mara", "password": PASSWORD, "again": PASSWORD,
        }, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        return client


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hash function with the least memory and time: these tests are about the door, not its lock."""
    monkeypatch.setattr("tillbridge_server.dashboard.auth.PasswordHasher",
                        lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """An empty chain with no password set."""
    made = House(memory_store())
    yield made
    for client in made.clients:
        await client.close()
    made.store.close()


async def token(client: Client, path: str) -> str:
    """The form token of a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', await (await client.get(path)).text())
    assert found is not None
    return found[1]


async def sign_in(client: Client, name: str = "Mara", password: str = PASSWORD, **more: str) -> web.Response:
    """The answer to the sign-in form."""
    data = {"csrf": await token(client, "/login"), "name": name, "password": password, **more}
    return await client.post("/login", data=data, allow_redirects=False)  # type: ignore[return-value]


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080"])
async def test_without_a_password_this_machine_may_look_and_is_asked_to_set_one(house: House, host: str) -> None:
    """Every way to name this machine works."""
    answer = await (await house.client()).get("/", headers={"Host": host})
    assert answer.status == 200
    assert "Set a password" in await answer.text()


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:8080", "10.0.0.5:8080", "localhost.example", ""])
async def test_a_name_that_is_not_loopback_gets_nothing_even_from_this_machine(house: House, host: str) -> None:
    """DNS rebinding: the peer is loopback, the Host header is not, and not even the chain’s name is told."""
    client = await house.client()
    for path in ("/", "/holds", "/setup", "/login", "/shop", "/shop/items.json", "/skus"):
        answer = await client.get(path, headers={"Host": host})
        text = await answer.text()
        assert answer.status == 403
        assert "no password yet" in text
        assert CONFIG.name not in text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_a_proxy_on_this_machine_is_not_this_machine(house: House, header: str) -> None:
    """A forwarded request comes from somewhere else, whoever hands it over."""
    answer = await (await house.client()).get("/", headers={header: "203.0.113.9"})
    assert answer.status == 403


async def test_the_first_password_ends_the_open_house(house: House) -> None:
    """Afterwards everyone signs in, here too, and other host names are answered."""
    mara = await house.with_password()
    assert (await mara.get("/")).status == 200
    stranger = await house.client()
    answer = await stranger.get("/skus?state=hidden", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=/skus?state%3Dhidden")
    assert (await stranger.get("/", headers={"Host": "rebound.example"}, allow_redirects=False)).status == 303
    again = await stranger.get("/setup", allow_redirects=False)
    assert again.headers["Location"] == "/account"


async def test_a_second_first_person_is_refused_however_close_the_race(house: House) -> None:
    """The check and the insert are one transaction."""
    def twice(conn: sa.Connection) -> list[bool]:
        return [people.add_first_person(conn, name, "hash", NOW) for name in ("Mara", "Eve")]

    assert await house.store.run(twice) == [True, False]


@pytest.mark.parametrize(("name", "password", "again", "told"), [
    ("", PASSWORD, PASSWORD, "Your name"),
    ("Mara", "short", "short", "At least 12 characters"),
    ("Mara", PASSWORD, PASSWORD + "x", "differ"),
    ("maramaramara", "maramaramara", "maramaramara", "Not the name itself"),
])
async def test_a_poor_first_password_is_told_beside_its_field(
    house: House, name: str, password: str, again: str, told: str
) -> None:
    """And the password is not sent back in the page."""
    client = await house.client()
    answer = await client.post("/setup", data={
        "csrf": await token(client, "/setup"), "name": name, "password": password, "again": again,
    })
    text = await answer.text()
    assert answer.status == 422
    assert f"<em>{told}" in text or f"{told}" in text
    assert password not in text or password == name


async def test_signing_in_leads_back_to_the_page_asked_for(house: House) -> None:
    """Names are found whatever their case; the cookie is closed to scripts and other sites."""
    await house.with_password()
    client = await house.client()
    answer = await sign_in(client, name=" mara ", next="/holds")
    assert (answer.status, answer.headers["Location"]) == (303, "/holds")
    cookie = answer.cookies[SESSION_COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert (await client.get("/account")).status == 200


async def test_the_session_id_is_stored_only_as_a_hash(house: House) -> None:
    """A stolen database opens no session."""
    await house.with_password()
    answer = await sign_in(await house.client())
    secret = answer.cookies[SESSION_COOKIE].value
    stored = await house.store.run(lambda conn: [tuple(row) for row in conn.execute(sa.select(session))])
    assert len(stored) == 2
    assert secret not in repr(stored)


async def test_a_wrong_password_says_how_many_tries_are_left_and_then_pauses(house: House) -> None:
    """During the pause the right password is refused too; after it, it works."""
    await house.with_password()
    client = await house.client()
    for left in range(PAIR_TRIES - 1, 0, -1):
        answer = await sign_in(client, password="wrong password")
        assert answer.status == 401
        assert f"{left} {'try' if left == 1 else 'tries'} left" in await answer.text()  # type: ignore[operator]
    await sign_in(client, password="wrong password")
    paused = await sign_in(client)
    assert paused.status == 401
    assert "Too many wrong passwords" in await paused.text()  # type: ignore[operator]
    house.now += FIRST_PAUSE
    assert (await sign_in(client)).status == 303


async def test_an_unknown_name_is_answered_like_a_wrong_password(house: House) -> None:
    """Nobody learns from here who may sign in."""
    await house.with_password()
    known = await (await sign_in(await house.client(), password="wrong password")).text()  # type: ignore[operator]
    unknown = await (await sign_in(await house.client(), name="Nobody")).text()  # type: ignore[operator]
    sentence = "Name and password do not belong together"
    assert sentence in known
    assert sentence in unknown


async def test_sessions_end_after_half_an_hour_without_a_click_and_refreshes_are_no_clicks(house: House) -> None:
    """A page left open on a screen does not keep its session alive."""
    client = await house.with_password()
    house.now += dt.timedelta(minutes=29)
    assert (await client.get("/", headers={"HX-Request": "true"})).status == 200
    house.now += dt.timedelta(minutes=2)
    refresh = await client.get("/", headers={"HX-Request": "true"})
    assert (refresh.status, refresh.headers["HX-Redirect"]) == (401, "/login")
    assert (await client.get("/", allow_redirects=False)).status == 303


async def test_sessions_end_after_twelve_hours_whatever_is_clicked(house: House) -> None:
    """A session is a working day at most."""
    client = await house.with_password()
    for _ in range(12 * 3):
        assert (await client.get("/", allow_redirects=False)).status == 200
        house.now += dt.timedelta(minutes=20)
    house.now += dt.timedelta(minutes=1)
    assert (await client.get("/", allow_redirects=False)).status == 303


async def test_signing_out_ends_the_session_on_the_server(house: House) -> None:
    """A copied cookie is worth nothing afterwards, and the log says who came and went."""
    client = await house.with_password()
    secret = next(c.value for c in client.session.cookie_jar if c.key == SESSION_COOKIE)
    answer = await client.post("/logout", data={"csrf": await token(client, "/account")}, allow_redirects=False)
    assert answer.headers["Location"] == "/login"
    other = await house.client()
    stolen = await other.get("/", headers={"Cookie": f"{SESSION_COOKIE}={secret}"}, allow_redirects=False)
    assert stolen.status == 303
    acts = await house.store.run(lambda conn: list(conn.scalars(sa.select(audit.c.act).order_by(audit.c.n))))
    assert acts == ["password set", "signed in", "signed out"]


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
])
async def test_a_form_sent_by_another_site_changes_nothing(house: House, headers: dict[str, str]) -> None:
    """Even with the right token, the browser’s word about the origin counts."""
    client = await house.with_password()
    data = {"csrf": await token(client, "/account")}
    answer = await client.post("/logout", data=data, headers=headers)
    assert answer.status == 403
    assert "form is too old" in await answer.text()
    assert (await client.get("/", allow_redirects=False)).status == 200


@pytest.mark.parametrize("sent", [{}, {"csrf": ""}, {"csrf": "guess"}])
async def test_a_form_without_its_token_changes_nothing(house: House, sent: dict[str, str]) -> None:
    """Signed in or not."""
    client = await house.with_password()
    assert (await client.post("/logout", data=sent)).status == 403
    stranger = await house.client()
    await stranger.get("/login")
    answer = await stranger.post("/login", data={**sent, "name": "Mara", "password": PASSWORD})
    assert answer.status == 403


async def test_a_token_of_one_session_is_worth_nothing_in_another(house: House) -> None:
    """Each session has its own."""
    mara = await house.with_password()
    other = await house.client()
    await sign_in(other)
    assert (await other.post("/logout", data={"csrf": await token(mara, "/account")})).status == 403


async def test_before_a_password_forms_need_the_token_too(house: House) -> None:
    """The open house is open to its own pages only."""
    client = await house.client()
    answer = await client.post("/activate", data={"storefront": "window", "variant": "pos:1"})
    assert answer.status == 403


async def test_changing_the_password_ends_every_session_of_the_person(house: House) -> None:
    """With the old password asked for first."""
    client = await house.with_password()
    second = await house.client()
    await sign_in(second)
    new = "four other plain words"
    form = {"csrf": await token(client, "/account"), "now": PASSWORD, "password": new, "again": new}
    wrong = await client.post("/account/password", data={**form, "now": "wrong password"})
    assert wrong.status == 422
    assert (await client.post("/account/password", data=form, allow_redirects=False)).headers["Location"] == "/login"
    for one in (client, second):
        assert (await one.get("/", allow_redirects=False)).status == 303
    assert (await sign_in(second, password=new)).status == 303


async def test_another_person_can_be_added_once(house: House) -> None:
    """A name is taken in any spelling of its case."""
    client = await house.with_password()
    form = {"csrf": await token(client, "/account"), "name": "Tom", "password": PASSWORD, "again": PASSWORD}
    assert (await client.post("/account/people", data=form, allow_redirects=False)).status == 303
    again = await client.post("/account/people", data={**form, "name": "TOM"})
    assert again.status == 422
    assert (await sign_in(await house.client(), name="Tom")).status == 303


async def test_the_shop_window_stays_readable_on_this_machine_and_asks_others_to_sign_in(house: House) -> None:
    """Dry runs poll it here; elsewhere it is as private as the rest."""
    await house.with_password()
    stranger = await house.client()
    assert (await stranger.get("/shop/items.json")).status == 200
    away = await stranger.get("/shop/items.json", headers={"Host": "hq.example"}, allow_redirects=False)
    assert away.status == 303


@pytest.mark.parametrize(("text", "path"), [
    ("/holds?done=1", "/holds?done=1"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/"),
    ("/login", "/"), ("", "/"), ("/a\nb", "/"),
])
def test_after_signing_in_one_stays_on_this_server(text: str, path: str) -> None:
    """No address leads away."""
    assert safe_next(text) == path


def _wrong(tries: Tries, n: int, account: Callable[[int], str], address: Callable[[int], str]) -> None:
    for i in range(n):
        tries.begin(account(i), address(i), NOW)


def test_pauses_double_up_to_an_hour_and_are_forgotten_after_a_night() -> None:
    """In minutes: 5, 10, 20, 40, 60."""
    tries, now, pauses = Tries(), NOW, []
    for _ in range(PAIR_TRIES + 5):
        tries.begin("mara", "a", now)
        pause = tries.pause("mara", "a", now)
        if pause:
            pauses.append(int(pause.total_seconds() // 60))
            now += pause
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert tries.begin("mara", "a", now + dt.timedelta(hours=13)) == PAIR_TRIES - 1


def test_one_address_cannot_lock_a_person_out_elsewhere_by_a_few_tries() -> None:
    """The pair pauses, not the person."""
    tries = Tries()
    _wrong(tries, PAIR_TRIES, lambda i: "mara", lambda i: "bad")
    assert tries.pause("mara", "bad", NOW)
    assert tries.pause("mara", "good", NOW) is None


def test_many_addresses_against_one_account_and_one_address_against_many_are_slowed() -> None:
    """The wide counts catch what pairs cannot see."""
    spread, spray = Tries(), Tries()
    _wrong(spread, WIDE_TRIES, lambda i: "mara", str)
    assert spread.pause("mara", "fresh", NOW)
    _wrong(spray, WIDE_TRIES, str, lambda i: "bad")
    assert spray.pause("fresh", "bad", NOW)


def test_a_right_password_takes_its_own_try_back() -> None:
    """Signing in often is no attack."""
    tries = Tries()
    for _ in range(WIDE_TRIES * 2):
        tries.begin("mara", "a", NOW)
        tries.right("mara", "a")
    assert tries.pause("mara", "a", NOW) is None


def test_the_counts_stay_within_their_bound() -> None:
    """What was forgotten at the bound harms nothing."""
    tries = Tries()
    _wrong(tries, ENTRIES_MAX, str, str)
    assert len(tries._entries) <= ENTRIES_MAX
    tries.right("0", "0")  # forgotten meanwhile: nothing happens
