"""Settling: nothing is read while it moves, everything once when it stands still, and again when it changes."""

from tillbridge_agent.core.settle import Settling


def test_a_file_that_keeps_growing_is_never_read() -> None:
    """However long a till writes, the file stays pending and says when to look again."""
    settling = Settling(5.0)
    for second in range(100):
        look = settling.look([("stock.csv", second)], float(second))
        assert (look.settled, look.pending, look.again_at) == ((), ("stock.csv",), second + 5.0)


def test_a_file_that_stands_still_is_settled_until_it_is_done() -> None:
    """Settled from the settle time on; told again on every look until someone has dealt with it."""
    settling = Settling(5.0)
    assert settling.look([("a", 1)], 0.0).settled == ()
    assert settling.look([("a", 1)], 4.9).settled == ()
    assert settling.look([("a", 1)], 5.0).settled == ("a",)
    assert settling.look([("a", 1)], 6.0).settled == ("a",)
    settling.done("a", 1)
    look = settling.look([("a", 1)], 7.0)
    assert (look.settled, look.pending, look.again_at) == ((), (), None)


def test_a_pause_shorter_than_the_settle_time_starts_anew() -> None:
    """An exporter that blocks and goes on is not read half-way."""
    settling = Settling(5.0)
    settling.look([("a", 1)], 0.0)
    settling.look([("a", 2)], 4.0)
    assert settling.look([("a", 2)], 8.9).settled == ()
    assert settling.look([("a", 2)], 9.0).settled == ("a",)


def test_a_done_file_comes_back_when_it_changes() -> None:
    """The same name with other bytes is another export; also when it looks as it did before the last."""
    settling = Settling(1.0)
    settling.look([("a", 1)], 0.0)
    settling.done("a", 1)
    assert settling.look([("a", 2)], 10.0).pending == ("a",)
    assert settling.look([("a", 2)], 11.0).settled == ("a",)


def test_a_file_that_leaves_and_returns_settles_again() -> None:
    """Deleted and written anew, it is new, even with the same size and time."""
    settling = Settling(1.0)
    settling.look([("a", 1)], 0.0)
    settling.done("a", 1)
    assert settling.look([], 5.0).settled == ()
    assert settling.look([("a", 1)], 6.0).pending == ("a",)
    assert settling.look([("a", 1)], 7.0).settled == ("a",)


def test_a_file_that_was_not_whole_has_to_settle_once_more() -> None:
    """Pending by the trust gate: looked at again after the settle time, not at once."""
    settling = Settling(5.0)
    settling.look([("a", 1)], 0.0)
    assert settling.look([("a", 1)], 5.0).settled == ("a",)
    settling.wait("a", 5.0)
    assert settling.look([("a", 1)], 9.0).pending == ("a",)
    assert settling.look([("a", 1)], 10.0).settled == ("a",)


def test_files_settle_each_by_itself() -> None:
    """One that moves does not keep the others waiting; the earliest is looked at first."""
    settling = Settling(5.0)
    settling.look([("a", 1), ("b", 1)], 0.0)
    settling.look([("a", 1), ("b", 2)], 3.0)
    look = settling.look([("a", 1), ("b", 2)], 5.0)
    assert (look.settled, look.pending, look.again_at) == (("a",), ("b",), 8.0)
