"""Fixtures of the server's rules over a database."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from tests.unit.server.inbox_till import Till, made_till
from tests.unit.server.made import Chain, item


@pytest.fixture
def make_chain(new_engine: Callable[[], sa.Engine]) -> Callable[..., Chain]:
    """Makes chains, each over an empty database; every test that uses it runs on SQLite and on PostgreSQL."""
    return lambda *shops, **given: Chain(*shops, engine=new_engine(), **given)


@pytest.fixture
def chain(make_chain: Callable[..., Chain]) -> Chain:
    """One location that sells, one storefront, nothing told yet."""
    made = make_chain()
    made.add_location()
    return made


@pytest.fixture
def till(store_engine: sa.Engine) -> Till:
    """An enrolled agent and an empty database."""
    return made_till(store_engine)


@pytest.fixture
def shop(chain: Chain) -> Chain:
    """Ten variants, "01" to "10", with nine pieces each at 10.00, activated and published."""
    chain.tell(*(one for n in range(1, 11) for one in item(f"{n:02}", "9")))
    chain.activate()
    chain.settle()
    return chain
