"""Positions, boots and the answers that carry them: the headers both ways, and answers told apart by their tag."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillbridge_protocol import positions as p
from tillbridge_protocol.enrollment import EnrollAnswer
from tillbridge_protocol.errors import CODES, ProtocolError
from tillbridge_protocol.heartbeat import HeartbeatAnswer
from tillbridge_protocol.mailbox import Mail

HEAD = "0a" * 32
names = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
heads = st.just("") | st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(names, st.integers(0, 10**15 - 1), heads)
def test_positions_travel_in_a_header(epoch: str, seq: int, head: str) -> None:
    """What one side writes the other reads."""
    position = p.Position(epoch, seq, head)
    assert p.read_position(position.header()) == position
    assert msgspec.json.decode(msgspec.json.encode(position), type=p.Position) == position


@given(names, st.integers(1, 10**15 - 1))
def test_boots_travel_in_a_header(boot: str, n: int) -> None:
    """What one side writes the other reads."""
    assert p.read_boot(p.Boot(boot, n).header()) == p.Boot(boot, n)


@pytest.mark.parametrize("value", [
    "", "ep", 'ep="", seq=0, head=""', 'ep="e", seq=-1, head=""', 'ep="e", seq=1.0, head=""', 'ep="e", seq=01, head=""',
    'ep="e", seq=1, head="ab"',
    f'ep="e", seq=1, head="{HEAD.upper()}"', f'ep="e", seq=1, head="{HEAD}0"', 'ep="e",seq=1,head=""',
    'seq=1, ep="e", head=""', 'ep="e", seq=1, head="", x=1', 'ep="e", seq=1, head=""\n', ' ep="e", seq=1, head=""',
    'ep="e"e", seq=1, head=""', 'ep="\u00e9", seq=1, head=""', f'ep="{"e" * 65}", seq=1, head=""',
    f'ep="e", seq={"9" * 16}, head=""', 'ep="e", seq=\u0661, head=""', 'ep="e", seq=1, head="", ep="f", seq=2, head=""',
], ids=ascii)
def test_another_position_is_malformed(value: str) -> None:
    """One form only, so that two readers cannot read two things."""
    with pytest.raises(ProtocolError) as caught:
        p.read_position(value)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("value", [
    "", 'id="b"', 'id="", n=1', 'id="b", n=-1', 'id="b", n=0', 'id="b", n=01', 'id="b", n=1 ', 'id="b", n="1"',
    'id=b, n=1', 'id="b", n=1, id="c", n=2', 'id="b\n", n=1',
], ids=ascii)
def test_another_boot_is_malformed(value: str) -> None:
    """The same for the boot header."""
    with pytest.raises(ProtocolError) as caught:
        p.read_boot(value)
    assert caught.value.code == "malformed"


def test_a_long_header_is_not_echoed_whole() -> None:
    """An error message stays a message."""
    with pytest.raises(ProtocolError) as caught:
        p.read_position("x" * 8_000)
    assert len(caught.value.message) < 200


@given(st.text(max_size=80))
def test_no_header_is_a_crash(value: str) -> None:
    """Whatever is read is exactly what its own header would say; everything else is malformed."""
    for read in (p.read_position, p.read_boot):
        try:
            assert read(value).header() == value
        except ProtocolError as error:
            assert error.code == "malformed"  # noqa: PT017


ANSWERS = {
    "ack": p.Ack("e", 1, HEAD, 0, dead=[p.DeadNote(0, "change_unknown", "m")]),
    "resync": p.Resync(p.Position("e", 1, HEAD), "fork"),
    "error": p.ErrorAnswer("busy", "m", "h", 5.0),
    "heartbeat": HeartbeatAnswer("e", 1, HEAD, 0),
    "mail": Mail([]),
    "enrolled": EnrollAnswer("a", "a/a/1", "bern", "Fennel & Forge"),
}


@pytest.mark.parametrize("tag", ANSWERS)
def test_answers_are_told_apart_by_their_tag(tag: str) -> None:
    """An agent decodes the union of what may come and gets the one that came."""
    raw = msgspec.json.encode(ANSWERS[tag])
    assert msgspec.json.decode(raw)["answer"] == tag
    union = p.Ack | p.Resync | p.ErrorAnswer | HeartbeatAnswer | Mail | EnrollAnswer
    assert msgspec.json.decode(raw, type=union) == ANSWERS[tag]


def test_heads_and_epochs_of_answers_have_their_form() -> None:
    """An ack that names no hash is no ack."""
    for epoch, head in (("e", "abc"), ("e\n", HEAD), ("", HEAD), ("e", HEAD + "\n")):
        ack = p.Ack(epoch, 1, head, 0)
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(ack), type=p.Ack)


def test_errors_carry_status_and_hint() -> None:
    """Every code, for whoever answers with it."""
    for code, (status, hint) in CODES.items():
        error = ProtocolError(code, "what happened")
        assert (error.status, error.hint, str(error)) == (status, hint, "what happened")
        assert 400 <= status < 600
        assert hint.endswith(".")
