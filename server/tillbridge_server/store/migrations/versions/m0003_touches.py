"""Dirty variants: one row for each touch instead of a count, so that batches of two stores never write the same row."""

import sqlalchemy as sa
from alembic import op

from tillbridge_server.store.types import InstantType, Integer, String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the new table and move what waits into it.

    The old one goes: a server of the previous release that still runs must fail and be asked again, not touch
    variants where nobody looks.
    """
    op.create_table(
        "dirty_touch",
        sa.Column("n", Integer, autoincrement=True, nullable=False),
        sa.Column("variant_id", String, nullable=False),
        sa.Column("since", InstantType(length=27), nullable=False),
        sa.PrimaryKeyConstraint("n"),
    )
    op.create_index("dirty_touch_variant", "dirty_touch", ["variant_id"])
    op.execute(
        "INSERT INTO dirty_touch (variant_id, since) SELECT variant_id, since FROM dirty ORDER BY since, variant_id"
    )
    op.drop_table("dirty")
