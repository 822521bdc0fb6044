"""SQLite and PostgreSQL are one store: the same calls give the same answers and leave the same rows."""

import pytest
import sqlalchemy as sa
from tests.engines import Memory, Postgres
from tests.integration.store import decided, looked, told
from tests.integration.store.pair import OPERATIONS, Pair

from tillbridge_server.store.tables import metadata

STEPS = 70
COMPARED_EVERY = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each sequence, so that a failing one is run again by its name."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--sequences")))


@pytest.mark.postgresql
def test_same_answers_and_rows(memory: Memory, postgres: Postgres, seed: int) -> None:
    """A random sequence of everything that agents, head office and screens do."""
    pair = Pair(seed, memory.emptied(1), postgres.emptied(1))
    decided.open_chain(pair)
    for number in range(STEPS):
        pair.step()
        if number % COMPARED_EVERY == COMPARED_EVERY - 1:
            pair.compare()
    assert pair.compare() > STEPS


def test_every_room_has_operations() -> None:
    """A room whose operations are not known would be compared by nobody."""
    rooms = {one.__module__ for one in OPERATIONS}
    assert rooms == {room.__name__ for room in (told, decided, looked)}


@pytest.mark.postgresql
def test_types_mean_the_same(postgres: Postgres) -> None:
    """Text is compared by code point, numbers have 64 bits: in every column, also of tables made later."""
    query = sa.text(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' AND"
        " (data_type IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C'"
        " OR data_type IN ('integer', 'smallint', 'numeric', 'double precision', 'timestamp with time zone'))"
    )
    with postgres.emptied(1).begin() as conn:
        odd = {tuple(row) for row in conn.execute(query)}
        tables = set(sa.inspect(conn).get_table_names())
    assert odd == {("alembic_version", "version_num", "character varying")}
    assert tables == {*metadata.tables, "alembic_version"}
