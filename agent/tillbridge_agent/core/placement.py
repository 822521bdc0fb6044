"""What to do next with a web order, judged from its row and from what lies in the folders: two tables. Pure.

A placement leaves evidence before every step that cannot be undone, so that after a crash, a restore or beside
a copy of this agent each step can be told apart: the mark file (made exclusively, with our nonce), the word
`moving` in it (noted before the rename), the spool file, and the file in the till's import folder. What the
evidence cannot decide is `uncertain` and waits for a person: never twice, and never silently not at all.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tillbridge_protocol.orders import NEVER_PLACE, READY, RECEIVED, ROUTED, STEPS, OrderStanding


@dataclass(frozen=True)
class Mark:
    """What stands in a mark file; `moving` is the hash of the import file once its rename may have begun, else ""."""

    nonce: str
    sequence: int
    file: str
    moving: str = ""


#: A mark that cannot be read: somebody made it, and nothing more is known.
UNREADABLE_MARK = Mark("", 0, "")


@dataclass(frozen=True)
class Evidence:
    """What lies in the folders for one order and revision; `spool` and `final` are hashes of contents."""

    mark: Mark | None = None
    spool: str | None = None
    final: str | None = None


@dataclass(frozen=True)
class Own:
    """What our database says of one order and revision; `late`: it must not be placed any more at this time."""

    state: str
    nonce: str | None = None
    file_sha256: str | None = None
    confirmed: bool = False
    late: bool = False


class Do(Enum):
    """The next step of a placement."""

    RESERVE = "draw a nonce and the next sequence number, in the database"
    MARK = "make the mark file"
    SPOOL = "write the import file into the spool, then `ready`"
    MOVE = "note `moving` in the mark, rename the spool file into the import folder"
    PUBLISH = "it lies, or lay, in the import folder: `published`"
    DOUBT = "nobody can tell whether it was placed: `uncertain`"
    EXPIRE = "it was not placed in time and never will be: `expired`"
    WAIT = "another file has its name; it is placed when that is gone"
    NOTHING = "no step of placement is left"


class Next(NamedTuple):
    """What to do, and the code of the reason where there is one."""

    do: Do
    code: str = ""


#: Why an order is uncertain, as people read it.
DOUBT_REASONS = {
    "mark_foreign": "Another copy of this agent, or this one before a restore, has begun to place this order.",
    "mark_moving": "This order was on its way into the import folder before the agent was restored.",
    "spool_lost": "The finished import file has vanished from the spool before it was moved.",
    "spool_changed": "The import file in the spool is not the one this agent wrote.",
    "unlisted": "Head office does not name this order as one that waits here.",
    "restored": "The agent's records were lost or restored, and nothing shows whether this order was placed.",
}

_ANY = ""


class _Rule(NamedTuple):
    """One line of the table; an empty word fits everything, the first line that fits counts."""

    state: str
    reserved: str
    mark: str
    spool: str
    final: str
    late: str
    then: Next


#: state · nonce drawn · mark · spool file · file in the import folder · too late → what next.
RULES: tuple[_Rule, ...] = (
    _Rule(RECEIVED, _ANY, _ANY, _ANY, "ours", _ANY, Next(Do.PUBLISH)),
    _Rule(RECEIVED, _ANY, "foreign", _ANY, _ANY, _ANY, Next(Do.DOUBT, "mark_foreign")),
    _Rule(RECEIVED, _ANY, "moving", _ANY, _ANY, _ANY, Next(Do.DOUBT, "mark_moving")),
    _Rule(RECEIVED, _ANY, _ANY, _ANY, _ANY, "late", Next(Do.EXPIRE, "too_late")),
    _Rule(RECEIVED, "no", _ANY, _ANY, _ANY, _ANY, Next(Do.RESERVE)),
    _Rule(RECEIVED, "yes", "none", _ANY, _ANY, _ANY, Next(Do.MARK)),
    _Rule(RECEIVED, "yes", "ours", _ANY, _ANY, _ANY, Next(Do.SPOOL)),
    _Rule(READY, _ANY, _ANY, _ANY, "ours", _ANY, Next(Do.PUBLISH)),
    _Rule(READY, _ANY, "foreign", _ANY, _ANY, _ANY, Next(Do.DOUBT, "mark_foreign")),
    _Rule(READY, _ANY, _ANY, "other", _ANY, _ANY, Next(Do.DOUBT, "spool_changed")),
    _Rule(READY, _ANY, "moving", "none", _ANY, _ANY, Next(Do.PUBLISH)),
    _Rule(READY, _ANY, _ANY, "none", _ANY, _ANY, Next(Do.DOUBT, "spool_lost")),
    _Rule(READY, _ANY, "none", "ours", _ANY, _ANY, Next(Do.MARK)),
    _Rule(READY, _ANY, _ANY, "ours", "other", _ANY, Next(Do.WAIT, "name_taken")),
    _Rule(READY, _ANY, _ANY, "ours", "none", _ANY, Next(Do.MOVE)),
)


def next_step(own: Own, seen: Evidence) -> Next:
    """What to do with an order now; the same evidence always says the same, so any step may be repeated."""
    facts = (
        own.state, "yes" if own.nonce else "no", _mark(own, seen.mark), _spool(own, seen.spool), _final(own, seen),
        "late" if own.late else "in time",
    )
    for rule in RULES:
        if all(word in (_ANY, fact) for word, fact in zip(rule[:6], facts, strict=True)):
            return rule.then
    return Next(Do.NOTHING)


def _mark(own: Own, mark: Mark | None) -> str:
    if mark is None:
        return "none"
    if own.nonce is None or mark.nonce != own.nonce:
        return "foreign"
    return "moving" if mark.moving else "ours"


def _spool(own: Own, spool: str | None) -> str:
    if spool is None:
        return "none"
    return "ours" if spool == own.file_sha256 else "other"


def _final(own: Own, seen: Evidence) -> str:
    """Whose file has the name in the import folder; what was noted in the mark before a restore is ours too."""
    if seen.final is None:
        return "none"
    noted = seen.mark.moving if seen.mark else ""
    return "ours" if seen.final in (own.file_sha256, noted) else "other"


class Ruling(Enum):
    """What head office's standing makes of an own order, or of one unknown here."""

    KEEP = "as it is; it may be placed if it was not yet"
    ADOPT = "the server knows more: its state"
    PUBLISH = "the import file lies in the folder"
    DOUBT = "uncertain"


