"""The table of order states, walked step by step; and signed orders, which open only untouched."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.make_vectors import ORDER, private

from tillbridge_protocol import orders as o
from tillbridge_protocol.errors import ProtocolError

EVENTS = sorted({step.event for step in o.STEPS})
KEY = private("server")
PINNED = {"s/1": KEY.public_key()}


# -- the table ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("state", o.STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_pair_follows_the_table(state: str, event: str) -> None:
    """A step that is there leads where it says; every other one is none."""
    there = [step.after for step in o.STEPS if (step.before, step.event) == (state, event)]
    assert len(there) <= 1, "one event cannot lead to two states"
    assert o.follow(state, event) == (there[0] if there else None)


def test_nothing_follows_what_nobody_knows() -> None:
    """A state or event of a later version is no step, and no error."""
    assert o.follow("teleported", "take") is None
    assert o.follow(o.TAKEN, "teleport") is None
    assert o.choices("teleported") == []
    assert not o.leads_to("teleported", o.TAKEN)


def test_the_table_names_known_states_and_makers() -> None:
    """Nothing is misspelt; each event is made by one kind of maker only."""
    assert {state for step in o.STEPS for state in (step.before, step.after)} == set(o.STATES)
    makers: dict[str, set[str]] = {}
    for step in o.STEPS:
        makers.setdefault(step.event, set()).add(step.by)
    assert all(len(by) == 1 for by in makers.values()), makers
    assert {step.by for step in o.STEPS} == {"server", "agent", "person"}
    assert set(o.STATES) >= o.FINAL | o.NEVER_PLACE
    assert all(step.before != step.after for step in o.STEPS)


def test_every_state_is_reached() -> None:
    """From an order that was just taken in."""
    reached, todo = {o.UNROUTED}, [o.UNROUTED]
    while todo:
        here = todo.pop()
        for step in o.STEPS:
            if step.before == here and step.after not in reached:
                reached.add(step.after)
                todo.append(step.after)
    assert reached == set(o.STATES)


@pytest.mark.parametrize("state", sorted(set(o.STATES) - o.FINAL))
def test_no_order_is_stuck(state: str) -> None:
    """A person or the server can always bring it on, whatever became of the agent; and its page says how."""
    assert [step for step in o.STEPS if step.before == state and step.by != "agent"]
    assert len(o.STATES[state].next_step) > 10


@pytest.mark.parametrize("state", sorted(o.FINAL))
def test_only_a_sale_follows_the_end(state: str) -> None:
    """A till may sell what was called off; nothing else moves it, and nobody is asked to do anything."""
    assert {step.event for step in o.STEPS if step.before == state} <= {"sell"}
    assert o.STATES[state].next_step == ""


def test_no_way_leads_back_to_a_placing_but_again() -> None:
    """Once it may be in the till, only a person who looked may have it placed once more."""
    back = {step for step in o.STEPS if step.before in o.NEVER_PLACE and step.after not in o.NEVER_PLACE}
    assert {(step.event, step.after, step.by) for step in back} == {("again", o.ROUTED, "person")}
    assert set(o.STATES) - o.NEVER_PLACE == {o.UNROUTED, o.ROUTED, o.RECEIVED, o.READY}


def test_withdrawn_is_only_what_no_agent_has_said_it_has() -> None:
    """The server may choose another location for an order until the first agent has reported it."""
    assert [step.before for step in o.STEPS if step.after == o.UNROUTED] == [o.ROUTED]


def test_a_sale_is_believed_in_every_state_that_may_have_one() -> None:
    """The till's receipt is the strongest proof there is; an order without a place has none."""
    assert {state for state in o.STATES if o.follow(state, "sell")} == set(o.STATES) - {o.UNROUTED, o.SOLD, o.COUNTED}


@pytest.mark.parametrize("state", o.STATES)
def test_a_person_is_offered_what_the_table_has(state: str) -> None:
    """Sorted, and each of them a step; what the page tells to mark is on offer."""
    offered = o.choices(state)
    assert offered == sorted(event for event in ("again", "cancelled", "imported") if o.follow(state, event))
    for mark in ("again", "cancelled", "imported"):
        if f"`{mark}`" in o.STATES[state].next_step or f"ORDER {mark}`" in o.STATES[state].next_step:
            assert mark in offered, (state, mark)


