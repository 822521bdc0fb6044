"""Opening the database that server.toml names: reached, of the right kind, and brought up to date."""

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, InvalidRequestError, OperationalError

from tillbridge_server.config import ServerConfig
from tillbridge_server.errors import ConfigError, TryLater
from tillbridge_server.store.database import make_engine
from tillbridge_server.store.migrations import migrate

_KINDS = 'Write for example "sqlite:///tillbridge.db" or "postgresql+psycopg://tillbridge@db.example.com/tillbridge".'


def open_database(config: ServerConfig) -> sa.Engine:
    """An engine over the configured database, every due step applied.

    Raises ConfigError when `database` is no address of one we can use, TryLater when it cannot be reached now.
    """
    try:
        engine = make_engine(config.database_url)
    except (ArgumentError, InvalidRequestError, ImportError) as error:
        raise ConfigError(config.path, "database", "is no address of SQLite or PostgreSQL.", _KINDS) from error
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise ConfigError(config.path, "database", f"{engine.dialect.name} is not supported.", _KINDS)
    try:
        _check_encoding(engine, config)
        migrate(engine)
    except Exception as error:
        engine.dispose()
        if not isinstance(error, OperationalError):
            raise
        said = str(error.orig).strip()
        raise TryLater(f"The database cannot be used now: {said}",
                       f"Look whether it runs and lets this server in; its address is `database` in {config.path}.",
                       ) from error
    return engine


def _check_encoding(engine: sa.Engine, config: ServerConfig) -> None:
    """A database of another encoding has no place for half of the world's letters."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as conn:
        encoding = conn.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigError(config.path, "database", f"keeps text as {encoding}.",
                          "Make one with `createdb --encoding=UTF8 --template=template0 tillbridge`.")
