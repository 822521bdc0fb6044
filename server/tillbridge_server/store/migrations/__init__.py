"""Schema steps of the server's database, by Alembic: additive, one file each under versions/.

`migrate` brings a database up to date in one transaction per step; `current` tells where it stands.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

HERE = Path(__file__).parent


def migrate(engine: sa.Engine) -> None:
    """Apply every step that is due."""
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def current(engine: sa.Engine) -> str | None:
    """The step this database is at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
