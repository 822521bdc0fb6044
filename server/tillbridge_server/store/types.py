"""Column types that mean the same on SQLite and PostgreSQL: every table and every migration takes its types from here.

PostgreSQL sorts and compares text by the rules of a language unless told otherwise, and its integers have 32 bits:
here text is compared by code point and every integer has 64 bits, as on SQLite.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles


class _ByCodePoint(sa.String):
    """Text of any length on PostgreSQL, sorted and compared by code point."""


@compiles(_ByCodePoint, "postgresql")
def _declared(element: _ByCodePoint, compiler: Any, **options: Any) -> str:
    """In the declaration of a column only: SQLAlchemy gives values a type too, where a collation is in the way."""
    return 'VARCHAR COLLATE "C"'


String = sa.String().with_variant(_ByCodePoint(), "postgresql")
Text = sa.Text().with_variant(_ByCodePoint(), "postgresql")
#: INTEGER on SQLite, whose integers have 64 bits anyway and which counts up only a key of this very name.
Integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class InstantType(types.TypeDecorator[dt.datetime]):
    """An aware UTC datetime as fixed-width ISO text, so that text order is time order."""

    impl = sa.String(27).with_variant(_ByCodePoint(), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> str | None:
        """UTC text with six decimals and Z."""
        return None if value is None else instant_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Aware UTC."""
        return None if value is None else dt.datetime.fromisoformat(value)


class DecimalType(types.TypeDecorator[Decimal]):
    """A Decimal as its exact text; never compared or summed in SQL."""

    impl = sa.String(40).with_variant(_ByCodePoint(), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Plain notation."""
        return None if value is None else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Exact."""
        return None if value is None else Decimal(value)


def begins_with(column: sa.ColumnElement[str], text: str) -> sa.ColumnElement[bool]:
    """Whether a text begins with exactly these characters; LIKE ignores case on SQLite only."""
    return sa.func.substr(column, 1, len(text)) == text


def holds_text(column: sa.ColumnElement[str], text: str) -> sa.ColumnElement[bool]:
    """Whether a text has exactly these characters in it; LIKE ignores case on SQLite only."""
    return sa.func.replace(column, text, "") != column


def instant_text(value: dt.datetime) -> str:
    """An aware datetime as fixed-width UTC text, e.g. 2026-11-23T08:00:00.000000Z."""
    assert value.tzinfo is not None, "times are aware"
    # Not strftime: on Linux it writes the year 1 as "1".
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
