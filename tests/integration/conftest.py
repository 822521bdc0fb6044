"""A till and a head office for every test of both together."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.inbox import Inbox, open_inbox
from tests.integration.till import Till


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """A till that nothing was captured at."""
    opened = Till(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A head office that has heard nothing."""
    with open_inbox() as opened:
        yield opened
