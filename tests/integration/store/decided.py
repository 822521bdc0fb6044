"""Operations of head office: enrolling, deciding, publishing, people's deeds, web orders, sweeping."""

import datetime as dt
import hashlib
from decimal import Decimal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.store import told
from tests.integration.store.pair import BREAKERS, CODES, SHOPS, Pair, Till, operation

from tillbridge_protocol.enrollment import EnrollmentCode, EnrollRequest, HostFacts
from tillbridge_protocol.orders import STEPS, sign_order
from tillbridge_protocol.positions import Position
from tillbridge_server import reports
from tillbridge_server.agents import enrollment, fleet
from tillbridge_server.connectors.shop_window import book, connector, page
from tillbridge_server.core.publishing import Rejection
from tillbridge_server.core.settings import PlainRules
from tillbridge_server.dashboard import people
from tillbridge_server.store import activation, deciding, order_intake, orders, publishing, retention

LOCATIONS = ("mallow", "Sorrel", "anise", "Öhr")
PHASES = ("observe", "stock_and_price", "orders", *["everything"] * 5)
_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"sequences").digest())


@operation(2)
def enroll_till(pair: Pair) -> None:
    """A code is made and used, sometimes once more, by the same machine or another."""
    place = pair.rng.choice(LOCATIONS)
    pair.both(
        enrollment.ensure_location, location_id=place, name=place.upper(), phase=pair.rng.choice(PHASES),
        time_zone="UTC", by="test", now=pair.now,
    )
    code: EnrollmentCode = pair.both(
        enrollment.make_invite, location_id=place, random_bytes=pair.rng.randbytes(16), root=bytes(32), by="test",
        now=pair.now,
    )
    agent = pair.new_id("agent-")
    for public_key in [f"{next(pair.numbers):064x}"] * 2 + [f"{next(pair.numbers):064x}"]:
        pair.both(
            enrollment.enroll, EnrollRequest(code.secret, public_key, HostFacts(name="till")), agent_id=agent,
            server_name="Head office", now=pair.now,
        )
        if pair.rng.random() < 0.7:
            break
    pair.tills.append(Till(agent, place, Position("epoch-1", 0, "")))


def open_chain(pair: Pair) -> None:
    """Three tills are enrolled and told of everything, and the window shows it."""
    for _ in range(3):
        enroll_till(pair)
    for _ in range(4):
        told.tell_everything(pair)
    decide(pair)
    pair.both(deciding.decide, pair.rules, pair.now)
    for _ in range(4):
        publish(pair)


@operation(1)
def revoke_till(pair: Pair) -> None:
    """A machine was stolen; its orders are somebody else's."""
    if len(pair.tills) > 2:
        till = pair.tills.pop(pair.rng.randrange(len(pair.tills)))
        pair.both(fleet.revoke, till.agent, "test", "stolen", pair.now)
        pair.both(order_intake.withdraw, till.agent, pair.now)


@operation(3)
def set_phase(pair: Pair) -> None:
    """A location is switched on, or off again."""
    place, phase = pair.till().location, pair.rng.choice(PHASES)
    pair.both(enrollment.set_phase, location_id=place, phase=phase, by="test", now=pair.now)
    pair.both(deciding.touch_all, pair.now)


@operation(12)
def decide(pair: Pair) -> None:
    """Offers are decided, all of them or a few."""
    pair.both(deciding.decide, pair.rules, pair.now, pair.rng.choice((3, 5_000)))


@operation(10)
def publish(pair: Pair) -> None:
    """Due values are pushed; storefronts take, refuse and forget some of them, and some are decided anew meanwhile."""
    shop, rng = pair.rng.choice(SHOPS).id, pair.rng
    if rng.random() < 0.1:
        pair.both(publishing.release_leases, shop, pair.now)
    tasks = pair.both(publishing.take_due, shop, pair.now, limit=rng.choice((2, 200)))
    if rng.random() < 0.3:
        pair.both(deciding.decide, pair.rules, pair.now)
    fates = {task.variant: rng.choice(("accepted", "accepted", "accepted", "rejected", "kept")) for task in tasks}
    accepted = [one for one, fate in fates.items() if fate == "accepted"]
    pair.both(connector.show, shop, {task.variant: connector.text_of(publishing.item_of(task))
                                     for task in tasks if task.variant in accepted}, pair.now)
    pair.both(
        publishing.record_outcome, tasks, accepted=accepted,
        rejected={one: Rejection("no", "Zu groß.") for one, fate in fates.items() if fate == "rejected"},
        retry_at=pair.now + dt.timedelta(seconds=30), error="Busy.", now=pair.now,
    )


