"""Fixtures of the server's rules over a database."""

from collections.abc import Iterator

import pytest
from tests.unit.server.made import Chain, item


@pytest.fixture
def chain() -> Iterator[Chain]:
    """One location that sells, one storefront, nothing told yet."""
    made = Chain()
    made.add_location()
    yield made
    made.close()


@pytest.fixture
def shop(chain: Chain) -> Chain:
    """Ten variants, "01" to "10", with nine pieces each at 10.00, activated and published."""
    chain.tell(*(one for n in range(1, 11) for one in item(f"{n:02}", "9")))
    chain.activate()
    chain.settle()
    return chain
