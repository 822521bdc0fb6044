"""What the screens say of web orders: marks and words of states, next steps, steps made, decisions; pure."""

from dataclasses import dataclass

from tillbridge_protocol.orders import (
    ACCEPTED,
    CANCELLED,
    COUNTED,
    EXPIRED,
    FINAL,
    PUBLISHED,
    READY,
    RECEIVED,
    REJECTED,
    ROUTED,
    SOLD,
    STATES,
    STEPS,
    TAKEN,
    UNCERTAIN,
    UNROUTED,
    choices,
)

#: The mark of each state (a pill's class); one that lasts too long gets `late` instead unless it waits anyway.
MARKS: dict[str, str] = {
    UNROUTED: "held", ROUTED: "dot", RECEIVED: "dot", READY: "dot", PUBLISHED: "dot", TAKEN: "dot", ACCEPTED: "ok",
    REJECTED: "stop", SOLD: "ok", COUNTED: "ok", UNCERTAIN: "doubt", EXPIRED: "stop", CANCELLED: "idle",
}
_AGENT = "See whether the agent of {place} runs and has a line."
_FOLDER = "See whether the agent of {place} reaches the till’s import folder; the store’s page says what hinders it."
#: What a person does about an order that stays in a state, on screens where the deeds are buttons.
NEXT: dict[str, str] = {
    UNROUTED: "Choose a store for it, or call it off.",
    ROUTED: _AGENT,
    RECEIVED: _FOLDER,
    READY: _FOLDER,
    PUBLISHED: "Start the import at the till of {place}. If the order is there already, say so.",
    TAKEN: "Look at the till of {place} whether the order is there; then say so, or send it again.",
    ACCEPTED: "Sell it at the till of {place} under its number.",
    REJECTED: "Put right what the reason names and send it again; or key it in at the till and say that it is there.",
    SOLD: "See whether the stock export of {place} still arrives; its pieces stay reserved until a count has them.",
    COUNTED: "",
    UNCERTAIN: "Look for the order number at the till of {place}: say so if it is there, send it again if it is not.",
    EXPIRED: "Ask the shopper, then send it again or call it off.",
    CANCELLED: "",
}
_TITLES: dict[str, tuple[str, str]] = {
    UNROUTED: ("No store can take order {order}", "No store can take {n} orders"),
    REJECTED: ("{place} rejected order {order}", "{place} rejected {n} orders"),
    UNCERTAIN: ("Nobody knows whether {place} has order {order}", "Nobody knows whether {place} has {n} orders"),
    EXPIRED: ("Order {order} came too late to {place}", "{n} orders came too late to {place}"),
    PUBLISHED: ("The till of {place} has not taken order {order}", "The till of {place} has not taken {n} orders"),
    TAKEN: ("The till of {place} has not answered to order {order}",
            "The till of {place} has not answered to {n} orders"),
    ACCEPTED: ("{place} has not sold order {order} yet", "{place} has not sold {n} orders yet"),
    SOLD: ("No count of {place} has order {order} yet", "No count of {place} has {n} orders yet"),
}
_ON_THE_WAY = ("Order {order} has not reached the till of {place}", "{n} orders have not reached the till of {place}")
_EVENTS = {
    "taken in": "Taken in from the storefront", "route": "Sent to a store", "withdraw": "Taken back from the store",
    "sell": "Sold at the till", "count": "Included in a count", "imported": "Said to be at the till",
    "again": "Sent again", "cancelled": "Called off", "found": "Found at an agent",
    "doubt": "Not known any more whether the till has it",
}
_TOLD = {
    RECEIVED: "Received by the agent", READY: "Import file written", PUBLISHED: "Laid into the till’s import folder",
    TAKEN: "Taken by the till", ACCEPTED: "Accepted by the till", REJECTED: "Rejected",
    UNCERTAIN: "Nobody knows whether it was placed", EXPIRED: "Too late to be placed",
}
_RESERVED = "Its stock stays reserved until the till’s sale is in a count."


@dataclass(frozen=True)
class Choice:
    """One radio card of what a person may say: what it does, and what the button then says."""

    value: str
    word: str
    text: str
    button: str


def mark_of(state: str, overdue: bool) -> str:
    """The pill's class."""
    mark = MARKS.get(state, "doubt")
    return "late" if overdue and mark in ("dot", "ok") else mark


def word_of(state: str) -> str:
    """The pill's word."""
    return state.capitalize()


def next_step(state: str, place: str) -> str:
    """What to do about an order that stays in a state; "" when nothing is."""
    return NEXT[state].format(place=place or "the store")


def in_list(state: str, place: str, overdue: bool) -> str:
    """The next step as lists tell it: nothing to do is said, and who sells an accepted order too."""
    if overdue or state == ACCEPTED:
        return next_step(state, place)
    return "" if state in FINAL else "Nothing; it goes on by itself."


def need_title(state: str, place: str, n: int, order: str) -> str:
    """One sentence about one order, or about several of the same state and store."""
    one, many = _TITLES.get(state, _ON_THE_WAY)
    text = (one if n == 1 else many).format(place=place or "the store", n=n, order=order)
    return text[0].upper() + text[1:]


def meaning(state: str) -> str:
    """What a state means."""
    return STATES[state].meaning


def event_words(event: str, before: str, after: str) -> str:
    """One step of the history; what an agent tells again changes nothing and is told as that."""
    if event.startswith("told "):
        told = event.removeprefix("told ")
        return _TOLD.get(told, told.capitalize()) if before != after else f"The agent told {told}; nothing changed"
    return _EVENTS.get(event, event.capitalize())


def by_words(by: str) -> str:
    """Who made a step, as a reader says it."""
    return "the server" if by == "server" else by


def sentence(text: str) -> str:
    """A reason as somebody else wrote it, ended so that another sentence may follow."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text}."


def decisions(state: str, place: str) -> list[Choice]:
    """What a person may say of an order in this state, the mildest first."""
    may = choices(state)
    where = place or "the store"
    found = []
    if "imported" in may:
        found.append(Choice("imported", "It is at the till", f"You have seen it there. Nothing is sent any more. "
                            f"{_RESERVED}", "Say it is at the till"))
    if "again" in may:
        found.append(Choice("again", f"Send it to {where} again", "The till gets a new import file. Only when it is "
                            "surely not there: otherwise the till has it twice.", f"Send it to {where} again"))
    if can_route(state):
        another = "another store" if "again" in may else "a store"
        twice = f" Only when it is surely not at the till of {where}." if "again" in may else ""
        found.append(Choice("route", f"Send it to {another}", "The store you choose gets it and its stock is reserved "
                            f"there, also when it has too little.{twice}", f"Send it to {another}"))
    if "cancelled" in may:
        found.append(Choice("cancelled", "Call it off", "Nothing is sent any more and its stock is free again. This "
                            "cannot be undone, and the shopper must be told by you.", "Call the order off"))
    return found


def can_route(state: str) -> bool:
    """Whether a person may choose the store: while there is none, and whenever it may be sent again."""
    return any(step.before == state and step.event in ("route", "again") for step in STEPS)
