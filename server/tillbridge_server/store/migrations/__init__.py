"""Schema steps of the server's database, by Alembic: additive, one file each under versions/.

`migrate` brings a database up to date, all or nothing; `current` tells where it stands.
"""

import time
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

HERE = Path(__file__).parent
TRIES_MAX = 10
#: Another server does the very same step at this moment: what was to be made is there, or the two met (PostgreSQL).
_DONE_BY_ANOTHER = frozenset({"42P07", "42701", "42710", "23505", "40001", "40P01"})


def migrate(engine: sa.Engine) -> None:
    """Apply every step that is due. Several servers may start at once on one PostgreSQL: one of them does it."""
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            _upgrade(engine)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _DONE_BY_ANOTHER or not tries_left:
                raise
            time.sleep(0.1)
        else:
            return


def current(engine: sa.Engine) -> str | None:
    """The step this database is at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _upgrade(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
