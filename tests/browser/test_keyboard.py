"""The dashboard by keyboard alone: skip link, order, visible focus, signing in, deciding, the menu of a phone."""

import pytest
import sqlalchemy as sa
from tests.browser.conftest import PASSWORD, House
from tests.browser.driver import DOWN, ENTER, ESCAPE, SPACE, TAB, Browser

from tillbridge_server.store.tables import activation, hold

pytestmark = pytest.mark.browser


def tab_to(browser: Browser, wanted: str, tries: int = 60) -> dict[str, str]:
    """Press Tab until what has the focus says this; every stop on the way must show its focus."""
    for _ in range(tries):
        browser.keys(TAB)
        at = browser.focus()
        assert at["tag"] == "BODY" or at["outlined"], f"focus cannot be seen: {at}"
        if wanted in (at["text"], at["name"], at["id"], f"{at['name']}={at['value']}"):
            return at
    raise AssertionError(f"Tab never reaches {wanted!r}")


def test_the_first_stop_skips_to_the_content(browser: Browser, busy: House) -> None:
    """And the next one after it is in the content."""
    browser.open(busy.url + "/")
    browser.keys(TAB)
    assert browser.focus()["text"] == "Skip to content"
    browser.keys(ENTER)
    browser.wait("return location.hash === '#main'")
    browser.keys(TAB)
    assert browser.run("return document.getElementById('main').contains(document.activeElement)")


def test_tab_reaches_the_main_action_in_reading_order(browser: Browser, busy: House) -> None:
    """Bar, navigation, content; then the button opens the first need."""
    browser.open(busy.url + "/")
    order = []
    for _ in range(40):
        browser.keys(TAB)
        order.append(browser.run("const r = document.activeElement.getBoundingClientRect(); return [r.top, r.left]"))
        if browser.focus()["text"].startswith("Review the first"):
            break
    assert browser.focus()["text"] == "Review the first of 14"
    nav = [top for top, left in order if 0 <= left < 200 and top > 48]
    assert nav == sorted(nav)
    browser.keys(ENTER)
    browser.wait("return location.pathname === '/orders/WINDOW-1022-K60'")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_hold_is_approved_with_the_keyboard_alone(browser: Browser, busy: House, width: int) -> None:
    """Choice, reason, button; the button says the deed, and the queue is one shorter."""
    query = sa.select(hold.c.id).where(hold.c.code == "to_zero")
    tripped = busy.store.submit(lambda conn: conn.execute(query).scalar_one())
    browser.size(width)
    browser.open(f"{busy.url}/holds/{tripped.result()}")
    assert browser.run("return document.querySelector('.decide :checked')") is None
    tab_to(browser, "verdict=approve")
    browser.keys(SPACE)
    tab_to(browser, "reason")
    browser.keys("stocktake is done")
    assert tab_to(browser, "Approve 23 changes")["tag"] == "BUTTON"
    browser.keys(ENTER)
    browser.wait("return document.querySelector('.toast')")
    assert "Approved: 23" in browser.run("return document.querySelector('.toast').innerText")
    assert browser.run("return document.querySelector('.nav a[href=\"/holds\"] b').innerText") == "2"


@pytest.mark.parametrize("width", [1280, 390])
def test_an_order_is_sent_to_another_store_with_the_keyboard_alone(browser: Browser, busy: House, width: int) -> None:
    """Choice, store, reason, button; the store is asked for only with that choice, and the button says the deed."""
    browser.size(width)
    browser.open(busy.url + "/orders/WINDOW-1025-K63")
    seen = "return [...document.querySelectorAll('.decide .btn, .to-store')].filter(e => e.offsetHeight).length"
    assert browser.run(seen) == 1
    tab_to(browser, "event=imported")
    browser.keys(DOWN, DOWN)
    assert browser.focus()["value"] == "route"
    assert browser.run(seen) == 2
    tab_to(browser, "location")
    browser.keys("Brig")
    tab_to(browser, "why")
    browser.keys("Arbon is closed today")
    assert tab_to(browser, "Send it to another store")["tag"] == "BUTTON"
    browser.keys(ENTER)
    browser.wait("return document.querySelector('.toast')")
    assert "sent to the store you chose" in browser.run("return document.querySelector('.toast').innerText")
    assert browser.run("return document.querySelector('.kv').innerText.includes('Brig')")
    assert "Arbon is closed today" in browser.run("return document.querySelector('.events').innerText")
    assert browser.run("return document.querySelector('.nav a[href=\"/orders\"] b').innerText") == "6"