@operation(5)
def decide_hold(pair: Pair) -> None:
    """A person says yes or no to a hold, sometimes without a reason or a second time."""
    waiting = pair.both(reports.holds)["holds"]
    hold = pair.rng.choice([*(one["id"] for one in waiting), "b-none"])
    pair.both(
        reports.decide_hold, hold, pair.rng.choice(("approve", "reject")), by="Ägidius",
        why=pair.rng.choice(("I looked.", "I looked.", " ")), now=pair.now,
    )


@operation(3)
def activate(pair: Pair) -> None:
    """A person lets variants be shown."""
    if pair.rng.random() < 0.5:
        pair.both(activation.activate_all, "trade", by="test", why="", now=pair.now)
        return
    found = pair.both(reports.variants_of, pair.codes(2))
    if found:
        pair.both(activation.activate, "trade", found, by="test", why="new", now=pair.now)


@operation(1)
def change_rules(pair: Pair) -> None:
    """server.toml names an owner, or does not any more; a day begins."""
    owners = pair.rng.choice(({}, {"price": ("prices", "stock")}, {"stock_level": ("mallow/stock",)}))
    pair.rules = PlainRules(SHOPS, BREAKERS, owners)
    pair.both(deciding.notice_rules, pair.rules, pair.now)
    pair.both(deciding.touch_sales, pair.now)


@operation(1)
def sweep(pair: Pair) -> None:
    """Weeks later the server forgets what is past its time."""
    pair.now += dt.timedelta(days=pair.rng.choice((1, 8, 40, 100)))
    pair.both(retention.sweep, pair.now)


@operation(2)
def let_people_in(pair: Pair) -> None:
    """People get passwords, and are found whatever the case of the letters."""
    name = pair.rng.choice(("Élodie", "anna", "Zoë", "ÄGIDIUS"))
    if not pair.both(people.add_first_person, name, "hash", pair.now):
        pair.both(people.add_person, name, "hash", "test", pair.now)
    assert pair.both(people.password_hash_of, name.swapcase()) is not None
    pair.both(people.people)


@operation(12)
def buy(pair: Pair) -> None:
    """A shopper buys; what was bought is taken in, routed and mailed, sometimes later."""
    shown = sorted(pair.both(connector.read_window, "window"))
    variant = pair.rng.choice(shown or [f"pos:{CODES[0]}"])
    bought = pair.both(book.buy, "window", variant, pair.rng.randint(1, 3), pair.new_id("T"), pair.now)
    if isinstance(bought, book.Bought) and pair.rng.random() < 0.8:
        take_in(pair)


@operation(5)
def take_in(pair: Pair) -> None:
    """The intake looks at the storefront, at what has no place, and at what is not mailed."""
    after = pair.both(order_intake.cursor, "window") if pair.rng.random() < 0.9 else 0
    found = pair.both(book.read_orders, "window", after, 5)
    pair.orders += pair.both(order_intake.take_in, pair.rules, SHOPS[0], found, pair.now)
    pair.both(order_intake.route_waiting, pair.rules, pair.now)
    pair.both(order_intake.send_routed, lambda order: sign_order(order, _KEY, "s/1"), pair.now)


@operation(6)
def deal_with_order(pair: Pair) -> None:
    """A person marks an order or chooses its location."""
    order = pair.rng.choice([*pair.orders, "WINDOW-0-X"])
    if pair.rng.random() < 0.4:
        pair.both(orders.route, pair.rules, order, pair.rng.choice(LOCATIONS), "test", "I know.", pair.now)
        return
    events = sorted({step.event for step in STEPS if step.by == "person"})
    pair.both(orders.mark, order, pair.rng.choice(events), "test", "I looked.", pair.now)


@operation(1)
def put_back(pair: Pair) -> None:
    """The server starts and compares with what it had taken in."""
    pair.both(order_intake.notice_restore, pair.rng.choice((None, 0, len(pair.orders), 99)), pair.now)


@operation(3)
def shop(pair: Pair) -> None:
    """Shoppers look at the window."""
    asked = pair.rng.choice(("", "GRÖ", "grö", "Größe", "a1", "100%", "_"))
    pair.both(page.read_page, "window", asked, pair.rng.random() < 0.3, 1, pair.now)
    pair.both(page.read_delta, "window", pair.rng.randint(0, 9))
    assert Decimal(len(pair.both(connector.read_window, "window"))) >= 0
