"""The shop window's versions: a page that asks for what changed since sees every change once."""

import sqlalchemy as sa
from tests.unit.server.made import NOW, Chain

from tillbridge_server.connectors.shop_window.connector import show
from tillbridge_server.core.offers import HIDE
from tillbridge_server.store.tables import window_item

A, B = '{"a":1}', '{"b":2}'


def versions(conn: sa.Connection) -> dict[str, int]:
    """Version by variant."""
    return {row.variant_id: row.version for row in conn.execute(sa.select(window_item))}


def test_only_what_changed_gets_the_next_version(chain: Chain) -> None:
    """A repeat changes nothing, not even its instant; versions of one window never go back."""
    with chain.engine.begin() as conn:
        assert show(conn, "window", {"pos:1": A, "pos:2": A}, NOW) == 2
        assert versions(conn) == {"pos:1": 1, "pos:2": 1}
        assert show(conn, "window", {"pos:1": A, "pos:2": B}, NOW) == 1
        assert versions(conn) == {"pos:1": 1, "pos:2": 2}
        assert show(conn, "window", {"pos:1": A, "pos:2": B}, NOW.replace(hour=15)) == 0
        assert {row.changed_at for row in conn.execute(sa.select(window_item))} == {NOW}
        assert show(conn, "window", {"pos:2": HIDE}, NOW) == 1
        assert show(conn, "other", {"pos:1": B}, NOW) == 1
        assert max(versions(conn).values()) == 3
        assert show(conn, "window", {}, NOW) == 0
