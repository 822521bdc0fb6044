"""What to do next with a web order: every combination of row and evidence, and a machine that dies and is restored."""

import itertools
from dataclasses import replace

import pytest

from tillbridge_agent.core.placement import (
    DOUBT_REASONS,
    RULES,
    Do,
    Evidence,
    Mark,
    Own,
    Ruling,
    next_step,
    rule,
)
from tillbridge_protocol.orders import NEVER_PLACE, READY, RECEIVED, ROUTED, STATES, OrderStanding

OURS, OTHER = "ours", "other"
MARKS = {
    "none": None, "ours": Mark("n1", 3, "ORD00003.CSV"), "moving": Mark("n1", 3, "ORD00003.CSV", OURS),
    "foreign": Mark("n2", 9, "ORD00009.CSV"), "foreign, moving": Mark("n2", 9, "ORD00009.CSV", OTHER),
    "unreadable": Mark("", 0, ""),
}
CONTENTS = (None, OURS, OTHER)


def every() -> list[tuple[Own, Evidence, str]]:
    """Every row and everything that may lie in the folders; the word of the mark."""
    found = []
    for state, nonce, late, mark, spool, final in itertools.product(
        STATES, (None, "n1"), (False, True), MARKS, CONTENTS, CONTENTS
    ):
        own = Own(state, nonce, OURS if state == READY else None, late=late)
        found.append((own, Evidence(MARKS[mark], spool, final), mark))
    return found


def test_every_combination_has_its_step() -> None:
    """Received and ready go on or wait or are told; nothing else has a step of placement left."""
    for own, seen, mark in every():
        then = next_step(own, seen)
        assert (then.do is Do.NOTHING) == (own.state not in (RECEIVED, READY)), (own, mark, seen)
        assert then.do is not Do.DOUBT or then.code in DOUBT_REASONS


def test_a_file_is_moved_only_when_nobody_can_have_moved_it() -> None:
    """Ready, our own spool file, our own mark, and nothing of that name in the import folder."""
    moves = [(own, seen, mark) for own, seen, mark in every() if next_step(own, seen).do is Do.MOVE]
    assert {(own.state, mark, seen.spool, seen.final) for own, seen, mark in moves} == {
        (READY, "ours", OURS, None), (READY, "moving", OURS, None),
    }


def test_a_spool_file_is_written_only_before_any_move() -> None:
    """Never beside a mark that is not ours, nor one that says `moving`."""
    writes = {mark for own, seen, mark in every() if next_step(own, seen).do is Do.SPOOL}
    begins = {mark for own, seen, mark in every() if next_step(own, seen).do in (Do.RESERVE, Do.EXPIRE)}
    assert writes == {"ours"}
    assert begins <= {"none", "ours"}


def test_what_lies_there_is_published_whoever_moved_it() -> None:
    """Our content under our name, or the content a mark names, also of the life before a restore."""
    for own, seen, _ in every():
        noted = seen.mark.moving if seen.mark else ""
        if own.state in (RECEIVED, READY) and seen.final is not None and seen.final in (own.file_sha256, noted):
            assert next_step(own, seen).do is Do.PUBLISH


def test_every_rule_is_the_answer_to_something() -> None:
    """No line of the table is behind another one that always fits."""
    answers = {(own.state, next_step(own, seen)) for own, seen, _ in every()}
    assert {(line.state, line.then) for line in RULES} <= answers


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("confirmed", [False, True])
def test_standings(changed: bool, confirmed: bool) -> None:
    """What head office knows to be placed is never placed; after a new epoch the evidence decides."""
    rows = [(own, seen) for own, seen, _ in every() if own.state in (RECEIVED, READY, "taken")]
    for (own, seen), told in itertools.product(rows, [None, *STATES]):
        for received_epoch in (None, "e1", "e2"):
            standing = None if told is None else OrderStanding("W-1", 1, told, received_epoch)
            own = replace(own, confirmed=confirmed)
            ruled = rule(own, standing, seen, epoch="e2", changed=changed)
            if own.state in NEVER_PLACE:
                assert ruled.ruling in (Ruling.KEEP, Ruling.ADOPT)
            elif told is None or told in NEVER_PLACE:
                assert ruled.ruling is (Ruling.DOUBT if told is None else Ruling.ADOPT)
            elif not changed or told == ROUTED or (received_epoch == "e2" and not confirmed):
                assert ruled.ruling is Ruling.KEEP
            elif ruled.ruling is Ruling.KEEP:
                assert (own.state, seen.spool) == (READY, OURS), "only a finished file in the spool proves it"
            else:
                assert ruled.ruling in (Ruling.PUBLISH, Ruling.DOUBT)


def test_standings_of_orders_unknown_here() -> None:
    """A routed one comes by mail; one that is placed is known from now on; of others only the file itself proves it."""
    lies_there = Evidence(Mark("n", 1, "ORD00001.CSV", OURS), None, OURS)
    for told in STATES:
        standing = OrderStanding("W-1", 1, told, "e1")
        nothing = rule(None, standing, Evidence(), epoch="e2", changed=True)
        there = rule(None, standing, lies_there, epoch="e2", changed=True)
        if told == ROUTED:
            assert (nothing.ruling, there.ruling) == (Ruling.KEEP, Ruling.KEEP)
        elif told in NEVER_PLACE:
            assert (nothing.ruling, there.ruling) == (Ruling.ADOPT, Ruling.ADOPT)
        else:
            assert (nothing.ruling, there.ruling) == (Ruling.DOUBT, Ruling.PUBLISH)


def test_an_adopted_state_is_never_an_older_one() -> None:
    """What we know to be accepted does not become published because head office has not heard it yet."""
    late = (("accepted", "published"), ("taken", "published"), ("rejected", "taken"), ("accepted", "rejected"))
    for own, told in late:
        ruled = rule(Own(own), OrderStanding("W-1", 1, told), Evidence(), epoch="e", changed=True)
        assert ruled.ruling is Ruling.KEEP
    news = (("published", "accepted"), ("uncertain", "accepted"), ("taken", "sold"), ("expired", "cancelled"))
    for own, told in news:
        ruled = rule(Own(own), OrderStanding("W-1", 1, told), Evidence(), epoch="e", changed=True)
        assert ruled.ruling is Ruling.ADOPT
