"""People who may sign in, on both databases."""

import pytest
import sqlalchemy as sa
from tests.unit.server.made import NOW

from tillbridge_server.dashboard import people


@pytest.mark.parametrize(("name", "typed"), [("Élodie", "élodie"), ("Zoë", " ZOË "), ("anna", "Anna"), ("ß", "ß")])
def test_names_are_found_whatever_the_case(store_engine: sa.Engine, name: str, typed: str) -> None:
    """Databases know the small letters of English only, people have others too."""
    with store_engine.begin() as conn:
        assert people.add_first_person(conn, name, "hash", NOW)
        assert people.password_hash_of(conn, typed) == (name, "hash")
        assert not people.add_person(conn, typed.strip(), "other", "somebody", NOW)