@given(st.sampled_from(sorted(o.STATES)), st.lists(st.sampled_from(EVENTS), max_size=12))
def test_reports_in_any_order_never_go_back(start: str, events: list[str]) -> None:
    """Whatever an agent's steps lead to from here is news; from there, here is not."""
    state = start
    for event in events:
        after = o.follow(state, event)
        step = next((each for each in o.STEPS if (each.before, each.event) == (state, event)), None)
        if after is None or step is None or step.by != "agent":
            continue
        assert o.leads_to(state, after)
        assert not o.leads_to(after, state)
        assert not o.leads_to(after, after)
        state = after
    assert state == start or o.leads_to(start, state)


# -- signed orders -----------------------------------------------------------------------------------------------

def refused(signed: o.SignedOrder, keys: dict[str, Ed25519PublicKey] = PINNED) -> str:
    """The code of the refusal."""
    with pytest.raises(ProtocolError) as caught:
        o.open_order(signed, keys)
    return caught.value.code


def test_an_order_comes_back() -> None:
    """As it was signed, through the wire."""
    signed = o.sign_order(ORDER, KEY, "s/1")
    assert o.open_order(msgspec.json.decode(msgspec.json.encode(signed), type=o.SignedOrder), PINNED) == ORDER
    assert ORDER.total == Decimal("30.85")


@given(st.data())
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    """Anywhere in the payload or the signature."""
    signed = o.sign_order(ORDER, KEY, "s/1")
    name = data.draw(st.sampled_from(["payload", "signature"]))
    text: str = getattr(signed, name)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda each: each.lower() != text[at].lower()))
    changed = msgspec.structs.replace(signed, **{name: text[:at] + other + text[at + 1 :]})
    assert refused(changed) == "signature_invalid"


@pytest.mark.parametrize(("change", "code"), [
    ({"key_id": "s/2"}, "key_unknown"),
    ({"key_id": ""}, "key_unknown"),
    ({"signature": ""}, "signature_invalid"),
    ({"signature": "zz"}, "signature_invalid"),
    ({"signature": "00" * 64}, "signature_invalid"),
    ({"payload": ""}, "signature_invalid"),
    ({"payload": o.sign_order(ORDER, KEY, "s/1").payload + " "}, "signature_invalid"),
])
def test_what_is_not_signed_so_is_refused(change: dict[str, str], code: str) -> None:
    """Each with the code that the page names."""
    assert refused(msgspec.structs.replace(o.sign_order(ORDER, KEY, "s/1"), **change)) == code


def test_another_key_under_our_name_is_refused() -> None:
    """The name of a key proves nothing."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert refused(o.sign_order(ORDER, other, "s/1")) == "signature_invalid"
    assert refused(o.sign_order(ORDER, KEY, "s/1"), {}) == "key_unknown"


def test_the_prefix_keeps_orders_apart_from_everything_else_that_is_signed() -> None:
    """A signature over the bare payload, as something else may sign it, is none."""
    signed = o.sign_order(ORDER, KEY, "s/1")
    assert refused(msgspec.structs.replace(signed, signature=KEY.sign(signed.payload.encode()).hex())) == (
        "signature_invalid"
    )


@pytest.mark.parametrize(("old", "new"), [
    ('"id":"WEB-1009-7ZK"', '"id":"../WEB-1009"'), ('"id":"WEB-1009-7ZK"', '"id":"WEB-1009\\n"'),
    ('"id":"WEB-1009-7ZK"', f'"id":"{"W" * 41}"'), ('"revision":1', '"revision":0'), ('"CHF"', '"chf"'),
    ('"quantity":"2"', '"quantity":"two"'), ('"line":1', '"line":0'), ("09:26:53Z", "09:26:53"), ("{", "["),
])
def test_signed_nonsense_is_malformed(old: str, new: str) -> None:
    """What a faulty server signs is refused with its reason, never half-read; ids cannot leave their folder."""
    payload = msgspec.json.encode(ORDER).decode()
    assert old in payload
    payload = payload.replace(old, new, 1)
    signature = KEY.sign(b"tillbridge-order-v1\n" + payload.encode()).hex()
    assert refused(o.SignedOrder(payload, "s/1", signature)) == "malformed"


def test_an_order_has_lines() -> None:
    """One without is no order."""
    empty = msgspec.structs.replace(ORDER, lines=[], placed_at=dt.datetime(2026, 3, 14, tzinfo=dt.UTC))
    assert refused(o.sign_order(empty, KEY, "s/1")) == "malformed"