def test_a_shopper_buys_with_the_keyboard_and_is_thanked(browser: Browser, busy: House) -> None:
    """Where the page refreshes itself every two seconds; the number is an order here."""
    browser.open(busy.url + "/shop?q=0040999")
    tab_to(browser, 'Buy\n<script>alert("x")</script> & Sons, brass')
    browser.run("htmx.trigger(document.getElementById('goods'), 'every')")
    assert browser.focus()["tag"] == "BUTTON"
    browser.keys(ENTER)
    browser.wait("return document.querySelector('.toast')")
    told = browser.run("return document.querySelector('.toast').innerText")
    assert "Thank you, your order number is 1033-" in told
    assert "q=0040999" in browser.url
    tab_to(browser, "Close")
    browser.keys(ENTER)
    browser.wait("return !document.querySelector('.toast')")
    assert "bought" not in browser.url


def test_arrow_keys_choose_and_the_browser_asks_for_the_reason(browser: Browser, busy: House) -> None:
    """Nothing is decided without one."""
    browser.open(busy.url + "/holds/1f2e3d4c:h1")
    tab_to(browser, "verdict=approve")
    browser.keys(DOWN)
    assert browser.focus()["value"] == "reject"
    tab_to(browser, "Reject this file")
    browser.keys(ENTER)
    assert browser.focus()["name"] == "reason"
    assert browser.url.endswith("/holds/1f2e3d4c:h1")


def test_signing_in_by_keyboard(browser: Browser, busy: House) -> None:
    """A wrong password first: what is wrong is said, the name stays, the focus is where to go on."""
    busy.set_password()
    browser.open(busy.url + "/stores")
    assert "/login" in browser.url
    assert browser.focus()["name"] == "name"
    browser.keys("mara keller", TAB, "not the password", ENTER)
    browser.wait("return document.querySelector('[role=alert]')")
    assert "4 tries left" in browser.run("return document.querySelector('[role=alert]').innerText")
    assert browser.focus()["name"] == "password"
    browser.keys(PASSWORD, ENTER)
    browser.wait("return location.pathname === '/stores'")
    assert browser.run("return document.querySelector('.who').innerText") == "Mara Keller"


def test_setting_the_first_password_by_keyboard(browser: Browser, busy: House) -> None:
    """Afterwards one is signed in and the notice is gone."""
    browser.open(busy.url + "/setup")
    browser.keys("Tom", TAB, PASSWORD, TAB, PASSWORD, ENTER)
    browser.wait("return document.querySelector('.who') && document.querySelector('.who').innerText === 'Tom'")
    assert not browser.run("return document.body.innerText.includes('Set a password')")


def test_the_menu_of_a_phone_opens_and_closes_by_keyboard(browser: Browser, busy: House) -> None:
    """Esc closes it and gives the focus back."""
    browser.size(390)
    browser.open(busy.url + "/")
    tab_to(browser, "Menu")
    browser.keys(ENTER)
    browser.wait("return document.getElementById('nav').matches(':popover-open')")
    tab_to(browser, "SKUs")
    browser.keys(ESCAPE)
    browser.wait("return !document.getElementById('nav').matches(':popover-open')")
    assert browser.focus()["text"] == "Menu"


def test_branches_of_an_explanation_close_by_keyboard(browser: Browser, busy: House) -> None:
    """And stay closed while the part above refreshes."""
    browser.open(busy.url + "/skus/pos:0041042")
    browser.run("document.querySelector('#counted summary').focus()")
    browser.keys(ENTER)
    browser.wait("return !document.querySelector('#counted details').open")
    browser.run("htmx.trigger(document.getElementById('shows'), 'every')")
    assert browser.run("return document.querySelector('#counted details').open") is False


def test_ticks_are_counted_on_the_button_and_activated(browser: Browser, busy: House) -> None:
    """Two ticks by keyboard, one form."""
    browser.open(busy.url + "/skus?state=hidden")
    browser.run("document.querySelector('input[name=variant]').focus()")
    browser.keys(SPACE, TAB)
    for _ in range(6):
        if browser.focus()["name"] == "variant":
            break
        browser.keys(TAB)
    browser.keys(SPACE)
    shown = "return getComputedStyle(document.querySelector('.chosen'), '::before').content"
    assert "counter" in browser.run(shown)
    assert browser.run("return document.querySelectorAll('input[name=variant]:checked').length") == 2
    before = _active(busy)
    browser.run("document.querySelector('.bulk .btn.main').focus()")
    browser.keys(ENTER)
    browser.wait("return document.querySelector('.toast')")
    assert "2 SKUs activated" in browser.run("return document.querySelector('.toast').innerText").replace("\xa0", " ")
    assert _active(busy) == before + 2


def _active(busy: House) -> int:
    count = sa.select(sa.func.count()).select_from(activation)
    return int(busy.store.submit(lambda conn: conn.execute(count).scalar_one()).result())