class Ruled(NamedTuple):
    """A ruling, and the code of the reason of a doubt."""

    ruling: Ruling
    code: str = ""


_KEEP, _ADOPT = Ruled(Ruling.KEEP), Ruled(Ruling.ADOPT)
#: What `next_step` says of an order whose placing nobody else can have gone on with.
_GOES_ON = {Do.MOVE, Do.WAIT, Do.MARK}


def rule(
    own: Own | None, standing: OrderStanding | None, seen: Evidence, *, epoch: str, changed: bool,
) -> Ruled:
    """Judge one order when head office has told its standings; own None: unknown here, standing None: unnamed there.

    `changed`: the epoch is another one than when it was told the last time, so our own rows may be old ones.
    """
    if own is None:
        assert standing is not None
        return _unknown(standing, seen)
    if own.state not in (RECEIVED, READY):
        return _ADOPT if standing is not None and _further(own.state, standing.state) else _KEEP
    if standing is None:
        return Ruled(Ruling.DOUBT, "unlisted")
    if standing.state in NEVER_PLACE:
        return _ADOPT
    if not changed or standing.state == ROUTED or (standing.received_epoch == epoch and not own.confirmed):
        return _KEEP
    then = next_step(own, seen)
    if then.do is Do.PUBLISH:
        return Ruled(Ruling.PUBLISH)
    if own.state == READY and then.do in _GOES_ON:
        return _KEEP
    return Ruled(Ruling.DOUBT, then.code if then.do is Do.DOUBT else "restored")


def _unknown(standing: OrderStanding, seen: Evidence) -> Ruled:
    if standing.state == ROUTED:
        return _KEEP
    if standing.state in NEVER_PLACE:
        return _ADOPT
    if seen.mark is not None and seen.mark.moving and seen.mark.moving == seen.final:
        return Ruled(Ruling.PUBLISH)
    return Ruled(Ruling.DOUBT, "restored")


def _further(state: str, told: str) -> bool:
    """Whether steps of anybody lead from our state to the server's, without a new try of the order."""
    reached, todo = {state}, [state]
    while todo:
        here = todo.pop()
        for step in STEPS:
            if step.before == here and step.event != "again" and step.after not in reached:
                reached.add(step.after)
                todo.append(step.after)
    return told != state and told in reached
